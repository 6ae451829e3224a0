"""What cannot be used is refused with a short message that names the table, the column and the next step."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import narwhals as nw
import numpy as np
import pytest
from fake_student import WordOverlap, needs_bundled_student

import er_distill
from er_distill import DeviceError, ErDistillWarning, InputError, StudentError, dedupe, link, match_pairs, score_pairs

Factory = Callable[[dict[str, Any]], Any]

LEFT = {"id": ["a1", "a2"], "name": ["ada lovelace", "alan turing"], "city": ["london", "wilmslow"]}
RIGHT = {"id": ["b1", "b2"], "name": ["turing alan", "ada king lovelace"], "city": ["wilmslow", "london"]}
PAIRS = {"left_id": ["a1", "a2"], "right_id": ["b2", "b1"]}
SCORED = {**PAIRS, "score": [0.01, 0.99]}


def refused(
    pattern: str, call: Callable[..., Any], *given: Any, error: type[Exception] = InputError, **options: Any
) -> None:
    """Check that a call is refused with a short, whole sentence, before its student scores anything."""
    student = options.setdefault("student", WordOverlap())
    with pytest.raises(error, match=pattern) as caught:
        call(*given, **options)
    message = str(caught.value)
    assert len(message) < 400
    assert message[-1] in ".?"
    assert "\n" not in message
    assert isinstance(caught.value, er_distill.ErDistillError)
    assert not getattr(student, "calls", [])


@pytest.fixture
def left(frame_factory: Factory) -> Any:
    return frame_factory(LEFT)


@pytest.fixture
def right(frame_factory: Factory) -> Any:
    return frame_factory(RIGHT)


def changed(frame_factory: Factory, table: dict[str, Any], **columns: Any) -> Any:
    return frame_factory({**table, **columns})


# ---------------------------------------------------------------------------------- tables and columns


@pytest.mark.parametrize("table", [[1, 2], {"id": [1]}, "left.csv", None, np.zeros((2, 2))])
def test_what_is_no_table(right: Any, table: Any) -> None:
    refused(r"left is a .*not a pandas, polars .* or pyarrow table. Convert it first", link, table, right)
    refused(r"right is a .* Convert it first", link, right, table)
    refused(r"frame is a .* Convert it first", dedupe, table)
    refused(r"pairs is a .* Convert it first", score_pairs, table, right)
    refused(r"scored is a .* Convert it first", match_pairs, table, threshold=0.5)


def test_misspelt_column(left: Any, right: Any, frame_factory: Factory) -> None:
    refused(r"left has no column 'nmae'\. Did you mean 'name'\?", link, left, right, columns=["nmae"])
    refused(r"right has no column 'town'\. It has: 'id', 'name'", link, left, right, left_on="city", right_on="town")
    refused(r"left has no column 'citty'\. Did you mean 'city'\?", link, left, right, id="citty")
    refused(r"right has no column 'NAME'\. Did you mean 'name'\?", link, left, right, id=(None, "NAME"))
    refused(r"frame has no column 'nmae'\. Did you mean 'name'\?", dedupe, left, columns=["nmae"])
    pairs = frame_factory({"left": ["a1"], "right_id": ["b1"]})
    refused(r"pairs has no column 'left_id'\. Did you mean 'left'", score_pairs, pairs, left, right)
    refused(r"pairs has no column 'left_id'\. Did you mean 'left'", link, left, right, pairs=pairs)
    refused(r"scored has no column 'score'\. It has: 'left_id'", match_pairs, frame_factory(PAIRS), threshold=0.5)


def test_columns_that_contradict(left: Any, right: Any) -> None:
    refused(r"columns must be a list of column names; write \['name'\]", link, left, right, columns="name")
    refused(r"columns= .* left_on= .* Pass one", link, left, right, columns=["name"], left_on="name")
    refused(r"right_on= needs left_on=", link, left, right, right_on="name")
    refused(r"left_on names 2 .*, right_on 1", link, left, right, left_on=["name", "city"], right_on="name")
    refused(r"left_on names a column twice", link, left, right, left_on=["name", "name"])
    refused(r"left_on names 0 column", link, left, right, left_on=[])
    refused(r"id=\('id',\) must be one column name, or a pair", link, left, right, id=("id",))
    refused(r"left_on, right_on and .* need two tables", score_pairs, left, left, left_on="name")
    refused(r"column 'id' holds the record ids, which are never compared", link, left, right, columns=["id", "name"])


@pytest.mark.needs("pandas")
def test_columns_without_names() -> None:
    import pandas as pd

    frame = pd.DataFrame([["ada", "london"], ["alan", "wilmslow"]])
    refused(r"frame has a column named 0, which is no text\. Use frame\.rename\(columns=str\)", dedupe, frame)


def test_tables_without_a_common_column(left: Any, frame_factory: Factory) -> None:
    other = frame_factory({"id": ["b1"], "label": ["ada lovelace"], "town": ["london"]})
    with pytest.warns(ErDistillWarning, match=r"left and right share no compared column.*left_on and right_on"):
        link(left, other, student=WordOverlap())
    link(left, other, left_on=["name", "city"], right_on=["label", "town"], student=WordOverlap())


@pytest.mark.needs("pandas")
def test_two_columns_of_one_name() -> None:
    import pandas as pd

    twice = pd.DataFrame([["ada", "x"], ["alan", "y"]], columns=["name", "name"])
    refused(r"left has more than one column named 'name'\. Rename or drop one", link, twice, twice)


def test_a_column_that_the_result_would_have_is_there_already(left: Any, frame_factory: Factory) -> None:
    taken = changed(frame_factory, LEFT, entity_id=[1, 2])
    refused(r"frame has a column 'entity_id' already\. .*entity_column=", dedupe, taken)
    refused(r"pairs has a column 'score' already", score_pairs, changed(frame_factory, PAIRS, score=[1, 2]), left)
    scored = changed(frame_factory, PAIRS, score=[0.5, 0.5], match=[1, 1])
    refused(r"scored has a column 'match' already", match_pairs, scored, threshold=0.5)
    with pytest.raises(InputError, match=r"suffixes=\('', ''\) give two columns the name 'name'"):
        link(left, left, how="inner", suffixes=("", ""), student=WordOverlap())


def test_empty_tables_and_pairs(left: Any, right: Any) -> None:
    empty, none = (nw.from_native(frame, eager_only=True).head(0).to_native() for frame in (left, right))
    refused(r"left has no rows\. Check how it was read", link, empty, right)
    refused(r"right has no rows\. Check how it was read", link, left, none)
    refused(r"frame has no rows\. Check how it was read", dedupe, empty)


def test_empty_pairs(left: Any, right: Any, frame_factory: Factory) -> None:
    pairs = nw.from_native(frame_factory(PAIRS), eager_only=True).head(0).to_native()
    refused(r"pairs holds no candidate pair\. Bring pairs", score_pairs, pairs, left, right)
    refused(r"pairs holds no candidate pair\. Bring pairs", link, left, right, pairs=pairs)
    refused(r"pairs holds no candidate pair\. Bring pairs", dedupe, left, pairs=pairs)


def test_tables_with_nothing_in_common(left: Any, frame_factory: Factory) -> None:
    other = frame_factory({"id": ["x"], "name": ["QQQQ"]})
    for how, rows in (("ids", 0), ("inner", 0), ("left", 2)):
        with pytest.warns(ErDistillWarning, match=r"blocking found no candidate pair in left and right") as caught:
            result = link(left, other, columns=["name"], how=how, student=WordOverlap())
        assert caught[0].filename == __file__
        assert type(result) is type(left)
        assert len(nw.from_native(result, eager_only=True)) == rows
    with pytest.warns(ErDistillWarning, match=r"blocking found no candidate pair in frame"):
        entities = dedupe(frame_factory({"name": ["abc", "xyz"]}), student=WordOverlap())
    assert nw.from_native(entities, eager_only=True)["entity_id"].to_list() == [0, 1]


def test_one_record_is_one_entity(frame_factory: Factory) -> None:
    alone = dedupe(frame_factory({"name": ["abc"]}), student=WordOverlap())
    assert nw.from_native(alone, eager_only=True)["entity_id"].to_list() == [0]


# ------------------------------------------------------------------------------------------------- ids


def test_ids_that_are_not_unique_or_missing(left: Any, right: Any, frame_factory: Factory) -> None:
    twice = changed(frame_factory, LEFT, id=["a1", "a1"])
    refused(r"left: id column 'id' has 'a1' more than once \(again in row 1\)\. .* id=", link, twice, right)
    refused(r"right: id column 'id' has 'a1' more than once", link, left, twice)
    refused(r"frame: id column 'id' has 'a1' more than once", dedupe, twice)
    refused(r"frame: id column 'id' has no value in row 1\.", dedupe, changed(frame_factory, LEFT, id=["a1", None]))
    refused(r"frame: id column 'id' has no value in row 0\.", dedupe, changed(frame_factory, LEFT, id=[None, 7.0]))
    refused(r"frame: id column 'id' holds a list in row 0", dedupe, changed(frame_factory, LEFT, id=[["a"], ["b"]]))


@pytest.mark.needs("pandas")
def test_an_index_that_is_not_unique() -> None:
    import pandas as pd

    frame = pd.DataFrame({"name": LEFT["name"]}, index=["x", "x"])
    refused(r"frame: the index has 'x' more than once .* reset the index", dedupe, frame)


def test_pairs_of_records_that_are_not_there(left: Any, right: Any, frame_factory: Factory) -> None:
    def pairs(left_ids: list[Any], right_ids: list[Any]) -> Any:
        return frame_factory({"left_id": left_ids, "right_id": right_ids})

    unknown = r"pairs: column 'right_id' names 1 id\(s\) that no record of right has, such as 'zz'\. Pass the table"
    refused(unknown, score_pairs, pairs(["a1", "a2"], ["b1", "zz"]), left, right)
    refused(unknown, link, left, right, pairs=pairs(["a1", "a2"], ["b1", "zz"]))
    refused(r"pairs: row 1 pairs a record with itself", score_pairs, pairs(["a1", "a2"], ["a2", "a2"]), left)
    numbers = changed(frame_factory, LEFT, id=[1, 2])
    wrong_type = r"such as '1'\. left has 1 \(int\): give both the same type"
    refused(wrong_type, score_pairs, pairs(["1", "2"], ["b1", "b2"]), numbers, right)


# ---------------------------------------------------------------------------------------------- values


def test_columns_without_a_value(right: Any, frame_factory: Factory) -> None:
    nothing = frame_factory({"id": ["a1", "a2"], "name": [None, None], "city": ["", "  "]})
    refused(r"left: no column with a value to compare .* columns=", link, nothing, right)
    refused(r"left: no column with a value to compare \(looked at: 'name'\)", link, nothing, right, columns=["name"])
    half = changed(frame_factory, LEFT, city=[None, None])
    student = WordOverlap()
    assert len(nw.from_native(link(half, right, student=student), eager_only=True)) == 2
    assert student.calls[0]["left"].fields == ("name",)


@pytest.mark.needs("pandas")
def test_mixed_values_are_compared_as_text_with_a_warning() -> None:
    import pandas as pd

    frame = pd.DataFrame({"id": ["a", "b", "c"], "code": ["17 x", 17, None], "name": ["ada", "ada", "alan"]})
    before = frame.copy(deep=True)
    with pytest.warns(ErDistillWarning, match=r"frame: column 'code' mixes number and str values"):
        found = dedupe(frame, threshold=0.5, student=WordOverlap())
    assert found["entity_id"].tolist() == [0, 0, 1]
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.filterwarnings("ignore::er_distill.errors.ErDistillWarning")
def test_nested_values(right: Any, frame_factory: Factory) -> None:
    nested = changed(frame_factory, LEFT, tags=[["x"], ["y", "z"]])
    student = WordOverlap()
    link(nested, right, student=student)
    assert student.calls[0]["left"].fields == ("name", "city")  # left out by default
    refused(r"left: column 'tags' holds a list .* leave it out", link, nested, right, columns=["name", "tags"])


@pytest.mark.needs("pandas")
def test_an_object_without_one_text() -> None:
    import pandas as pd

    frame = pd.DataFrame({"name": ["ada lovelace", "ada king"], "odd": [{"a": 1}, object()]})
    with pytest.warns(ErDistillWarning, match=r"column 'odd' holds a dict .* It is left out"):
        dedupe(frame, student=WordOverlap())
    refused(r"frame: column 'odd' holds a dict", dedupe, frame, columns=["odd"])


def test_ten_megabytes_in_one_cell(right: Any, frame_factory: Factory) -> None:
    huge = changed(frame_factory, LEFT, name=["ada lovelace " + "x" * 10_000_000, "alan turing"])
    start, student = time.perf_counter(), WordOverlap()
    with pytest.warns(
        ErDistillWarning, match=r"left: column 'name' has a value of 10,000,013 characters; the first 4,000"
    ):
        link(huge, right, student=student)
    assert time.perf_counter() - start < 10
    assert max(map(len, student.calls[0]["left"].texts)) < 5_000
    assert len(nw.from_native(huge, eager_only=True)["name"][0]) == 10_000_013


# ------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize("threshold", [float("nan"), -0.1, 1.5, float("inf"), "0.5", True])
def test_a_threshold_that_is_no_probability(left: Any, right: Any, frame_factory: Factory, threshold: Any) -> None:
    pattern = rf"threshold={threshold!r} must be a number in \[0, 1\]"
    refused(pattern, link, left, right, threshold=threshold)
    refused(pattern, dedupe, left, threshold=threshold)
    refused(pattern, match_pairs, changed(frame_factory, PAIRS, score=[0.1, 0.9]), threshold=threshold)


def test_an_argument_that_is_not_known(left: Any, right: Any) -> None:
    refused(r"how='iner' is not known\. Did you mean 'inner'\?", link, left, right, how="iner")
    refused(r"matching='one-to-one' is not known\. Did you mean 'one_to_one'", link, left, right, matching="one-to-one")
    refused(r"method='averge' is not known\. Did you mean 'average'\?", dedupe, left, clustering="averge")
    refused(r"optimal=True needs matching='one_to_one'", link, left, right, matching="all", optimal=True)
    refused(r"top_k=0 must be a whole number of at least 1", link, left, right, top_k=0)
    refused(r"top_k=2.5 must be a whole number", link, left, right, top_k=2.5)
    refused(r"threads must be at least 1, not 0", link, left, right, threads=0)
    refused(r"pairs= brings candidate pairs, blocking= finds them\. Pass one", link, left, right, pairs=left,
            blocking=[er_distill.TopK()])  # fmt: skip
    refused(r"no compared column 'zip' on both sides", link, left, right, blocking=[er_distill.Exact("zip")])
    refused(r"blocking=TopK.* must be a list of TopK and Exact", link, left, right, blocking=er_distill.TopK())
    refused(r"columns must be a list of column names", link, left, right, columns=5)
    refused(r"id=\['id'\] must be one column name, or a pair", link, left, right, id=["id"])


def test_scores_that_cannot_be_used(frame_factory: Factory) -> None:
    missing = changed(frame_factory, PAIRS, score=[0.5, None])
    refused(r"scored: column 'score' has 1 missing value\(s\)\. Drop these rows", match_pairs, missing, threshold=0.5)
    no_id = frame_factory({"left_id": ["a1", None], "right_id": ["b1", "b2"], "score": [0.5, 0.5]})
    refused(r"scored: column 'left_id' has 1 missing value", match_pairs, no_id, threshold=0.5)
    percent = changed(frame_factory, PAIRS, score=[50.0, 99.0])
    refused(r"scores lie between 50 and 99", match_pairs, percent, threshold=0.5)
    text = changed(frame_factory, PAIRS, score=["high", "low"])
    refused(r"scores must be numbers", match_pairs, text, threshold=0.5)
    one_table = changed(frame_factory, PAIRS, score=[0.5, 0.5])
    refused(r"matching='best' needs a left and a right table", match_pairs, one_table, matching="best", one_table=True)


# ------------------------------------------------------------ students, devices, what is not installed


def test_a_student_that_is_not_there(left: Any, right: Any) -> None:
    refused("defualt", link, left, right, student="defualt", error=StudentError)
    refused("no/such/folder", dedupe, left, student="no/such/folder", error=StudentError)


@needs_bundled_student
@pytest.mark.needs("onnxruntime")
def test_a_device_that_is_not_there(left: Any, right: Any) -> None:
    with pytest.raises(DeviceError, match=r"cuda:77.*device='cpu'"):  # no machine has that many GPUs
        link(left, right, device="cuda:77")
    refused("gpu", dedupe, left, student="default", device="gpu", error=DeviceError)


def output_without(package: str, code: str) -> str:
    """What `code` prints in an interpreter where `package` cannot be imported."""
    hidden = f"import sys\nsys.modules[{package!r}] = None\n{code}"
    result = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@needs_bundled_student
@pytest.mark.needs("onnxruntime")
def test_a_chunk_of_no_pairs(left: Any, right: Any) -> None:
    with pytest.raises(InputError, match=r"chunk_size=0 must be at least 1"):
        link(left, right, chunk_size=0)


@needs_bundled_student
def test_a_threshold_needs_no_onnxruntime() -> None:
    code = f"""
import er_distill, pyarrow as pa
print(er_distill.match_pairs(pa.table({SCORED!r}))["match"].to_pylist())
"""
    assert output_without("onnxruntime", code) == "[0, 1]\n"


@needs_bundled_student
def test_neither_onnxruntime_is_installed() -> None:
    code = f"""
import er_distill, pyarrow as pa
try:
    er_distill.link(pa.table({LEFT!r}), pa.table({RIGHT!r}))
except er_distill.MissingExtraError as error:
    print(error)
"""
    message = output_without("onnxruntime", code)
    assert "er-distill[cpu]" in message
    assert "er-distill[gpu]" in message


@pytest.mark.parametrize("name", ["Compare", "Matcher", "StudentFeature"])
def test_recordlinkage_is_not_installed(name: str) -> None:
    code = f"""
import er_distill
try:
    er_distill.{name}
except er_distill.MissingExtraError as error:
    print(error)
try:
    from er_distill import recordlinkage
except ImportError as error:
    print(error)
assert er_distill.TopK(3).k == 3
"""
    first, second = output_without("recordlinkage", code).splitlines()
    assert first == second
    assert "pip install 'er-distill[recordlinkage]'" in first

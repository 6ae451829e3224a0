"""A record is the same text whatever library, dtype or file its table came from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from er_distill.errors import ErDistillWarning, InputError
from er_distill.records import Records, RecordTexts
from er_distill.rendering import MAX_CELL_CHARS, render

Factory = Callable[[dict[str, Any]], Any]

INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
# no surrogates: they are no text, and Arrow refuses them
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
DATES = st.dates(dt.date(1700, 1, 1), dt.date(2250, 1, 1))  # what nanoseconds can hold


def columns_of(values: list[Any], arrow: pa.DataType, *pandas_dtypes: str) -> Iterator[tuple[str, Any]]:
    """Yield the same column of every library that is installed: its name and the column."""
    exact = pa.array(values, arrow)
    yield "pyarrow", pa.chunked_array([exact])
    yield "list", values
    if find_spec("polars") is not None:
        import polars as pl

        yield "polars", pl.Series("x", exact)
        if pa.types.is_string(arrow):
            yield "polars categorical", pl.Series("x", exact).cast(pl.Categorical)
    if find_spec("pandas") is not None:
        import pandas as pd

        yield "pandas", pd.Series(values)
        yield "pandas object", pd.Series(values, dtype=object)
        yield "pandas object with NA", pd.Series([pd.NA if v is None else v for v in values], dtype=object)
        yield "pandas object with NaN", pd.Series([float("nan") if v is None else v for v in values], dtype=object)
        yield "pandas arrow", pd.Series(values, dtype=pd.ArrowDtype(arrow))
        for dtype in pandas_dtypes:
            yield f"pandas {dtype}", pd.Series(values, dtype=dtype)


def assert_renders(expected: list[str], columns: Iterator[tuple[str, Any]]) -> None:
    for name, column in columns:
        assert render(column, where="t: column 'x'").tolist() == expected, name


# ------------------------------------------------------------------------------------------- rendering


@given(st.lists(st.none() | INTEGERS, min_size=1))
def test_integers_with_nulls(values: list[int | None]) -> None:
    expected = ["" if value is None else str(value) for value in values]
    assert_renders(expected, columns_of(values, pa.int64(), "Int64", "float64"))
    as_text = [None if value is None else str(value) for value in values]
    assert_renders(expected, columns_of(as_text, pa.string()))
    after_csv = [None if value is None else f"{value}.0" for value in values]  # an integer column with a gap, read back
    assert_renders(expected, columns_of(after_csv, pa.string()))


@given(st.lists(st.none() | FLOATS, min_size=1))
def test_floats_with_nulls(values: list[float | None]) -> None:
    expected = render(pa.chunked_array([pa.array(values, pa.float64())]), where="t: column 'x'").tolist()
    assert_renders(expected, columns_of(values, pa.float64(), "float64", "Float64"))
    for value, text in zip(values, expected, strict=True):
        assert "e" not in text
        assert (value is None and text == "") or float(text) == value


@given(st.lists(st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_of_half_the_size_show_no_digits_they_do_not_have(values: list[float | None]) -> None:
    columns = [("pyarrow", pa.chunked_array([pa.array(values, pa.float32())]))]
    if find_spec("pandas") is not None:
        import pandas as pd

        columns.append(("pandas", pd.Series(values, dtype="float32")))
    texts = render(columns[0][1], where="t: column 'x'").tolist()
    assert_renders(texts, iter(columns))
    for value, text in zip(values, texts, strict=True):
        assert (value is None and text == "") or np.float32(text) == np.float32(value)
    assert render(pa.chunked_array([pa.array([0.1], pa.float32())]), where="").tolist() == ["0.1"]


@given(st.lists(st.none() | TEXTS, min_size=1))
def test_texts_with_nulls(values: list[str | None]) -> None:
    expected = render(values, where="t: column 'x'").tolist()
    assert_renders(expected, columns_of(values, pa.string(), "string", "category"))
    assert render(expected, where="t: column 'x'").tolist() == expected  # rendering twice changes nothing
    for value, text in zip(values, expected, strict=True):
        assert text == " ".join(text.split())
        assert text == "" if value is None else set(text) <= {*value, " "}


@given(st.lists(st.none() | DATES, min_size=1))
def test_dates_with_nulls(values: list[dt.date | None]) -> None:
    expected = ["" if value is None else value.isoformat() for value in values]
    assert_renders(expected, columns_of(values, pa.date32()))
    midnights = [None if value is None else dt.datetime(value.year, value.month, value.day) for value in values]
    assert_renders(expected, columns_of(midnights, pa.timestamp("us"), "datetime64[ns]"))


@given(st.lists(st.none() | st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2250, 1, 1)), min_size=1))
def test_times_with_nulls(values: list[dt.datetime | None]) -> None:
    expected = render(values, where="t: column 'x'").tolist()
    assert_renders(expected, columns_of(values, pa.timestamp("us"), "datetime64[ns]"))


@given(st.lists(st.none() | st.booleans(), min_size=1))
def test_truth_values_with_nulls(values: list[bool | None]) -> None:
    expected = ["" if value is None else str(value).lower() for value in values]
    assert_renders(expected, columns_of(values, pa.bool_(), "boolean"))


@given(st.lists(st.none() | st.decimals(-(10**9), 10**9, places=3), min_size=1))
def test_decimals_are_numbers(values: list[Decimal | None]) -> None:
    expected = render([None if value is None else float(value) for value in values], where="t: column 'x'").tolist()
    assert_renders([text or "" for text in expected], columns_of(values, pa.decimal128(13, 3)))


def test_spans_of_time() -> None:
    spans = [dt.timedelta(days=1), dt.timedelta(seconds=90), None]
    assert_renders(["1 day, 0:00:00", "0:01:30", ""], columns_of(spans, pa.duration("us"), "timedelta64[ns]"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("  ada \t lovelace\n", "ada lovelace"),
        ("a\x00b\u200b c\ufeff", "a b c"),
        ("nan", ""),
        ("<NA>", ""),
        ("None", ""),
        ("1999.0", "1999"),
        ("1999.50", "1999.50"),
        ("02139", "02139"),
        ("1.0.0", "1.0.0"),
        (1e-7, "0.0000001"),
        (1e16, "10000000000000000"),
        (float("inf"), "inf"),
        (np.int32(7), "7"),
        (np.float64(2.0), "2"),
        (np.bool_(True), "true"),
        (np.datetime64("2020-02-01"), "2020-02-01"),
        (np.datetime64("NaT"), ""),
        (dt.time(9, 30), "09:30:00"),
        (Decimal("NaN"), ""),
        (Decimal("100"), "100"),
        (Decimal("1E+3"), "1000"),
    ],
)
def test_one_value(value: Any, text: str) -> None:
    assert render([value], where="t: column 'x'").tolist() == [text]


def test_long_values_are_cut_with_a_warning() -> None:
    with pytest.warns(ErDistillWarning, match=r"t: column 'x' has a value of 5,000 characters; the first 4,000"):
        assert len(render(["y" * 5_000], where="t: column 'x'")[0]) == MAX_CELL_CHARS


# --------------------------------------------------------------------------------------------- records


def test_the_columns_compared_by_default(frame_factory: Factory) -> None:
    frame = frame_factory(
        {
            "row": [0, 1, 2, 3],
            "id": ["a", "b", "c", "d"],
            "name": ["ada", None, "alan", "grace"],
            "empty": ["", " ", "nan", None],
            "year": [1815, 1912, None, 1906],
        }
    )
    records = Records.from_frame(frame, name="left")
    assert records.fields == ("name", "year")  # no ids, no row numbers, nothing empty
    assert records.texts == ["ada 1815", "1912", "alan", "grace 1906"]
    texts = RecordTexts(records)
    assert [*texts] == texts[:] == records.texts
    assert texts[1:3] == ["1912", "alan"]
    assert texts[np.int64(-1)] == "grace 1906"
    assert records.ids.tolist() == ["a", "b", "c", "d"]
    assert len(records) == 4


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__"])
def test_an_index_that_became_a_column_is_never_rendered(frame_factory: Factory, name: str) -> None:
    frame = frame_factory({name: ["rec-1-org", "rec-2-org"], "name": ["ada", "alan"]})
    records = Records.from_frame(frame, name="left")
    assert records.fields == ("name",)
    assert records.ids.tolist() == [0, 1]
    assert Records.from_frame(frame, name="left", id=name).ids.tolist() == ["rec-1-org", "rec-2-org"]


@pytest.mark.needs("pandas")
def test_the_index_of_a_pandas_frame_stays_the_id_in_arrow() -> None:
    import pandas as pd

    frame = pd.DataFrame({"name": ["ada", "alan"]}, index=pd.Index(["rec-1-org", "rec-2-org"], name="rec_id"))
    for index_name in ("rec_id", None):
        table = pa.Table.from_pandas(frame.rename_axis(index_name))
        records = Records.from_frame(table, name="left")
        assert records.fields == ("name",)
        assert records.ids.tolist() == ["rec-1-org", "rec-2-org"]
    levels = frame.set_axis(pd.MultiIndex.from_tuples([("a", 1), ("a", 2)], names=["x", "y"]))
    records = Records.from_frame(pa.Table.from_pandas(levels), name="left")
    assert (records.fields, records.ids.tolist()) == (("name",), [0, 1])
    records = Records.from_frame(pa.Table.from_pandas(frame.reset_index(drop=True)), name="left")
    assert (records.fields, records.ids.tolist()) == (("name",), [0, 1])


def test_columns_by_name_and_by_field(frame_factory: Factory) -> None:
    frame = frame_factory({"id": [1, 2], "title": ["a", "b"], "by": ["x", None]})
    assert Records.from_frame(frame, name="left", columns=["by", "title"]).texts == ["x a", "b"]
    mapped = Records.from_frame(frame, name="left", columns={"author": "by"})
    assert mapped.fields == ("author",)
    assert mapped.values[0].tolist() == ["x", ""]


@pytest.mark.needs("pandas")
def test_ids_of_an_index_whatever_the_columns_are_called() -> None:
    import pandas as pd

    frame = pd.DataFrame({"id": ["x", "x"], "name": ["ada", "alan"]}, index=[5, 6])
    records = Records.from_frame(frame, name="left", columns=["id", "name"], index=frame.index)
    assert records.ids.tolist() == [5, 6]
    assert records.texts == ["x ada", "x alan"]
    levels = pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])
    records = Records.from_frame(frame.set_axis(levels).drop(columns="id"), name="left")
    assert records.codes([("a", 2), ("a", 1)], source="pairs").tolist() == [1, 0]


@given(st.lists(st.integers() | st.text(max_size=3), min_size=1, max_size=20, unique=True), st.data())
def test_codes_find_each_id(ids: list[Any], data: st.DataObject) -> None:
    records = Records.from_frame(pa.table({"name": ["x"] * len(ids)}), name="left", index=ids)
    rows = data.draw(st.lists(st.integers(0, len(ids) - 1)))
    assert records.codes([ids[row] for row in rows], source="pairs").tolist() == rows


def test_codes_say_which_id_is_unknown() -> None:
    records = Records.from_frame(pa.table({"id": [1, 2], "name": ["x", "y"]}), name="left")
    with pytest.raises(InputError, match=r"^pairs names 2 id\(s\) that no record of left has, such as 7\."):
        records.codes(np.array([1, 7, 8]), source="pairs")
    with pytest.raises(InputError, match=r"such as '2'\. left has 2 \(int\): give both the same type"):
        records.codes(["2"], source="pairs")

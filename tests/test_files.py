"""Files: text stays text, a fault names its line, and output is whole or not there."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from er_distill import files
from er_distill.errors import InputError
from er_distill.records import Records


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_text_columns_are_never_given_a_type(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "id,zip,note,when\n1,02139,NA,2020-01-01\n2,,true,1e5\n")
    table = files.read_table(path)
    assert set(table.schema.types) == {pa.string()}
    assert table.to_pydict() == {
        "id": ["1", "2"],
        "zip": ["02139", None],
        "note": ["NA", "true"],
        "when": ["2020-01-01", "1e5"],
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.csv", "\ufeffid,name\n1,Ada\n"),
        ("semicolon.csv", "id;name\n1;Ada\n"),
        ("tabs.tsv", "id\tname\n1\tAda\n"),
        ("windows.csv", "id,name\r\n1,Ada\r\n"),
        ("blank.csv", "id,name\n\n1,Ada\n\n"),
        ("quoted.csv", '"id","name"\n"1","Ada"\n'),
        ("upper.CSV", "id,name\n1,Ada"),
        ("small.csv.gz", gzip.compress(b"id,name\n1,Ada\n")),
    ],
)
def test_variants_of_text_read_the_same(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert files.read_table(put(tmp_path, name, content)).to_pydict() == {"id": ["1"], "name": ["Ada"]}


def test_a_header_alone_is_a_table_without_rows(tmp_path: Path) -> None:
    assert files.read_table(put(tmp_path, "a.csv", "id,name\n")).num_rows == 0


@pytest.mark.parametrize("quote", ["", '"'])
def test_ten_megabytes_in_one_cell(tmp_path: Path, quote: str) -> None:
    long = "word " * 2_000_000
    table = files.read_table(put(tmp_path, "a.csv", f"id,text\n1,{quote}{long}{quote}\n2,b\n"))
    assert table["text"].to_pylist() == [long, "b"]


FAULTS = {
    "empty.csv": ("", "is empty"),
    "blank first line.csv": ("\nid,name\n1,Ada\n", "starts with an empty line"),
    "latin.csv": (b"id,name\n1,Ada\n2,Ren\xe9\n", "not UTF-8: line 3"),
    "latin.csv.gz": (gzip.compress(b"id,name\n1,Ren\xe9\n"), "not UTF-8: line 2"),
    "latin header.csv": (b"id,pr\xe9nom\n1,Ada\n", "not UTF-8: line 1"),
    "utf16.csv": ("id,name\n1,Ada\n".encode("utf-16"), "UTF-16"),
    "ragged.csv": ("id,name\n1,Ada\n2,Alan,Turing\n", "line 3 has 3 columns, the header has 2"),
    "after a long cell.csv": ('id,name\n1,"Ada\nLovelace"\n2\n', "line 4 has 1 columns"),
    "open quote.csv": ('id,name\n1,Ada\n2,"Alan\n3,Grace\n', "quote that is not closed"),
    "twice.csv": ("id,name,name\n1,Ada,Ada\n", "more than one column named 'name'"),
    "parquet.csv": (b"PAR1....", "is a Parquet file"),
    "gzip.csv": (gzip.compress(b"id\n1\n"), "is a gzip file"),
    "excel.csv": (b"PK\x03\x04....", "Excel workbook"),
    "text.parquet": ("id,name\n1,Ada\n", "is text or another format"),
    "text.csv.gz": ("id,name\n1,Ada\n", "is text or another format"),
    "cut.parquet": (b"PAR1........", "no whole Parquet file"),
    "cut.csv.gz": (gzip.compress(b"id,name\n1,Ada\n" * 1000)[:-12], "no whole gzip file"),
    "table.xlsx": (b"PK\x03\x04....", "the ending says no known format"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, name: str) -> None:
    content, message = FAULTS[name]
    path = put(tmp_path, name, content)
    with pytest.raises(InputError) as caught:
        files.read_table(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_a_missing_file_names_the_near_ones(tmp_path: Path) -> None:
    put(tmp_path, "people.csv", "id\n1\n")
    with pytest.raises(InputError, match=r"does not exist\. Did you mean 'people\.csv'"):
        files.read_table(tmp_path / "peple.csv")
    with pytest.raises(InputError, match="There is no folder"):
        files.read_table(tmp_path / "nowhere" / "people.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        files.read_table(tmp_path / "folder.csv")


def test_parquet_keeps_its_types_and_takes_none_from_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "year=2020"
    folder.mkdir()
    table = pa.table({"id": [1, 2], "name": ["Ada", None]})
    pq.write_table(table, folder / "a.parquet")
    assert files.read_table(folder / "a.parquet") == table


cells = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@pytest.mark.parametrize("ending", files.ENDINGS)
@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.tuples(st.text("ab1", min_size=1), cells, cells), max_size=5))
def test_what_is_written_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory, ending: str, rows: list[tuple[str, str | None, str | None]]
) -> None:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    table = pa.table({name: pa.array(column, pa.string()) for name, column in zip("abc", columns, strict=True)})
    path = tmp_path_factory.getbasetemp() / f"table{ending}"
    files.write_table(table, path)
    assert files.read_table(path).to_pydict() == table.to_pydict()


def test_numbers_and_booleans_are_written_in_full(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    files.write_table(pa.table({"score": [0.1 + 0.2, None], "match": [True, False]}), path)
    assert path.read_text() == "score,match\n0.30000000000000004,true\n,false\n"


def fail_half_way(path: Path, error: Exception) -> None:
    with files.whole(path) as partial:
        partial.write_text("half of the")
        raise error


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = put(tmp_path, "out.csv", "before")
    with pytest.raises(ZeroDivisionError):
        fail_half_way(path, ZeroDivisionError())
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        fail_half_way(path, OSError(28, "No space left on device"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.csv"]
    assert path.read_text() == "before"


def test_a_link_stays_a_link_and_permissions_are_the_usual(tmp_path: Path) -> None:
    target = put(tmp_path, "target.csv", "before")
    link = tmp_path / "link.csv"
    link.symlink_to(target)
    files.write_text("after", link)
    assert link.is_symlink()
    assert target.read_text() == "after"
    usual = put(tmp_path, "usual", "")
    assert target.stat().st_mode == usual.stat().st_mode


def test_an_output_that_cannot_be_written_is_found_out_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.check_writable(tmp_path / "new.csv")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="there is no folder"):
        files.check_writable(tmp_path / "nowhere" / "a.csv")
    with pytest.raises(InputError, match="no regular file"):
        files.check_writable(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)  # a user who may do everything cannot be refused for real
    with pytest.raises(InputError, match="no permission"):
        files.check_writable(tmp_path / "a.csv")


def test_pair_files_need_both_ids_in_every_row(tmp_path: Path) -> None:
    path = put(tmp_path, "pairs.csv", "left_id,rigth_id\n1,2\n")
    with pytest.raises(InputError, match=r"no column 'right_id'\. Did you mean 'rigth_id'"):
        files.read_pairs(path)
    path = put(tmp_path, "pairs.csv", 'left_id,right_id,note\n1,2,"a\nb"\n\n3,,c\n')
    with pytest.raises(InputError, match="line 5 has no value in column 'right_id'"):
        files.read_pairs(path)
    pq.write_table(pa.table({"left_id": [1, None], "right_id": [1, 2]}), tmp_path / "pairs.parquet")
    with pytest.raises(InputError, match="row 2 has no value in column 'left_id'"):
        files.read_pairs(tmp_path / "pairs.parquet")
    path = put(tmp_path, "truth.csv", "left_id,right_id,note\n1,2,b\n")
    assert files.read_truth(path).to_pydict() == {"left_id": ["1"], "right_id": ["2"]}


def test_ids_of_one_file_are_found_in_a_table_of_another_type() -> None:
    numbers = Records.from_frame(pa.table({"id": [7, 8], "name": ["Ada", "Alan"]}), name="numbers")
    texts = Records.from_frame(pa.table({"id": ["7", "08"], "name": ["Ada", "Alan"]}), name="texts")
    assert files.ids_as_in(numbers, ["8", 7, "9"]) == [8, 7, "9"]
    assert files.ids_as_in(texts, [7, "08", "8"]) == ["7", "08", "8"]

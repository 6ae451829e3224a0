"""What docs/faults.md shows is what the drills have shown, and that every one of them held."""

from __future__ import annotations

import json

from benchmarks import drills
from benchmarks.provenance import RESULTS


def test_page_shows_the_committed_result_of_every_drill() -> None:
    result = json.loads((RESULTS / "drills.json").read_text(encoding="utf-8"))
    outcomes = result["figures"]
    assert list(outcomes) == list(drills.DRILLS)
    page = drills.PAGE.read_text(encoding="utf-8")
    assert page == drills.with_rows(page, drills.table(outcomes)), "run python -m benchmarks.drills"
    assert all(target["met"] for target in result["targets"])
    assert all(one["finished"] >= 0 and one["again"] == one["lost"] == 0 and one["same"] for one in outcomes.values())


def test_a_drill_that_did_not_hold_is_seen_on_the_page() -> None:
    bad = {"fault": "broken", "said": "", "finished": 1_200, "again": 3, "lost": 2, "same": False}
    row = drills.table({"one": bad}).splitlines()[-1]
    assert row == "| broken | (killed: nothing) | 1,200, 3 | 2 | OTHER |"

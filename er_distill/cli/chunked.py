"""How `link --shard` and `link --resume` run."""

from __future__ import annotations

import time

from er_distill.chunks import Shard
from er_distill.cli.console import Console
from er_distill.cli.linking import Plan
from er_distill.deciding import Decision
from er_distill.linkage import link_file
from er_distill.tables import Table


def link_in_chunks(
    console: Console,
    plan: Plan,
    left: Table,
    right: Table,
    decision: Decision,
    *,
    how: str,
    shard: Shard | None,
    resume: bool,
) -> None:
    """Link two tables, or a shard of their candidate lists, in finished chunks."""
    student = plan.load()
    began = time.perf_counter()
    done = link_file(
        left, right, plan.output, student, decision,
        how=how, blocking=plan.blocking, threads=plan.threads, context=plan.context, shard=shard, resume=resume,
        progress=console.progress,
    )  # fmt: skip
    if done.scored is None:
        candidates = "none, or all of them done before"
    else:
        candidates = f"{done.scored.pairs:,}" + (
            f", {done.scored.kept:,} of them scored before" if done.scored.kept else ""
        )
    console.facts(
        [
            ("candidates", candidates),
            ("matches", f"{done.matches:,}"),
            ("speed", f"{time.perf_counter() - began:.1f} s of blocking and scoring on {student.device}"),
            ("output", str(plan.output)),
        ]
    )

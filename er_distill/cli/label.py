"""`er-distill label`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from er_distill.cli import label_options as asked
from er_distill.cli import options
from er_distill.cli.console import Console, reported
from er_distill.cli.labelling import LabelRun, run_plan
from er_distill.cli.tables import open_tables
from er_distill.training.labelling import BLOCKING

TeacherNames = Annotated[list[str], typer.Option(metavar="TEACHER", help=asked.TEACHER_HELP)]
Folder = Annotated[Path, typer.Option("--output", "-o", help="Labels folder: made, or gone on with.")]
Round = Annotated[int, typer.Option(min=1, help="From 2 on, what earlier rounds have answered is not selected again.")]
Seed = Annotated[int, typer.Option(help=asked.SEED_HELP)]
Block = Annotated[
    list[str] | None,
    typer.Option(
        help="How candidates are found, as in link. Short lists cost less: [default: topk:10:mutual, those that are "
        "among the 10 most similar of each other]"
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say how many calls, tokens and how much money it takes; ask nothing.")
]


@reported
def label(
    context: typer.Context,
    left: options.LeftTable,
    teacher: TeacherNames,
    output: Folder,
    right: asked.Right = None,
    method: asked.Method = "blocking_max",
    share: asked.Share = None,
    number: asked.Number = None,
    round: Round = 1,
    seed: Seed = 0,
    student: options.Student = "default",
    strategy: asked.Strategy = "select",
    keep: asked.Keep = 4,
    variant: asked.Variant = None,
    confirm: asked.Confirm = None,
    explain: asked.Explain = None,
    base_url: asked.BaseUrl = None,
    key_variable: asked.KeyVariable = None,
    api: asked.Api = "chat",
    concurrency: asked.Concurrency = 8,
    timeout: asked.Timeout = 60.0,
    answer_tokens: asked.AnswerTokens = 64,
    budget: asked.Budget = None,
    max_calls: asked.MaxCalls = None,
    max_tokens: asked.MaxTokens = None,
    prices: asked.PriceTable = None,
    rule: asked.CombineBy = None,
    dry_run: DryRun = False,
    columns: options.Columns = None,
    left_on: options.LeftOn = None,
    right_on: options.RightOn = None,
    id: options.Ids = None,
    block: Block = None,
    quiet: options.Quiet = False,
) -> None:
    """Ask teachers (LLMs, label files, students) which candidates match, and keep every answer.

    Writes a folder: labels.csv (left_id, right_id, label), teachers/*.jsonl, and labels.sqlite with every call. Run the
    same command again to go on after a stop: what is answered is not asked, or paid for, again. Keys are read from the
    environment.

    \b
    Examples:
      er-distill label a.csv b.csv --teacher openai:gpt-4o-mini --share 0.1 --budget 5 -o labels/ --dry-run
      er-distill label a.csv b.csv --teacher openai:gpt-4o-mini --share 0.1 --budget 5 -o labels/
      er-distill label a.csv b.csv --teacher openai:qwen3 --base-url http://localhost:11434/v1 -o labels/
      er-distill label a.csv b.csv --teacher labels:mine.csv --teacher student:default -o labels/
      er-distill labels labels/
    """  # noqa: D301
    console: Console = context.obj.hushed(quiet)
    ids, named = options.columns_of(id), options.columns_of(columns)
    options.check_columns(columns, left_on, right_on, ids, two=right is not None)
    plan = asked.plan_of(
        teacher, seed=seed, method=method, share=share, number=number, student=student, round=round,
        strategy=strategy, keep=keep, variant=variant, confirm=confirm, explain=explain,
        base_url=base_url, key_variable=key_variable, api=api, concurrency=concurrency, timeout=timeout,
        answer_tokens=answer_tokens, budget=budget, max_calls=max_calls, max_tokens=max_tokens, prices=prices,
        rule=rule,
    )  # fmt: skip
    run = LabelRun(output, options.rules_of(block) or [BLOCKING], dry_run)
    a, b = open_tables(
        left, right, console, columns=named, left_on=options.columns_of(left_on),
        right_on=options.columns_of(right_on), ids=ids,
    )  # fmt: skip
    run_plan(console, plan, run, a, b)

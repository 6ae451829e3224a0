"""`er-distill label`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from er_distill.cli import options
from er_distill.cli.console import Console, reported
from er_distill.cli.labelling import BLOCK, SHARE, LabelPlan, run_plan
from er_distill.cli.tables import open_table, open_two
from er_distill.training.limits import Limits
from er_distill.training.teachers.grammar import KINDS, Asking, read_names
from er_distill.training.teachers.strategies import Elicitation


def finite(value: float | None) -> float | None:
    """Return a number that can be a limit; a NaN passes every comparison with a range."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no amount: give a number.")
    return value


TeacherNames = Annotated[
    list[str],
    typer.Option(
        metavar="TEACHER",
        help=f"Who answers: {', '.join(KINDS.values())}. Repeat it: all are asked, and their answers combined.",
    ),
]
Folder = Annotated[Path, typer.Option("--output", "-o", help="Labels folder: made, or gone on with.")]
Right = Annotated[
    Path | None,
    typer.Argument(metavar="[RIGHT]", help="Right table; without it, matches within LEFT.", show_default=False),
]
Method = Annotated[
    Literal[
        "random",
        "blocking_max",
        "blocking_top2",
        "clustering_kmeans",
        "clustering_hierarchical",
        "uncertainty",
        "information",
    ],
    typer.Option(
        "--select", help="Which queries to ask about. uncertainty and information ask what --student knows least."
    ),
]
Share = Annotated[
    float | None,
    typer.Option(callback=options.probability, help=f"Share of the queries to ask about. [default: {SHARE:g}]"),
]
Number = Annotated[int | None, typer.Option(min=1, help="Instead of --share: how many queries.")]
Round = Annotated[int, typer.Option(min=1, help="From 2 on, what earlier rounds have answered is not selected again.")]
Seed = Annotated[int, typer.Option(help="Of the selection, and of the order in which candidates are shown.")]
Strategy = Annotated[
    Literal["select", "match", "compare", "compound"],
    typer.Option(
        help="select: one of the list or none. match: pair by pair. compare: which of two. "
        "compound: a quick ranker keeps the top few, then select."
    ),
]
Variant = Annotated[
    list[str] | None,
    typer.Option(help="Wording: plain, careful, json. Repeat it: each is asked, and averaged. [default: plain]"),
]
Keep = Annotated[int, typer.Option(min=1, help="Candidates that compound keeps.")]
Confirm = Annotated[
    Literal["drop", "weigh"] | None,
    typer.Option(help="Put each match back to the model; what it takes back is dropped, or weighed."),
]
Explain = Annotated[
    Literal["answer", "contrastive"] | None,
    typer.Option(help="Also ask for the reasons: of the answer, or also why each other one is wrong."),
]
BaseUrl = Annotated[
    str | None, typer.Option(help="OpenAI-compatible server of the openai: teachers. [default: OpenAI's]")
]
KeyVariable = Annotated[
    str | None,
    typer.Option(help="Environment variable with the server's key. [default: OPENAI_API_KEY for OpenAI, else no key]"),
]
Api = Annotated[
    Literal["chat", "decisions", "systemone"],
    typer.Option(help="chat, or an endpoint of the server that scores options."),
]
Concurrency = Annotated[int, typer.Option(min=1, help="Requests at once.")]
Timeout = Annotated[float, typer.Option(min=0.001, callback=finite, help="Seconds to wait for an answer.")]
AnswerTokens = Annotated[
    int, typer.Option(min=1, help="Most tokens of an answer; a model that reasons needs thousands.")
]
Budget = Annotated[
    float | None,
    typer.Option(
        min=0, callback=finite, help="Most money, in the prices' currency; all that the folder ever cost counts."
    ),
]
MaxCalls = Annotated[int | None, typer.Option(min=0, help="Most requests; all of the folder count.")]
MaxTokens = Annotated[int | None, typer.Option(min=0, help="Most tokens, read and written; all of the folder count.")]
PriceTable = Annotated[
    Path | None, typer.Option(help="JSON table of prices to use instead of the one that comes with er_distill.")
]
CombineBy = Annotated[
    Literal["error_model", "majority", "union", "intersection"] | None,
    typer.Option(help="How several teachers are combined. [default: error_model from three on, else majority]"),
]
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
    right: Right = None,
    method: Method = "blocking_max",
    share: Share = None,
    number: Number = None,
    round: Round = 1,
    seed: Seed = 0,
    student: options.Student = "default",
    strategy: Strategy = "select",
    keep: Keep = 4,
    variant: Variant = None,
    confirm: Confirm = None,
    explain: Explain = None,
    base_url: BaseUrl = None,
    key_variable: KeyVariable = None,
    api: Api = "chat",
    concurrency: Concurrency = 8,
    timeout: Timeout = 60.0,
    answer_tokens: AnswerTokens = 64,
    budget: Budget = None,
    max_calls: MaxCalls = None,
    max_tokens: MaxTokens = None,
    prices: PriceTable = None,
    rule: CombineBy = None,
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
    if share is not None and number is not None:
        raise typer.BadParameter("--share and --number both say how many queries to ask about. Give one of them.")
    with options.usage():
        how = Elicitation(strategy, tuple(variant or ["plain"]), keep, confirm=confirm, explain=explain, seed=seed)
        plan = LabelPlan(
            output,
            tuple(read_names(teacher)),
            Asking(how, base_url, key_variable, api, concurrency, timeout, answer_tokens),
            Limits(budget, max_calls, max_tokens),
            prices,
            rule,
            method,
            number,
            SHARE if share is None else share,
            round,
            student,
            options.rules_of(block or [BLOCK]),
            dry_run,
        )
    plan.check()
    if right is None:
        a, b = open_table(left, console, columns=named, id=id).records, None
    else:
        lefts, rights = options.columns_of(left_on), options.columns_of(right_on)
        first, second = open_two(left, right, console, columns=named, left_on=lefts, right_on=rights, ids=ids)
        a, b = first.records, second.records
    run_plan(console, plan, a, b)

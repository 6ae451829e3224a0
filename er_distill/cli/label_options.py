"""The options that commands share which ask teachers, and the plan that they make."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from er_distill.cli import options
from er_distill.training.labelling import SHARE, LabelPlan
from er_distill.training.limits import Limits
from er_distill.training.teachers.ensemble import Rule
from er_distill.training.teachers.grammar import KINDS, Asking, read_names
from er_distill.training.teachers.strategies import Elicitation

TEACHER_HELP = f"Who answers: {', '.join(KINDS.values())}. Repeat it: all are asked, and their answers combined."


def finite(value: float | None) -> float | None:
    """Return a number that can be a limit; a NaN passes every comparison with a range."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no amount: give a number.")
    return value


Right = Annotated[
    Path | None,
    typer.Argument(metavar="[RIGHT]", help="Right table; without it, matches within LEFT.", show_default=False),
]
_Method = Literal[
    "random",
    "blocking_max",
    "blocking_top2",
    "clustering_kmeans",
    "clustering_hierarchical",
    "uncertainty",
    "information",
]
_METHOD_HELP = "Which queries to ask about. uncertainty and information ask what --student knows least."
Method = Annotated[_Method, typer.Option("--select", help=_METHOD_HELP)]
MethodOrNone = Annotated[
    _Method | None,
    typer.Option("--select", help=f"{_METHOD_HELP} [default: uncertainty with --from, else blocking_max]"),
]
Share = Annotated[
    float | None,
    typer.Option(callback=options.probability, help=f"Share of the queries to ask about. [default: {SHARE:g}]"),
]
Number = Annotated[int | None, typer.Option(min=1, help="Instead of --share: how many queries.")]
SEED_HELP = "Of the selection, and of the order in which candidates are shown."
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


def plan_of(
    teachers: list[str],
    *,
    seed: int,
    method: str,
    share: float | None,
    number: int | None,
    student: str | Path,
    strategy: str,
    keep: int,
    variant: list[str] | None,
    confirm: str | None,
    explain: str | None,
    base_url: str | None,
    key_variable: str | None,
    api: str,
    concurrency: int,
    timeout: float,
    answer_tokens: int,
    budget: float | None,
    max_calls: int | None,
    max_tokens: int | None,
    prices: Path | None,
    rule: Rule | None,
    round: int = 1,
) -> LabelPlan:
    """Read the options; what is no usage is a BadParameter, also a budget that no price can hold."""
    if share is not None and number is not None:
        raise typer.BadParameter("--share and --number both say how many queries to ask about. Give one of them.")
    with options.usage():
        how = Elicitation(strategy, tuple(variant or ["plain"]), keep, confirm=confirm, explain=explain, seed=seed)
        plan = LabelPlan(
            tuple(read_names(teachers)),
            Asking(how, base_url, key_variable, api, concurrency, timeout, answer_tokens),
            Limits(budget, max_calls, max_tokens),
            prices,
            rule,
            method,
            number,
            SHARE if share is None else share,
            round,
            student,
        )
    plan.table  # noqa: B018 - a table of prices that cannot be read is no bad usage
    with options.usage():
        plan.check()
    return plan

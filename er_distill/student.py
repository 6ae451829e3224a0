"""`Student`: loads a student folder and scores candidate pairs."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tqdm import tqdm

from er_distill import artefact, lexical
from er_distill.artefact import Line, Manifest, Variant
from er_distill.errors import InputError, StudentError, warn
from er_distill.pairs import Pairs
from er_distill.readers import Read, open_reader
from er_distill.records import Records, RecordTexts
from er_distill.session import Session
from er_distill.threads import ahead, limit_tokenizers
from er_distill.variants import open_variant
from er_distill.vectors import Corpus, vectorise

CHUNK_SIZE = 100_000
"""Pairs held in memory at a time."""

_TREE_ROWS = 4_096  # rows that a thread takes at a time
_LATIN_SAMPLE = 1_000
_LATIN_END = 0x24F


class Student:
    """A distilled matcher.

    Two tiers: trees on text similarities and list context look at every pair; the reader (a cross-encoder, or a
    language model that reads whole candidate lists) looks at the pairs that these leave uncertain. One calibrated
    probability comes out.

    Use :meth:`load`.

    Attributes
    ----------
    manifest : Manifest
        What the folder says of itself.
    variant : Variant
        The variant in use.
    reader : Reader
        The second tier.
    """

    def __init__(self, folder: Path, manifest: Manifest, variant: str | None, device: str, threads: int | None) -> None:
        self.folder = folder
        self.manifest = manifest
        limit_tokenizers(threads)
        name, graph = open_variant(folder, manifest, variant, device, threads)
        self.variant: Variant = manifest.variants[name]
        self._trees = Session(folder / manifest.trees, device="cpu", threads=threads)
        try:
            tokenizer = Tokenizer.from_file(str(folder / manifest.tokenizer))
        except Exception as error:  # the tokenizers library raises nothing narrower
            raise StudentError(
                f"{folder / manifest.tokenizer} cannot be read ({error}). Get the student anew."
            ) from error
        self.reader = open_reader(graph, tokenizer, manifest, self.variant)

    @classmethod
    def load(
        cls,
        source: str | Path | Student = "default",
        *,
        variant: str | None = None,
        device: str = "auto",
        threads: int | None = None,
    ) -> Student:
        """Load a student.

        Parameters
        ----------
        source : str, Path or Student
            The name of a bundled student, a student folder, or a loaded student (returned as it is).
        variant : str, optional
            Which of the student's variants to run; by default half precision on a GPU, and on a CPU the one its
            manifest names, unless its int8 sums may saturate on this processor and another's cannot (see
            `er_distill.variants`). A warning says so.
        device : str
            ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"tensorrt"``. ``"auto"`` takes a GPU when one really
            works and the student has a variant for it.
        threads : int, optional
            Default: the cores this process may use.

        Returns
        -------
        Student

        Raises
        ------
        StudentError
            When the folder is missing, incomplete, altered or of another version.
        DeviceError
            When an explicit device cannot be had.
        MissingExtraError
            When onnxruntime is not installed.
        """
        if isinstance(source, Student):
            return source
        folder = artefact.locate(source)
        manifest = artefact.read(folder)
        if manifest.serialisation != artefact.SERIALISATION:
            raise StudentError(
                f"{folder} was trained on record texts of version {manifest.serialisation}; this er_distill makes "
                f"version {artefact.SERIALISATION}. Distil it again, or use er_distill {manifest.er_distill}."
            )
        if manifest.lexical != lexical.VERSION or manifest.features != lexical.FEATURES:
            raise StudentError(
                f"{folder} was fitted on lexical features of version {manifest.lexical}; this er_distill makes "
                f"version {lexical.VERSION}. Distil it again, or use er_distill {manifest.er_distill}."
            )
        student = cls(folder, manifest, variant, device, threads)
        _ = student.device  # a device that cannot be had is found out here, not after blocking
        return student

    @property
    def threshold(self) -> float:
        """Probability from which a pair counts as a match."""
        return self.variant.threshold

    @property
    def device(self) -> str:
        """The device the second tier really runs on."""
        return self.reader.device

    @property
    def threads(self) -> int:
        """Number of threads it works with."""
        return self._trees.threads

    def __repr__(self) -> str:
        return f"Student({self.manifest.name!r}, device={self.device!r}, threshold={self.threshold:g})"

    def score(
        self,
        left: Records,
        right: Records | None,
        pairs: Pairs,
        *,
        context: bool = True,
        corpus: Corpus | None = None,
        chunk_size: int = CHUNK_SIZE,
        progress: bool = False,
        wanted: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the probability that each pair is a match.

        Parameters
        ----------
        left : Records
        right : Records or None
            None when both sides are one table (dedup).
        pairs : Pairs
            Candidate pairs, in any order.
        context : bool
            Whether a pair is judged beside the other candidate pairs of its records. With False each is judged alone.
        corpus : Corpus, optional
            The tables' vectors, when blocking has made them already.
        chunk_size : int
            Pairs held in memory at a time; it never changes a score.
        progress : bool
            Whether to show a bar on stderr.
        wanted : ndarray of bool, shape (len(pairs),), optional
            The pairs whose scores are of interest, by default all. The others are context: the second tier does not
            read them, and their scores are the trees'.

        Returns
        -------
        ndarray of float64, shape (len(pairs),)
            In the order of `pairs`. It does not depend on that order, nor on batches, chunks or threads.
        """
        pairs.checked("pairs")
        if chunk_size < 1:
            raise InputError(f"chunk_size={chunk_size!r} must be at least 1: the pairs held in memory at a time.")
        warn_if_not_latin(left, right)
        unique, inverse = pairs.unique()
        if wanted is not None and inverse is not None:
            wanted = np.bincount(inverse, weights=wanted, minlength=len(unique)) > 0
        logits = self._logits(left, right, unique, context, corpus, chunk_size, progress, wanted)
        probabilities = np.empty(len(unique))
        for rows, lexical_logit, encoder_logit in logits:
            probabilities[rows] = probability(self.variant, lexical_logit, encoder_logit)
        return probabilities if inverse is None else probabilities[inverse]

    def _logits(
        self,
        left: Records,
        right: Records | None,
        pairs: Pairs,
        context: bool,
        corpus: Corpus | None,
        chunk_size: int,
        progress: bool,
        wanted: np.ndarray | None = None,
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield each chunk's rows, lexical logits and encoder logits (NaN where the encoder did not look)."""

        @cache  # many pairs are settled without the second tier
        def read() -> Read:
            return self.reader.over(
                RecordTexts(left), None if right is None else RecordTexts(right), pairs, context=context
            )

        features = lexical.features(
            vectorise(left, right) if corpus is None else corpus,
            pairs,
            context=context,
            chunk_size=chunk_size,
            threads=self.threads,
        )
        with tqdm(
            total=len(pairs), desc="scoring", unit="pair", unit_scale=True, disable=not progress, file=sys.stderr
        ) as bar:
            for rows, of_rows in ahead(features, 1, threads=self.threads):
                of_chunk = None if wanted is None else wanted[rows]
                yield rows, *self.tiers(of_rows, partial(_shifted, read, rows.start), bar.update, of_chunk)

    def tiers(
        self,
        features: np.ndarray,
        read: Read,
        progress: Callable[[int], object],
        wanted: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run both tiers on a chunk of pairs.

        Parameters
        ----------
        features : ndarray of float32, shape (m, len(er_distill.lexical.FEATURES))
        read : callable
            The second tier over these pairs (:meth:`er_distill.readers.Reader.over`).
        progress : callable
            Called with numbers of pairs done.
        wanted : ndarray of bool, shape (m,), optional
            The pairs that the second tier may read, by default all.

        Returns
        -------
        lexical_logit, encoder_logit : ndarray of float64, shape (m,)
            The second is NaN where the second tier did not look; :func:`probability` makes them one.
        """
        lexical_logit = self._tree_logits(features).astype(np.float64)
        settled = sigmoid(lexical_logit, 0.0, self.variant.settled)
        low, high = self.variant.band
        unsure = (settled >= low) & (settled <= high)
        uncertain = np.flatnonzero(unsure if wanted is None else unsure & wanted)
        progress(len(settled) - len(uncertain))
        encoder_logit = np.full(len(settled), np.nan)
        if len(uncertain):
            encoder_logit[uncertain] = read(uncertain, progress)
        return lexical_logit, encoder_logit

    def _tree_logits(self, features: np.ndarray) -> np.ndarray:
        # Threads inside the runtime would share the trees of a few rows, and add up a row's trees in an order that
        # depends on their number and on the rows beside it: scores would differ in the last bit.
        graph = self._trees.open(threads=1)
        starts = range(0, max(len(features), 1), _TREE_ROWS)  # no rows are one block, too
        blocks = [{"features": features[begin : begin + _TREE_ROWS]} for begin in starts]
        workers = min(self.threads, len(blocks))
        if workers == 1:
            return np.concatenate([graph.run(block) for block in blocks])
        with ThreadPoolExecutor(workers, thread_name_prefix="er_distill") as pool:
            return np.concatenate(list(pool.map(graph.run, blocks)))


def _shifted(read: Callable[[], Read], start: int, rows: np.ndarray, progress: Callable[[int], object]) -> np.ndarray:
    """Read pairs whose rows are counted from `start`."""
    return read()(start + rows, progress)


def sigmoid(lexical_logit: np.ndarray, encoder_logit: np.ndarray | float, line: Line) -> np.ndarray:
    """The probability a :class:`~er_distill.artefact.Line` gives."""
    z = line.lexical * lexical_logit + line.encoder * encoder_logit + line.bias
    return 0.5 * (1 + np.tanh(0.5 * z))  # the logistic function, without overflow


def probability(variant: Variant, lexical_logit: np.ndarray, encoder_logit: np.ndarray) -> np.ndarray:
    """The calibrated probability: fused where the encoder has looked, else (a NaN encoder logit) the lexical tier's."""
    return np.where(
        np.isnan(encoder_logit),
        sigmoid(lexical_logit, 0.0, variant.settled),
        sigmoid(lexical_logit, np.nan_to_num(encoder_logit), variant.fused),
    )


def warn_if_not_latin(left: Records, right: Records | None) -> None:
    """Warn of tables in scripts that an English encoder has hardly seen."""
    for table in (left,) if right is None else (left, right):
        letters = [char for text in RecordTexts(table)[:_LATIN_SAMPLE] for char in text[:200] if char.isalpha()]
        other = sum(ord(char) > _LATIN_END and "LATIN" not in unicodedata.name(char, "") for char in letters)
        if other > len(letters) / 2:
            warn(
                f"{table.name} is mostly in a non-Latin script. The student's encoder was trained on English: "
                "check a sample of the matches, or distil a student on your own data from a multilingual base."
            )

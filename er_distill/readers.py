"""What reads the pairs that the lexical tier leaves uncertain: the second tier of a student.

A cross-encoder reads them pair by pair. A generative student reads a query with its candidates, as its teacher did, and
the scores of the answers say what each candidate is worth. Either gives a pair's log-odds, so nothing that comes after
knows which of them it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from tokenizers import Tokenizer

from er_distill.artefact import Manifest, Variant
from er_distill.devices import length_multiple
from er_distill.logits import encoder_logits, option_logits
from er_distill.pairs import Pairs
from er_distill.questions import Asked, CandidateLists, list_batches
from er_distill.selecting import MAX_OPTIONS, Frame, answer, prompt_ids
from er_distill.session import Session
from er_distill.tokens import PairEncoder

if TYPE_CHECKING:
    from er_distill.student import Student

MAX_NEW_TOKENS = 64
"""Tokens of an explanation."""

PAIRS_AT_ONCE = 16_384
"""Pairs that are tokenised and sorted by length together, while those before them are read."""

Read = Callable[[np.ndarray, Callable[[int], object]], np.ndarray]
"""Return the logits, float64, of the pairs at some rows; the second argument is called with numbers of pairs done."""


class Reader(Protocol):
    """Reads pairs."""

    @property
    def device(self) -> str:
        """The device it really runs on."""

    def over(
        self, left_texts: Sequence[str], right_texts: Sequence[str] | None, pairs: Pairs, *, context: bool
    ) -> Read:
        """Return what reads any of `pairs`; whatever can be shared among them is made once."""


def open_reader(graph: Session, tokenizer: Tokenizer, manifest: Manifest, variant: Variant) -> Reader:
    """Return the second tier of a student."""
    asked = manifest.question
    if asked is None:
        return PairReader(graph, tokenizer, manifest.max_length, variant.one_by_one)
    frame = Frame(asked.prefix, asked.suffix, manifest.max_length)
    return ListReader(graph, tokenizer, frame, asked.stops, variant.one_by_one)


class PairReader:
    """A cross-encoder: reads two records at once.

    Parameters
    ----------
    session : Session
        Its graph.
    tokenizer : tokenizers.Tokenizer
    max_length : int
        Tokens of a pair.
    one_by_one : bool
        Whether each pair must be a batch of its own.
    """

    def __init__(self, session: Session, tokenizer: Tokenizer, max_length: int, one_by_one: bool) -> None:
        self._session = session
        self._encoder = PairEncoder(tokenizer, max_length)
        self._one_by_one = one_by_one

    @property
    def device(self) -> str:
        """The device it really runs on."""
        return self._session.device

    def over(
        self, left_texts: Sequence[str], right_texts: Sequence[str] | None, pairs: Pairs, *, context: bool
    ) -> Read:
        """Return what reads any of `pairs`: each alone, with or without context. Each record is tokenised once."""
        left = self._encoder.table(left_texts)
        right = left if right_texts is None else self._encoder.table(right_texts)

        def read(rows: np.ndarray, progress: Callable[[int], object]) -> np.ndarray:
            tokens, multiple = self._session.batch_tokens, length_multiple(self._session.device)
            batches = self._encoder.blocks(left, right, pairs.take(rows), PAIRS_AT_ONCE, tokens, multiple=multiple)
            logits = encoder_logits(self._session, batches, len(rows), one_by_one=self._one_by_one, progress=progress)
            return logits.astype(np.float64)

        return read


class ListReader:
    """A generative student: reads a query and up to :data:`~er_distill.selecting.MAX_OPTIONS` candidates at once.

    Parameters
    ----------
    session : Session
        A graph that gives the options' logits after a prompt, and the next token where it was exported to explain.
    tokenizer : tokenizers.Tokenizer
    frame : Frame
    stops : sequence of int
        Tokens that end a text.
    one_by_one : bool
        Whether each list must be a batch of its own.
    """

    def __init__(
        self, session: Session, tokenizer: Tokenizer, frame: Frame, stops: Sequence[int], one_by_one: bool
    ) -> None:
        self._session = session
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._frame = frame
        self._stops = frozenset(stops)
        self._one_by_one = one_by_one

    @property
    def device(self) -> str:
        """The device it really runs on."""
        return self._session.device

    def over(
        self, left_texts: Sequence[str], right_texts: Sequence[str] | None, pairs: Pairs, *, context: bool
    ) -> Read:
        """Return what reads any of `pairs`, among the lists that all of them make."""
        lists = CandidateLists(left_texts, right_texts, pairs, context=context)

        def read(rows: np.ndarray, progress: Callable[[int], object]) -> np.ndarray:
            return lists.logits(rows, lambda asked: self._option_logits(asked, _Share(len(rows), len(asked), progress)))

        return read

    def _option_logits(self, asked: Asked, progress: Callable[[int], object] | None = None) -> np.ndarray:
        ids = [prompt_ids(self._tokenizer, query, candidates, self._frame) for query, candidates in asked]
        batches = list_batches(ids, 1 if self._one_by_one else self._session.batch_tokens)
        return option_logits(
            self._session, batches, len(ids), MAX_OPTIONS + 1, one_by_one=self._one_by_one, progress=progress
        )

    def explanation(self, query: str, candidates: Sequence[str]) -> str | None:
        """Return the answer about a query and what the student says after it; see :func:`generated_explanation`."""
        graph = self._session.open()
        if "next_token" not in graph.outputs:
            return None
        shown = list(candidates)[:MAX_OPTIONS]
        scores = self._option_logits([(query, shown)])[0, : len(shown) + 1]
        start = f"[{answer(int(scores.argmax()))}"
        ids = prompt_ids(self._tokenizer, query, shown, self._frame)
        ids += self._tokenizer.encode(start[1:], add_special_tokens=False).ids
        said: list[int] = []
        while len(said) < MAX_NEW_TOKENS:
            batch = next(list_batches([ids + said], 1))
            feeds = {name: getattr(batch, name) for name in graph.inputs}
            token = int(graph.run(feeds, "next_token")[0])
            if token in self._stops:
                break
            said.append(token)
            if "\n" in self._tokenizer.decode(said).strip():
                break
        text = self._tokenizer.decode(said).strip()
        return f"{start}{text.splitlines()[0] if text else ''}"


class _Share:
    """Progress in pairs while questions are read: pairs stand in questions evenly, near enough for a bar."""

    def __init__(self, pairs: int, questions: int, progress: Callable[[int], object]) -> None:
        self._pairs, self._questions, self._progress = pairs, questions, progress
        self._done = 0

    def __call__(self, questions: int) -> None:
        before = self._pairs * self._done // self._questions
        self._done += questions
        self._progress(self._pairs * self._done // self._questions - before)


def generated_explanation(student: Student, query_text: str, candidate_texts: Sequence[str]) -> str | None:
    """Return what a generative student says of its choice among the candidates of a query.

    Parameters
    ----------
    student : Student
    query_text : str
        The query record's text, one of `Records.texts`.
    candidate_texts : sequence of str
        Texts of its candidates, at least one; of more than :data:`~er_distill.selecting.MAX_OPTIONS` the first are
        shown.

    Returns
    -------
    str or None
        The answer and one line about it, of :data:`MAX_NEW_TOKENS` tokens at most. Numbers in brackets are positions in
        `candidate_texts`, from 1; ``[0]`` is none. None when the student cannot: it is an encoder, or was exported
        without explanations.
    """
    reader = student.reader
    return reader.explanation(query_text, candidate_texts) if isinstance(reader, ListReader) else None

"""How a question is put to a model: match, compare, select, or a ranker that keeps the top few and then select.

The strategies are those of ComEM (arXiv 2405.16884). Each is a dialogue: a generator that yields rounds of prompts, is
sent the replies, and returns the answer. It sends nothing itself, so that every teacher can hold it in its own way.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from er_distill.errors import InputError, did_you_mean
from er_distill.training import prompts
from er_distill.training.prompts import Prompt
from er_distill.training.teachers.base import NONE, Answer, Question
from er_distill.training.teachers.demonstrations import Demonstrations
from er_distill.training.teachers.sheet import Sheet

Dialogue = Generator[list[Prompt], list[Answer], Answer]
"""Yields prompts, is sent an answer to each (about the candidates *shown*), returns the answer to the question."""

STRATEGIES = ("select", "match", "compare", "compound")
_CERTAIN = 1e-4  # no reply is taken for surer than this: several "yes" of one list must remain comparable


@dataclass(frozen=True)
class Elicitation:
    """How to ask.

    Attributes
    ----------
    strategy : str
        ``"select"`` asks for one of the list or none, ``"match"`` about each candidate alone, ``"compare"`` which of
        two fits better (a knock-out, then `match` for the winner), ``"compound"`` is `select` among the `keep`
        candidates with the most similar words and trigrams.
    variants : tuple of str
        Wordings (:data:`er_distill.training.prompts.VARIANTS`); of several, each is asked and the answers are averaged.
    keep : int
        Candidates that `compound` keeps.
    confirm : str or None
        Whether to put a chosen candidate back to the model, and what to do with one it takes back: ``"drop"`` abstains,
        ``"weigh"`` averages both answers. "None of them" is not put back: teachers err towards matches.
    explain : str or None
        ``"answer"`` asks for the reasons, ``"contrastive"`` also why each other option is wrong; one more request.
    seed : int
        Of the order in which candidates are shown: other for every question and variant, against position bias.
    demonstrations : Demonstrations or None
        Labelled tuples to show before the question.
    value_chars : int
        Characters of one value that are shown.
    """

    strategy: str = "select"
    variants: tuple[str, ...] = ("plain",)
    keep: int = 4
    confirm: str | None = None
    explain: str | None = None
    seed: int = 0
    demonstrations: Demonstrations | None = None
    value_chars: int = 400

    def __post_init__(self) -> None:
        object.__setattr__(self, "variants", prompts.check_variants(self.variants))
        for name, value, allowed in (
            ("strategy", self.strategy, STRATEGIES),
            ("confirm", self.confirm, (None, "drop", "weigh")),
            ("explain", self.explain, (None, "answer", "contrastive")),
        ):
            if value not in allowed:
                raise InputError(f"{name} is {value!r}. {did_you_mean(value, allowed)}")
        if self.keep < 1 or self.value_chars < 1:
            raise InputError(f"keep is {self.keep} and value_chars {self.value_chars}. Give 1 or more.")


def dialogue(sheet: Sheet, question: Question, how: Elicitation) -> Dialogue:
    """Ask one question."""
    if not question.candidates:
        return Answer(NONE)
    asked = _Asked(sheet, question, how)
    answers = yield from _in_step([asked.once(variant) for variant in how.variants])
    answer = _averaged(answers, len(question.candidates))
    if how.confirm and answer.choice is not None and answer.choice != NONE:
        answer = yield from asked.confirmed(answer)
    if how.explain and answer.choice is not None:
        answer = yield from asked.explained(answer)
    return answer


class _Asked:
    """One question, with all that its prompts are made of."""

    def __init__(self, sheet: Sheet, question: Question, how: Elicitation) -> None:
        self.sheet, self.question, self.how = sheet, question, how

    def once(self, variant: str) -> Dialogue:
        """Ask in one wording."""
        if self.how.strategy == "match":
            return self._match(variant)
        return self._compare(variant) if self.how.strategy == "compare" else self._select(variant)

    def _select(self, variant: str) -> Dialogue:
        prompt = self._list(variant)
        (reply,) = yield [self._shown("select", prompt, variant)]
        return self._placed(reply, prompt.shown)

    def _match(self, variant: str) -> Dialogue:
        everyone = range(len(self.question.candidates))
        replies = yield [self._pair(position, variant) for position in everyone]
        failed = [reply for reply in replies if reply.abstained]
        if failed:
            return replace(failed[0], reason=f"{len(failed)} of {len(replies)} pairs: {failed[0].reason}")
        sure = np.clip([reply.votes(1)[0] for reply in replies], _CERTAIN, 1 - _CERTAIN)
        # At most one candidate is right: the odds of each pair against the odds of none, which are 1.
        weights = np.append(sure / (1 - sure), 1.0)
        ties = np.flatnonzero(np.isclose(weights, weights.max()))
        best = int(ties[0]) if len(ties) == 1 else min(ties.tolist(), key=self._rank)
        soft = any(reply.probabilities for reply in replies) or len(ties) > 1
        probabilities = tuple((weights / weights.sum()).tolist()) if soft else None
        return Answer(best if best < len(everyone) else NONE, probabilities)

    def _compare(self, variant: str) -> Dialogue:
        left = self._shuffled(range(len(self.question.candidates)), variant)
        while len(left) > 1:
            twos = [(left[k], left[k + 1]) for k in range(0, len(left) - 1, 2)]
            replies = yield [self._two(two, variant) for two in twos]
            for reply in replies:
                if reply.abstained:
                    return reply
            unpaired = left[2 * len(twos) :]
            left = [two[reply.choice or 0] for two, reply in zip(twos, replies, strict=True)] + unpaired
        (reply,) = yield [self._pair(left[0], variant)]
        return self._placed(reply, (left[0],))

    def confirmed(self, answer: Answer) -> Dialogue:
        """Put a chosen candidate back."""
        choice = answer.choice or 0
        query, candidate = self.sheet.query(self.question), self.sheet.candidate(self.question, choice)
        (reply,) = yield [prompts.confirm(query, candidate, choice, self.how.variants[0])]
        if reply.abstained:
            return replace(answer, choice=None, probabilities=None, reason=f"not confirmed: {reply.reason}")
        if self.how.confirm == "drop":
            taken_back = reply.choice == NONE
            return Answer(None, reason="taken back when put to the teacher again") if taken_back else answer
        stands = float(reply.votes(1)[0])
        if stands == 1:
            return answer
        first = answer.votes(len(self.question.candidates))
        rest = first.copy()
        rest[choice] = 0
        rest = rest / rest.sum() if rest.sum() > 0 else np.eye(len(first))[-1]
        second = (1 - stands) * rest
        second[choice] = stands
        return _chosen((first + second) / 2, prefer=choice)

    def explained(self, answer: Answer) -> Dialogue:
        """Ask for the reasons; an answer stays one where they do not come."""
        prompt = self._list(self.how.variants[0])
        if answer.choice != NONE and answer.choice not in prompt.shown:
            return answer
        option = len(prompt.shown) if answer.choice == NONE else prompt.shown.index(answer.choice or 0)
        (reply,) = yield [prompts.explain(prompt, option, contrastive=self.how.explain == "contrastive")]
        return replace(answer, explanation=reply.explanation)

    def _list(self, variant: str) -> Prompt:
        kept: Sequence[int] = range(len(self.question.candidates))
        if self.how.strategy == "compound" and len(kept) > self.how.keep:
            kept = sorted(self.sheet.ranked(self.question)[: self.how.keep])
        shown = self._shuffled(kept, variant)
        records = [self.sheet.candidate(self.question, position) for position in shown]
        return prompts.select(self.sheet.query(self.question), records, shown, variant)

    def _two(self, two: Sequence[int], variant: str) -> Prompt:
        records = [self.sheet.candidate(self.question, position) for position in two]
        return self._shown("compare", prompts.compare(self.sheet.query(self.question), records, two, variant), variant)

    def _pair(self, position: int, variant: str) -> Prompt:
        candidate = self.sheet.candidate(self.question, position)
        prompt = prompts.match(self.sheet.query(self.question), candidate, position, variant)
        return self._shown("match", prompt, variant)

    def _placed(self, reply: Answer, shown: Sequence[int]) -> Answer:
        """Return an answer about the candidates shown as one about the question's list."""
        probabilities = None
        if reply.probabilities is not None:
            everyone = [0.0] * len(self.question.candidates)
            for position, probability in zip(shown, reply.probabilities, strict=False):
                everyone[position] = probability
            probabilities = (*everyone, reply.probabilities[-1])
        choice = reply.choice if reply.choice is None or reply.choice == NONE else shown[reply.choice]
        return replace(reply, choice=choice, probabilities=probabilities)

    def _rank(self, position: int) -> int:
        """Return the place of a candidate by similarity; none comes last."""
        ranked = self.sheet.ranked(self.question)
        return ranked.index(position) if position < len(ranked) else len(ranked)

    def _shuffled(self, positions: Sequence[int], variant: str) -> list[int]:
        return self.sheet.shuffled(self.question, positions, self.how.seed, variant)

    def _shown(self, kind: str, prompt: Prompt, variant: str) -> Prompt:
        """Put demonstrations before the question."""
        pool, how = self.how.demonstrations, self.how
        if pool is None:
            return prompt
        most = how.keep if how.strategy == "compound" else None
        nearest = pool.nearest(self.sheet.candidates, self.question)
        return prompts.with_examples(
            prompt,
            [example for tuple_ in nearest for example in pool.examples(tuple_, kind, variant, how.value_chars, most)],
        )


def _in_step(runs: Sequence[Dialogue]) -> Generator[list[Prompt], list[Answer], list[Answer]]:
    """Hold several dialogues at once, round by round, and return their answers."""
    answers: dict[int, Answer] = {}
    waiting = {at: next(run) for at, run in enumerate(runs)}
    while waiting:
        replies = iter((yield [prompt for asked in waiting.values() for prompt in asked]))
        for at, asked in list(waiting.items()):
            try:
                waiting[at] = runs[at].send([next(replies) for _ in asked])
            except StopIteration as end:
                answers[at] = end.value
                del waiting[at]
    return [answers[at] for at in range(len(runs))]


def _averaged(answers: Sequence[Answer], n_candidates: int) -> Answer:
    """Return the mean of the answers' votes; those that abstained have none."""
    given = [answer for answer in answers if not answer.abstained]
    if len(answers) == 1 or not given:
        return answers[0]
    votes = np.mean([answer.votes(n_candidates) for answer in given], axis=0)
    return _chosen(votes, prefer=next(answer.choice for answer in given if answer.choice is not None))


def _chosen(votes: np.ndarray, prefer: int) -> Answer:
    """Return the answer with the most votes; among equals, the one to prefer."""
    best = prefer if np.isclose(votes[prefer], votes.max()) else int(votes.argmax())
    return Answer(best if best < len(votes) - 1 else NONE, tuple(votes.tolist()))

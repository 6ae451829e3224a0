"""What the kinds of record share: columns, entities, and the profile that makes one task unlike the next."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from .draw import Draw, Weighted

T = TypeVar("T")


@dataclass(frozen=True)
class Style:
    """How one source writes things down when nobody makes a mistake."""

    case: str  # "natural", "lower" or "upper"
    accents: bool
    date: str
    short_types: bool
    short_regions: bool
    unit: str
    surname_first: bool
    middle: str  # "full", "initial" or "none"
    phone: str
    legal: str  # "short", "long" or "none"
    loose: float  # share of values written in another way than the source's own

    def follows(self, habit: bool, draw: Draw) -> bool:
        """Return the source's habit, or now and then its opposite."""
        return habit != draw.chance(self.loose)


@dataclass(frozen=True)
class Column(Generic[T]):
    """One column of a task.

    Attributes
    ----------
    name : str
        Its name in both tables.
    blocks : tuple of str
        The pieces of identity it shows; an entity may name some as its anchors, see `Entity`.
    render : callable
        (entity, style, draw) -> text, "" where the entity has nothing to show.
    digits : bool
        The value is a number or a date: errors are those of digits.
    sturdy : bool
        A changed digit would make it another entity: only words of the value may be damaged.
    """

    name: str
    blocks: tuple[str, ...]
    render: Callable[[T, Style, Draw], str]
    digits: bool = False
    sturdy: bool = False


@dataclass
class Entity(Generic[T]):
    """Something real that records are about.

    Attributes
    ----------
    value : object
        What is true of it.
    anchors : tuple of str
        Blocks that every record of it shows and that no change of life touches, so that its records stay recognisable
        and stay apart from those of its relatives. Typing errors hit them as any other.
    """

    value: T
    anchors: tuple[str, ...]


@dataclass(frozen=True)
class Scheme(Generic[T]):
    """The columns and the population of one task.

    Attributes
    ----------
    columns : tuple of Column
        In the order of the tables.
    entities : list of Entity
        Relatives, who are the hard negatives, stand beside each other; the tables are shuffled later.
    vary : callable
        (entity, draw) -> what one record says of it: nicknames, moves, abbreviations.
    swaps : tuple of (str, str)
        Columns whose values are sometimes entered the wrong way round.
    spills : tuple of (str, str)
        Columns whose value sometimes ends up inside, or in place of, the empty other one.
    """

    columns: tuple[Column[T], ...]
    entities: list[Entity[T]]
    vary: Callable[[Entity[T], Draw], T]
    swaps: tuple[tuple[str, str], ...]
    spills: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Errors:
    """How a source makes mistakes."""

    clean: float  # share of records without typing errors
    mean: float  # typing errors in each of the others
    most: int  # at most, in one record
    most_in_value: int
    displaced: float  # share of records with a value in the wrong column
    text: Weighted[str]
    digits: Weighted[str]


@dataclass(frozen=True)
class Source:
    """One side of a task: who wrote the records and how well."""

    styles: Weighted[Style]
    errors: Errors
    missing: Mapping[str, float]


TEXT_ERRORS = ("insert", "double", "delete", "substitute", "transpose", "keyboard", "ocr", "phonetic", "truncate",
               "split", "join", "spaces", "order", "abbreviate", "vowels", "case", "punctuation")  # fmt: skip
DIGIT_ERRORS = ("transpose", "substitute", "delete", "insert", "keyboard", "ocr", "separator")
_TEXT_PRIOR = (1.0, 0.8, 1.3, 1.2, 1.0, 1.0, 0.6, 1.2, 0.3, 0.35, 0.3, 0.3, 0.3, 0.3, 0.15, 0.3, 0.3)
_DIGIT_PRIOR = (1.2, 1.2, 0.6, 0.4, 0.5, 0.2, 0.3)


def draw_style(draw: Draw, *, day_first: bool) -> Style:
    """Draw the style of one source; `day_first` says how its country writes dates."""
    local = "%d/%m/%Y" if day_first else "%m/%d/%Y"
    return Style(
        case=Weighted(("natural", "lower", "upper"), (0.5, 0.35, 0.15)).pick(draw),
        accents=draw.chance(0.5),
        date=Weighted(("%Y-%m-%d", "%Y%m%d", local, "%d %b %Y", "%d.%m.%Y" if day_first else "%m-%d-%Y"),
                      (0.35, 0.25, 0.25, 0.08, 0.07)).pick(draw),
        short_types=draw.chance(0.5),
        short_regions=draw.chance(0.75),
        unit=draw.pick(("slash", "before", "after")),
        surname_first=draw.chance(0.25),
        middle=draw.pick(("full", "initial", "none")),
        phone=draw.pick(("plain", "spaced", "dashed", "brackets", "international")),
        legal=Weighted(("short", "long", "none"), (0.6, 0.25, 0.15)).pick(draw),
        loose=draw.pick((0.0, 0.05, 0.15, 0.35)),
    )  # fmt: skip


def draw_errors(draw: Draw) -> Errors:
    """Draw how often and in which ways a source errs, from almost never to several times a record."""
    mean = 0.25 * (16.0 ** draw.random())  # 0.25 to 4, uniform in the logarithm
    return Errors(
        clean=draw.uniform(0.02, 0.45),
        mean=mean,
        most=max(1, min(8, round(mean * 2.2))),
        most_in_value=draw.pick((1, 1, 2, 2, 3)),
        displaced=draw.pick((0.0, 0.0, 0.02, 0.05, 0.1)),
        text=Weighted(TEXT_ERRORS, [prior * draw.exponential() for prior in _TEXT_PRIOR]),
        digits=Weighted(DIGIT_ERRORS, [prior * draw.exponential() for prior in _DIGIT_PRIOR]),
    )


def draw_missing(scheme: Scheme[T], draw: Draw) -> dict[str, float]:
    """Draw the share of missing values of each column: often next to none, sometimes half of them."""
    worst = draw.pick((0.02, 0.1, 0.25, 0.5))
    return {column.name: worst * draw.random() ** 2 for column in scheme.columns}


def draw_sources(scheme: Scheme[T], draw: Draw, *, dedup: bool, day_first: bool) -> tuple[Source, Source]:
    """Draw the two sources of a link task, or twice the one source of a dedup task.

    Two tables may be written alike or differ in every habit, and either may be the clean one. A table to deduplicate
    may have been filled from two places, so that it mixes two styles.
    """
    style, other = draw_style(draw, day_first=day_first), draw_style(draw, day_first=day_first)
    errors, missing = draw_errors(draw), draw_missing(scheme, draw)
    if dedup:
        share = draw.pick((0.0, 0.0, 0.2, 0.5))
        mixed = Source(Weighted((style, other), (1.0 - share, share)), errors, missing)
        return mixed, mixed
    left_errors = draw.pick((errors, draw_errors(draw), _spotless(errors)))
    right_style = style if draw.chance(0.5) else other
    left = Source(Weighted((style,), (1.0,)), left_errors, missing)
    right_missing = missing if draw.chance(0.4) else draw_missing(scheme, draw)
    return left, Source(Weighted((right_style,), (1.0,)), errors, right_missing)


def _spotless(errors: Errors) -> Errors:
    return Errors(1.0, 0.0, 0, 0, 0.0, errors.text, errors.digits)


def without_accents(text: str) -> str:
    """Return the text in plain letters: `José` as `Jose`."""
    if text.isascii():
        return text
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))

"""Digits of a text in one form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from er_distill.marks import Marks, marks_of


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("", Marks()),
        ("no digits here", Marks()),
        ("Linksys WRT-54-G router", Marks(codes=("wrt54g",))),
        ("wrt54g and WRT54G", Marks(codes=("wrt54g",))),
        ("3.5in, 3.50 in and 4GB", Marks(quantities=("3.5", "4"))),
        ("from 1999 to 2001, 1999", Marks(years=(1999, 2001))),
        ("1990-1995", Marks(years=(1990, 1995))),
        ("born 1969-03-12", Marks(years=(1969,))),
        ("year 1999.0", Marks(years=(1999,))),
        ("serial 0012345", Marks(codes=("12345",))),
        ("0123-456", Marks(codes=("0123456",))),
        ("5-7", Marks(quantities=("5", "7"))),
        ("00000", Marks(codes=("0",))),
    ],
)
def test_marks_of(text: str, marks: Marks) -> None:
    assert marks_of(text) == marks


def test_the_main_code_is_the_longest_and_of_these_the_first() -> None:
    assert marks_of("ab12 kdl40w5500 kdl46w5500").main_code == "kdl40w5500"
    assert marks_of("lens 50 mm").main_code == ""


@given(st.text(max_size=60))
def test_any_text_has_marks(text: str) -> None:
    found = marks_of(text)
    assert marks_of(f"{text} {text}") == found
    assert len(set(found.codes)) == len(found.codes)
    assert all(1900 <= year <= 2099 for year in found.years)

"""What a record says in digits: model numbers, quantities and years.

Words do for names. Digits are written in many ways: WRT54G is WRT-54-G, 3.5in is 3.5 in, and of 1999 and 2001 it tells
something how far apart they are. Each is brought to one form here, once a record.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(r"[a-z0-9]+(?:[-/._'][a-z0-9]+)*")
_SEPARATOR = re.compile(r"[-/._']")
_DIGIT = re.compile(r"[0-9]")
_DATE = re.compile(r"((?:19|20)\d\d)-\d\d-\d\d")
_YEAR = re.compile(r"((?:19|20)\d\d)(?:\.0)?")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([a-z]{0,3})")

_SHORTEST_CODE = 4  # characters that make letters and digits a model number, not a size such as 4gb
_SHORTEST_SERIAL = 5  # digits that make a number one that names, not one that counts


@dataclass(frozen=True)
class Marks:
    """The digits of a record's text, in the order in which they stand there; repeats are left out.

    Attributes
    ----------
    codes : tuple of str
        Model, serial and telephone numbers: lower case, without separators.
    quantities : tuple of str
        Numbers with at most a short unit behind them, which is dropped.
    years : tuple of int
        1900 to 2099.
    """

    codes: tuple[str, ...] = ()
    quantities: tuple[str, ...] = ()
    years: tuple[int, ...] = ()

    @property
    def main_code(self) -> str:
        """The longest code, up to 12 characters, and of these the first: mostly the model number. Else empty."""
        return max(self.codes, key=lambda code: min(len(code), 12), default="")


_NONE = Marks()


def marks_of(text: str) -> Marks:
    """Find the marks of a text.

    Parameters
    ----------
    text : str

    Returns
    -------
    Marks
    """
    if not _DIGIT.search(text):
        return _NONE
    codes: dict[str, None] = {}
    quantities: dict[str, None] = {}
    years: dict[int, None] = {}
    for token in _TOKEN.findall(text.lower()):
        if not _DIGIT.search(token):
            continue
        if year := _DATE.fullmatch(token) or _YEAR.fullmatch(token):
            years[int(year[1])] = None
        elif quantity := _QUANTITY.fullmatch(token):
            number, unit = quantity.groups()
            if not unit and "." not in number and len(number) >= _SHORTEST_SERIAL:
                codes[number.lstrip("0") or "0"] = None
            else:
                quantities[f"{float(number):g}"] = None
        elif all(spans := [_YEAR.fullmatch(part) for part in _SEPARATOR.split(token)]):
            years.update((int(part[0]), None) for part in spans if part)
        else:
            glued = _SEPARATOR.sub("", token)
            if len(glued) >= (_SHORTEST_SERIAL if glued.isdigit() else _SHORTEST_CODE):
                codes[glued] = None
            else:
                quantities.update((f"{float(part):g}", None) for part in _SEPARATOR.split(token) if part.isdigit())
    return Marks(tuple(codes), tuple(quantities), tuple(years))

"""Mistakes: typing, scanning, hearing, and values that land in the wrong column."""

from __future__ import annotations

from .draw import Draw
from .scheme import Errors, Scheme, Source, Style, T, without_accents

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_KEY_ROWS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
_OCR = (("m", "rn"), ("rn", "m"), ("l", "1"), ("i", "l"), ("l", "i"), ("o", "0"), ("s", "5"), ("b", "8"), ("cl", "d"),
        ("d", "cl"), ("w", "vv"), ("e", "c"), ("c", "e"), ("g", "q"), ("q", "g"), ("u", "v"), ("h", "b"), ("z", "2"),
        ("ri", "n"), ("t", "f"), ("f", "t"), ("a", "o"), ("n", "u"))  # fmt: skip
_OCR_DIGITS = {"0": "O", "1": "l", "5": "S", "8": "B", "2": "Z", "6": "G"}
_SOUNDS = (("ph", "f"), ("f", "ph"), ("ck", "k"), ("k", "c"), ("c", "k"), ("ie", "y"), ("y", "ie"), ("y", "i"),
           ("ei", "ie"), ("ie", "ei"), ("ea", "ee"), ("ee", "ea"), ("ou", "u"), ("oo", "u"), ("z", "s"), ("s", "z"),
           ("gh", ""), ("wh", "w"), ("wr", "r"), ("kn", "n"), ("mb", "m"), ("tch", "ch"), ("x", "ks"), ("qu", "kw"),
           ("sch", "sh"), ("j", "g"), ("g", "j"), ("er", "or"), ("or", "er"), ("er", "ah"), ("son", "sen"),
           ("sen", "son"), ("ai", "ay"), ("ay", "ai"), ("ow", "ou"), ("au", "aw"), ("oa", "o"), ("e", "i"),
           ("a", "e"), ("i", "e"), ("ton", "tan"), ("ll", "l"), ("l", "ll"), ("tt", "t"), ("t", "tt"), ("nn", "n"),
           ("n", "nn"), ("ss", "s"), ("rr", "r"), ("r", "rr"), ("mm", "m"), ("th", "t"), ("v", "w"))  # fmt: skip


def _key_neighbours() -> dict[str, str]:
    near: dict[str, str] = {}
    for row, keys in enumerate(_KEY_ROWS):
        for place, key in enumerate(keys):
            around = keys[max(0, place - 1) : place] + keys[place + 1 : place + 2]
            if row > 1:  # keys of the row above; digits are reached from digits alone
                around += _KEY_ROWS[row - 1][place : place + 2]
            if 0 < row < len(_KEY_ROWS) - 1:
                around += _KEY_ROWS[row + 1][max(0, place - 1) : place + 1]
            near[key] = around
    return near


_NEAR = _key_neighbours()


def _replace(text: str, options: tuple[tuple[str, str], ...], spots: list[int], draw: Draw) -> str:
    """Replace one occurrence of one of the options, away from the first letter where possible."""
    lowered, allowed = text.lower(), frozenset(spots)
    start = draw.below(len(options))
    for step in range(len(options)):
        old, new = options[(start + step * 7) % len(options)]
        found = lowered.find(old, 0 if draw.chance(0.2) else 1)
        if found >= 0 and allowed.issuperset(range(found, found + len(old))):
            return text[:found] + new + text[found + len(old) :]
    return text


def _at(text: str, spots: list[int], kind: str, alphabet: str, draw: Draw) -> str:
    """Make one mistake at one character; the first of the value is spared most of the time, as people do."""
    if len(spots) > 1 and draw.chance(0.7):
        spots = spots[1:]
    place = draw.pick(spots)
    char = text[place]
    if kind == "insert":
        return text[:place] + draw.pick(alphabet) + text[place:]
    if kind == "double":
        return text[:place] + char + text[place:]
    if kind == "delete":
        return text[:place] + text[place + 1 :]
    if kind == "transpose":
        if place + 1 in spots:
            return text[:place] + text[place + 1] + char + text[place + 2 :]
        return text
    near = _NEAR.get(char.lower(), "") if kind == "keyboard" else ""
    return text[:place] + draw.pick(near or alphabet) + text[place + 1 :]


def damage_digits(text: str, kind: str, draw: Draw) -> str:
    """Return a number, code or date with one mistake of the given kind, see `scheme.DIGIT_ERRORS`."""
    spots = [place for place, char in enumerate(text) if char.isdigit()]
    if not spots:
        return text
    if kind == "separator":
        separators = [char for char in text if not char.isalnum()]
        return text.replace(draw.pick(separators), draw.pick(("", " "))) if separators else text
    if kind == "ocr":
        spots = [place for place in spots if text[place] in _OCR_DIGITS]
        if not spots:
            return text
        place = draw.pick(spots)
        return text[:place] + _OCR_DIGITS[text[place]] + text[place + 1 :]
    return _at(text, spots, kind, "0123456789", draw)


def damage_text(text: str, kind: str, draw: Draw, *, sturdy: bool = False) -> str:
    """Return a text with one mistake of the given kind.

    Parameters
    ----------
    text : str
        A value that is not empty.
    kind : str
        One of `scheme.TEXT_ERRORS`.
    draw : Draw
        The source of chance.
    sturdy : bool
        Touch only letters of words of three letters or more: house numbers and unit letters stay.

    Returns
    -------
    str
        The damaged text; the same text where the kind finds nothing to damage.
    """
    words = text.split(" ")
    spots, start = [], 0
    for word in words:
        if not sturdy or (len(word) > 2 and word.isalpha()):
            spots += [start + offset for offset, char in enumerate(word) if char.isalpha()]
        start += len(word) + 1
    if not spots:
        return text
    if kind in ("order", "truncate") and sturdy:
        kind = "delete"
    if kind == "ocr":
        return _replace(text, _OCR, spots, draw)
    if kind == "phonetic":
        return _replace(text, _SOUNDS, spots, draw)
    if kind == "truncate":
        return text[: max(4, len(text) - draw.between(1, max(1, len(text) // 3)))].rstrip()
    if kind == "split":
        place = draw.pick(spots)
        return text[:place] + " " + text[place:] if place > 1 and place + 2 < len(text) else text
    if kind == "join":
        gaps = [place for place, char in enumerate(text) if char == " "]
        gaps = [place for place in gaps if not sturdy or (place - 1 in spots and place + 1 in spots)]
        place = draw.pick(gaps) if gaps else len(text)
        return text[:place] + text[place + 1 :]
    if kind == "spaces":
        return text.replace(" ", "  ", 1) if " " in text else draw.pick((" ", "")) + text + " "
    if kind == "order":
        return " ".join(words[1:] + words[:1])
    if kind == "abbreviate":
        long = [place for place, word in enumerate(words) if len(word) > 5 and word.isalpha()]
        if len(words) > 1 and long:
            place = draw.pick(long)
            words[place] = words[place][: draw.between(3, 4)] + draw.pick(("", "."))
        return " ".join(words)
    if kind == "vowels":
        place = draw.below(len(words))
        if len(words[place]) > 5 and words[place].isalpha():
            words[place] = words[place][0] + "".join(char for char in words[place][1:] if char.lower() not in "aeiou")
        return " ".join(words)
    if kind == "case":
        return draw.pick((text.upper(), text.lower(), text.swapcase()))
    if kind == "punctuation":
        marks = [place for place, char in enumerate(text) if char in "'-.,&/"]
        if sturdy or not marks:
            return text + draw.pick((".", ",", "*", "?", " -"))
        place = draw.pick(marks)
        return text[:place] + draw.pick(("", " ")) + text[place + 1 :]
    return _at(text, spots, kind, _LETTERS, draw)


def _displace(row: dict[str, str], scheme: Scheme[T], draw: Draw) -> None:
    """Enter two values the wrong way round, or one of them in its neighbour's column."""
    if scheme.swaps and (not scheme.spills or draw.chance(0.6)):
        one, other = draw.pick(scheme.swaps)
        if row[one] and row[other]:
            row[one], row[other] = row[other], row[one]
    elif scheme.spills:
        one, other = draw.pick(scheme.spills)
        if row[one]:
            row[one], row[other] = "", f"{row[other]} {row[one]}".strip()


def _type_badly(row: dict[str, str], scheme: Scheme[T], errors: Errors, draw: Draw) -> None:
    columns = [column for column in scheme.columns if row[column.name]]
    count = min(errors.most, 1 + draw.poisson(max(0.0, errors.mean - 1.0)) if errors.mean > 1.0
                else int(draw.chance(errors.mean)))  # fmt: skip
    hits = dict.fromkeys(row, 0)
    for _ in range(count):
        column = draw.pick(columns)
        text = row[column.name]
        # A short value cannot take a second mistake and still be read.
        if hits[column.name] >= min(errors.most_in_value, 1 + len(text) // 6):
            continue
        hits[column.name] += 1
        mixed = not column.sturdy and any(char.isdigit() for char in text) and draw.chance(0.25)
        if (column.digits and not column.sturdy) or mixed:
            damaged = damage_digits(text, errors.digits.pick(draw), draw)
        else:
            damaged = damage_text(text, errors.text.pick(draw), draw, sturdy=column.sturdy)
        if any(char.isalnum() for char in damaged):
            row[column.name] = damaged


def observe(scheme: Scheme[T], entity_index: int, source: Source, draw: Draw) -> dict[str, str]:
    """Write one record of an entity as a source would.

    Parameters
    ----------
    scheme : Scheme
        The task's columns and entities.
    entity_index : int
        Which entity.
    source : Source
        The style, the missing values and the errors of the table the record goes into.
    draw : Draw
        The source of chance.

    Returns
    -------
    dict of str to str
        Column name -> value, "" where missing; every record keeps the anchors of its entity.
    """
    entity = scheme.entities[entity_index]
    value = scheme.vary(entity, draw)
    style: Style = source.styles.pick(draw)
    row: dict[str, str] = {}
    for column in scheme.columns:
        text = column.render(value, style, draw)
        anchored = any(block in entity.anchors for block in column.blocks)
        dropped = draw.chance(source.missing[column.name])
        row[column.name] = "" if dropped and not anchored else text
    if draw.chance(source.errors.displaced):
        _displace(row, scheme, draw)
    if not draw.chance(source.errors.clean):
        _type_badly(row, scheme, source.errors, draw)
    for name, text in row.items():
        if style.case != "natural":
            text = text.upper() if style.case == "upper" else text.lower()
        row[name] = text if style.accents else without_accents(text)
    return row

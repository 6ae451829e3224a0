"""Dates, phone numbers, e-mail addresses and official numbers: what people and companies share."""

from __future__ import annotations

import datetime

from .draw import Draw
from .geography import Country
from .scheme import Style, without_accents

_MAIL_HOSTS = ("gmail.com", "gmail.com", "hotmail.com", "outlook.com", "yahoo.com", "icloud.com")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def draw_date(draw: Draw, first: int, last: int) -> datetime.date:
    """Draw a day between 1 January of `first` and 31 December of `last`."""
    start, end = datetime.date(first, 1, 1).toordinal(), datetime.date(last, 12, 31).toordinal()
    return datetime.date.fromordinal(draw.between(start, end))


def write_date(day: datetime.date, pattern: str) -> str:
    """Write a date in a `strftime` pattern, with English month names whatever the locale."""
    return day.strftime(pattern.replace("%b", _MONTHS[day.month - 1]))


def near_date(day: datetime.date, draw: Draw) -> datetime.date:
    """Return the date as somebody misremembers it: day and month swapped, a year off, or only the year kept."""
    kind = draw.below(4)
    if kind < 2 and day.day <= 12 and day.day != day.month:
        return day.replace(month=day.day, day=day.month)
    if kind == 2:
        return day.replace(month=1, day=1)
    return day.replace(year=day.year + draw.pick((-10, -1, 1, 10)), day=min(day.day, 28))


def draw_phone(country: Country, draw: Draw, *, mobile: bool) -> str:
    """Draw the digits of a national phone number, without the trunk zero."""
    if mobile and country.mobile:
        return country.mobile + draw.digits(9 if country.code == "UK" else 8 if country.code == "AU" else 7)
    return draw.pick(country.area_codes) + draw.digits(country.subscriber)


def write_phone(digits: str, country: Country, style: Style) -> str:
    """Write a phone number in one of the ways of its country."""
    if not digits:
        return ""
    trunk = "" if country.dialling == "1" else "0"
    if style.phone == "plain":
        return trunk + digits
    head, rest = digits[: len(digits) - 7], digits[-7:]
    middle, tail = rest[:3], rest[3:]
    if style.phone == "international":
        return f"+{country.dialling} {head} {middle} {tail}"
    if style.phone == "brackets":
        return f"({trunk}{head}) {middle}-{tail}"
    return (" " if style.phone == "spaced" else "-").join((trunk + head, middle, tail))


def draw_number(country: Country, draw: Draw) -> str:
    """Draw an official number in the groups usual in the country, as ``123 456 782``."""
    groups = [draw.digits(size) for size in country.number_groups]
    if country.code == "UK":
        return f"{draw.pick('ABCEGJLNPRST')}{draw.pick('ABCEGJKLMN')} {' '.join(groups[:3])} {draw.pick('ABCD')}"
    return " ".join(groups)


def draw_company_number(country: Country, draw: Draw) -> str:
    """Draw a company's registration number in the groups usual in the country, as ``51 824 753 556``."""
    return " ".join(draw.digits(size) for size in country.company_groups)


def write_number(number: str, style: Style) -> str:
    """Write an official number with blanks, with dashes or in one piece."""
    if style.phone in ("spaced", "brackets"):
        return number
    return number.replace(" ", "-" if style.phone == "dashed" else "")


def plain(text: str) -> str:
    """Return the letters and digits of a text in lower case, as in a web address."""
    return "".join(char for char in without_accents(text).lower() if char.isascii() and char.isalnum())


def draw_mail(given: str, surname: str, country: Country, draw: Draw) -> str:
    """Draw a private e-mail address; most show the name in some way."""
    first, last = plain(given), plain(surname)
    local = draw.pick((f"{first}.{last}", f"{first}{last}", f"{first[0]}{last}", f"{last}.{first}", f"{first}_{last}",
                       f"{first}{draw.between(1, 99)}", f"{first[0]}.{last}{draw.between(60, 99)}"))  # fmt: skip
    if draw.chance(0.25):
        local += str(draw.between(1, 999))
    return f"{local}@{draw.pick((*_MAIL_HOSTS, f'yahoo.{country.mail}', f'{last}family.{country.mail}'))}"

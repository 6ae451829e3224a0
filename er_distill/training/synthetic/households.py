"""People, and those who are easily taken for them: households, twins, namesakes, neighbours."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

from .addresses import Gazetteer, Place
from .contacts import draw_date, draw_mail, draw_number, draw_phone
from .draw import Draw, Weighted
from .geography import Country
from .names import Origin, given_name, origins, surname
from .nicknames import called_alike

_JOBS = """nurse|teacher|electrician|accountant|retired|student|engineer|plumber|chef|sales assistant|driver|carpenter
manager|software developer|cleaner|solicitor|receptionist|mechanic|farmer|doctor|police officer|hairdresser|builder
graphic designer|project manager|pharmacist|social worker|architect|security guard|bus driver|truck driver|journalist
physiotherapist|dental assistant|office administrator|bookkeeper|barista|real estate agent|firefighter|librarian
data analyst|home duties|self-employed|childcare worker|warehouse operator|lecturer|veterinarian""".replace(
    "\n", "|"
).split("|")


@dataclass(frozen=True)
class Person:
    """A person; `middle`, `title` and the contacts may be empty."""

    given: str
    middle: str
    surname: str
    sex: str
    born: datetime.date
    place: Place
    number: str
    phone: str
    mail: str
    job: str
    suffix: str = ""


class People:
    """Draws people of one task and their relatives."""

    def __init__(self, draw: Draw, country: Country, count: int) -> None:
        self.draw = draw
        self.country = country
        self.gazetteer = Gazetteer(draw, country, count)
        self.origins: Weighted[Origin] = origins(draw)
        self.middle_share = draw.uniform(0.3, 0.9)
        self.contact_share = draw.uniform(0.7, 1.0)
        self.oldest = draw.between(1920, 1950)

    def person(self) -> Person:
        """Draw a person who is related to nobody."""
        draw, origin = self.draw, self.origins.pick(self.draw)
        sex = draw.pick("FM")
        given, family = given_name(origin, sex, draw), surname(origin, draw)
        middle = given_name(origin, sex, draw) if draw.chance(self.middle_share) else ""
        return self._own(Person(given, "" if middle == given else middle, family, sex,
                                draw_date(draw, self.oldest, 2006), self.gazetteer.place(draw), "", "", "",
                                draw.pick(_JOBS)))  # fmt: skip

    def _own(self, person: Person) -> Person:
        """Give a person numbers and addresses that nobody else has."""
        draw, country = self.draw, self.country
        phone = draw_phone(country, draw, mobile=draw.chance(0.6)) if draw.chance(self.contact_share) else ""
        mail = draw_mail(person.given, person.surname, country, draw) if draw.chance(self.contact_share) else ""
        return replace(person, number=draw_number(country, draw), phone=phone, mail=mail)

    def _other_given(self, person: Person, sex: str) -> str:
        """Draw a given name that nobody would take for a short form of the person's."""
        while True:
            given = given_name(self.origins.pick(self.draw), sex, self.draw)
            if given[0] != person.given[0] and not called_alike(given, person.given):
                return given

    def relative(self, person: Person, kind: str) -> Person:
        """Draw somebody who is easily taken for the person.

        Parameters
        ----------
        person : Person
            Whose relative, neighbour or namesake.
        kind : str
            A key of `RELATIVES`.

        Returns
        -------
        Person
            Somebody else, who differs in the blocks that `RELATIVES` names for the kind.
        """
        draw, year, person = self.draw, person.born.year, replace(person, suffix="")
        other_sex = "M" if person.sex == "F" else "F"
        if kind == "namesake":
            return self._own(replace(person, middle="", born=self._another_birthday(person, self.oldest, 2006),
                                     place=self.gazetteer.place(draw), job=draw.pick(_JOBS)))  # fmt: skip
        if kind == "child":  # or the parent, where the person is too young to have one
            younger = year < 1980
            years = (year + 19, min(year + 38, 2006)) if younger else (year - 38, year - 19)
            child = self._own(replace(person, born=self._another_birthday(person, *years), job=draw.pick(_JOBS)))
            suffix = "Jr" if younger and person.sex == "M" and draw.chance(0.4) else ""
            return replace(child, suffix=suffix, phone=draw.pick((child.phone, person.phone)))
        if kind == "twin":
            sex = draw.pick((person.sex, other_sex))
            return self._own(replace(person, given=self._other_given(person, sex), middle="", sex=sex))
        if kind == "neighbour":
            stranger = self.person()
            while stranger.surname[0] == person.surname[0]:
                stranger = self.person()
            return replace(
                stranger, place=self.gazetteer.next_door(person.place, draw) if draw.chance(0.6) else person.place
            )
        sex = other_sex if kind == "spouse" else draw.pick("FM")
        spread = 8 if kind == "spouse" else 15
        born = self._another_birthday(person, year - spread, min(year + spread, 2006))
        family = replace(
            person, given=self._other_given(person, sex), middle="", sex=sex, born=born, job=draw.pick(_JOBS)
        )
        if kind == "spouse" and draw.chance(0.2):
            family = replace(family, surname=surname(self.origins.pick(draw), draw))
        own = self._own(family)
        return replace(
            own, phone=draw.pick((own.phone, person.phone)), mail=draw.pick((own.mail, own.mail, person.mail))
        )

    def _another_birthday(self, person: Person, first: int, last: int) -> datetime.date:
        """Draw a birthday that a slip of the pen would not turn into the person's."""
        while True:
            born = draw_date(self.draw, min(first, last - 1), last)
            if born.year != person.born.year and (born.month, born.day) != (person.born.month, person.born.day):
                return born


# Each kind: its share, and the blocks by which a careful reader tells the two apart.
RELATIVES = {
    "spouse": (0.28, ("given",)),
    "sibling": (0.2, ("given",)),
    "twin": (0.12, ("given",)),
    "child": (0.12, ("born",)),
    "namesake": (0.18, ("born",)),
    "neighbour": (0.1, ("surname",)),
}

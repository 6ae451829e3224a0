"""Tables of people: what changes in a life, what records leave out, and the columns that show it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .addresses import Place, address_columns, spills
from .contacts import draw_mail, draw_phone, near_date, write_date, write_number, write_phone
from .draw import Draw, Weighted
from .geography import COUNTRIES, Country
from .households import RELATIVES, People, Person
from .names import surname
from .nicknames import NICKNAMES, SPELLINGS
from .scheme import Column, Entity, Scheme, Style


@dataclass(frozen=True)
class Habits:
    """Shares of records in which something about the person is told in another way."""

    nickname: float
    spelling: float
    initial: float
    middle_lost: float
    middle_first: float
    moved: float
    renamed: float
    misdated: float
    contact: float
    vague: float


def draw_habits(draw: Draw) -> Habits:
    """Draw the habits of one task; each is absent from about a third of the tasks."""
    most = (0.15, 0.08, 0.08, 0.3, 0.02, 0.15, 0.08, 0.06, 0.2, 0.12)
    return Habits(*(max(0.0, draw.uniform(-0.5, 1.0)) * share for share in most))


def _full_name(person: Person, style: Style, draw: Draw) -> str:
    suffix = f" {person.suffix}" if person.suffix else ""
    given = " ".join(part for part in (person.given, _middle(person, style, draw)) if part)
    if style.follows(style.surname_first, draw):
        return f"{person.surname}{suffix}, {given}"
    return f"{given} {person.surname}{suffix}"


def _middle(person: Person, style: Style, draw: Draw) -> str:
    if not person.middle or not style.follows(style.middle != "none", draw):
        return ""
    return person.middle if style.middle == "full" else person.middle[0] + draw.pick(("", "."))


def _names(draw: Draw) -> list[Column[Person]]:
    if draw.chance(0.35):
        return [Column(draw.pick(("name", "full_name", "person", "customer_name")), ("given", "surname"), _full_name)]
    given, family = draw.pick((("given_name", "surname"), ("first_name", "last_name"), ("forename", "surname"),
                               ("fname", "lname"), ("givenname", "familyname")))  # fmt: skip
    columns: list[Column[Person]] = [Column(given, ("given",), lambda person, style, draw: person.given)]
    if draw.chance(0.4):
        columns.append(Column(draw.pick(("middle_name", "middle", "second_name")), (), _middle))
    columns.append(Column(family, ("surname",), lambda person, style, draw: " ".join(
        part for part in (person.surname, person.suffix) if part)))  # fmt: skip
    if draw.chance(0.25):
        columns.reverse()
    return columns


def _columns(draw: Draw, country: Country) -> tuple[list[Column[Person]], list[Column[Place]]]:
    """Draw a table's columns: at least two blocks besides the name tell people apart."""
    names = _names(draw)
    birth = Column[Person](draw.pick(("date_of_birth", "dob", "birth_date", "birthdate", "born")), ("born",),
                           lambda person, style, draw: write_date(person.born, style.date), digits=True)  # fmt: skip
    number = Column[Person](
        draw.pick((*country.number_names, "customer_number", "member_no", "national_id", "patient_id")), ("number",),
        lambda person, style, draw: write_number(person.number, style), digits=True)  # fmt: skip
    phone = Column[Person](draw.pick(("phone", "telephone", "mobile", "phone_number")), ("phone",),
                           lambda p, style, draw: write_phone(p.phone, country, style), digits=True)  # fmt: skip
    mail = Column[Person](
        draw.pick(("email", "e_mail", "email_address")), ("mail",), lambda person, style, draw: person.mail
    )
    sex = Column[Person](draw.pick(("sex", "gender")), (), lambda person, style, draw: person.sex)
    job = Column[Person](draw.pick(("occupation", "job", "job_title", "profession")), (), lambda p, style, draw: p.job)
    places = address_columns(draw)
    address = [_of_person(column) for column in places]
    shape = Weighted(("register", "customers", "contacts", "patients"), (0.4, 0.25, 0.15, 0.2)).pick(draw)
    groups = {
        "register": [names, address, [birth]],
        "customers": [names, [phone, mail], address],
        "contacts": [names, [mail, phone], [birth]],
        "patients": [names, [birth], [number]],
    }[shape]
    if shape == "contacts" or (shape == "patients" and draw.chance(0.5)):
        places = []
    elif shape == "patients":
        groups.append(address)
    shown = {column.name for group in groups for column in group}
    for column, share in ((number, 0.35), (phone, 0.3), (mail, 0.2), (sex, 0.25), (job, 0.15), (birth, 0.3)):
        if column.name not in shown and draw.chance(share):
            groups.append([column])
    if draw.chance(0.6):
        groups[1:] = draw.shuffled(groups[1:])
    if draw.chance(0.15):
        groups = draw.shuffled(groups)
    return [column for group in groups for column in group], places


def _of_person(column: Column[Place]) -> Column[Person]:
    return Column(column.name, column.blocks, lambda person, style, draw: column.render(person.place, style, draw),
                  column.digits, column.sturdy)  # fmt: skip


def _shown(person: Person, block: str) -> bool:
    return bool({"phone": person.phone, "mail": person.mail}.get(block, "shown"))


def _anchors(person: Person, visible: tuple[str, ...], draw: Draw) -> tuple[str, ...]:
    names = draw.pick((("given", "surname"), ("given", "surname"), ("given",), ("surname",)))
    strong = [block for block in draw.shuffled(("born", "street", "number", "phone", "mail"))
              if block in visible and _shown(person, block)]  # fmt: skip
    return (*names, *strong[: draw.between(1, 2)])


def _vary(entity: Entity[Person], habits: Habits, people: People, draw: Draw) -> Person:
    """Return the person as one record tells of it; at most one block is wholly replaced."""
    person, anchors = entity.value, entity.anchors
    given, family = person.given, person.surname
    if given in NICKNAMES and draw.chance(habits.nickname):
        given = draw.pick(NICKNAMES[given])
    elif "given" not in anchors and draw.chance(habits.initial):
        given = given[0]
    elif person.middle and "given" not in anchors and draw.chance(habits.middle_first):
        given = person.middle
    if given in SPELLINGS and draw.chance(habits.spelling * 2):
        given = draw.pick(SPELLINGS[given])
    if family in SPELLINGS and draw.chance(habits.spelling * 2):
        family = draw.pick(SPELLINGS[family])
    middle = "" if draw.chance(habits.middle_lost) else person.middle
    born = near_date(person.born, draw) if "born" not in anchors and draw.chance(habits.misdated) else person.born
    told = replace(person, given=given, surname=family, middle=middle, born=born)
    if draw.chance(habits.vague):  # the flat is left out, or a neighbouring suburb named
        flatless = replace(person.place, unit="", building="")
        told = replace(told, place=draw.pick((flatless, people.gazetteer.neighbouring(person.place, draw))))
    if draw.chance(habits.moved):
        if "street" not in anchors:
            return replace(told, place=people.gazetteer.place(draw))
    elif "surname" not in anchors and draw.chance(habits.renamed * (2.0 if person.sex == "F" else 0.3)):
        other = surname(people.origins.pick(draw), draw)
        return replace(told, surname=f"{person.surname}-{other}" if draw.chance(0.25) else other)
    if "phone" not in anchors and draw.chance(habits.contact):
        told = replace(told, phone=draw_phone(people.country, draw, mobile=True))
    if "mail" not in anchors and draw.chance(habits.contact):
        told = replace(told, mail=draw_mail(person.given, person.surname, people.country, draw))
    return told


def scheme(draw: Draw, count: int) -> tuple[Scheme[Person], Country]:
    """Draw the columns and the `count` people of a task, and their country."""
    country = draw.pick(COUNTRIES)
    people, habits = People(draw, country, count), draw_habits(draw)
    columns, places = _columns(draw, country)
    visible = tuple(block for column in columns for block in column.blocks)
    kinds = [kind for kind, (_, needs) in RELATIVES.items() if set(needs) <= set(visible)]
    relatives = Weighted(kinds, [RELATIVES[kind][0] * draw.exponential() for kind in kinds])
    related = draw.uniform(0.1, 0.45)
    entities: list[Entity[Person]] = []
    seen: set[tuple[object, ...]] = set()
    while len(entities) < count:
        kind = relatives.pick(draw) if entities and draw.chance(related) else ""
        person = people.relative(entities[-1].value, kind) if kind else people.person()
        # A third of a household must not repeat the first: only a child may bear the name of somebody of the house.
        birth = (person.given[0], person.surname, person.born)
        home = (person.given[0], person.surname, person.place)
        if birth in seen or (home in seen and kind != "child"):
            continue
        seen |= {birth, home}
        needs = RELATIVES[kind][1] if kind else ()
        if kind:
            entities[-1].anchors = tuple(dict.fromkeys((*entities[-1].anchors, *needs)))
        entities.append(Entity(person, tuple(dict.fromkeys((*_anchors(person, visible, draw), *needs)))))
    names = [column.name for column in columns if "given" in column.blocks or "surname" in column.blocks]
    swaps = ((names[0], names[1]),) if len(names) == 2 else ()
    return Scheme(tuple(columns), entities, lambda entity, draw: _vary(entity, habits, people, draw), swaps,
                  spills(places)), country  # fmt: skip

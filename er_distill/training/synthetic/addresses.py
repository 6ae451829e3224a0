"""Addresses: a gazetteer of made-up towns and streets, the ways an address is written, and tables of addresses."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .draw import Draw, Weighted, ranked
from .geography import (
    BUILDINGS,
    COUNTRIES,
    DIRECTIONS,
    STREET_TYPES,
    STREETS,
    TOWN_ENDINGS,
    TOWN_PREFIXES,
    TOWN_STEMS,
    Country,
    Region,
    postcode,
)  # fmt: skip
from .names import rare_surname
from .scheme import Column, Entity, Scheme, Style


@dataclass(frozen=True)
class Street:
    """A street of a town; `code` is the post code of its addresses."""

    name: str
    type: tuple[str, ...]
    direction: tuple[str, str] | None
    code: str


@dataclass(frozen=True)
class Town:
    """A town or suburb and its streets."""

    name: str
    region: Region
    streets: tuple[Street, ...]


@dataclass(frozen=True)
class Place:
    """An address; `unit`, `building` and, for a post box, `number` may be empty."""

    country: Country
    town: Town
    street: Street
    number: str
    unit: str
    building: str


class Gazetteer:
    """The towns and streets of one task.

    Parameters
    ----------
    draw : Draw
        The source of chance.
    country : Country
        Where it lies.
    size : int
        The number of addresses expected of it: more of them live in more towns, several to a street.
    """

    def __init__(self, draw: Draw, country: Country, size: int) -> None:
        self.country = country
        count = 12 + int(size**0.5 * draw.uniform(0.6, 3.0))
        self._unit_share = draw.uniform(0.08, 0.4)
        self._long_streets = draw.between(40, 400)
        self.towns: Weighted[Town] = ranked([self._town(draw) for _ in range(count)], exponent=draw.uniform(0.3, 1.1))

    def _town(self, draw: Draw) -> Town:
        made_up = draw.pick(TOWN_STEMS) + draw.pick(TOWN_ENDINGS)
        name = draw.pick(self.country.towns) if draw.chance(0.4) else made_up
        if draw.chance(0.12) and " " not in name:
            name = f"{draw.pick(TOWN_PREFIXES)} {name}"
        region = draw.pick(self.country.regions)
        codes = [postcode(self.country, draw.pick(region.codes), draw) for _ in range(draw.between(1, 3))]
        return Town(name, region, tuple(self._street(draw, region, codes) for _ in range(draw.between(8, 45))))

    def _street(self, draw: Draw, region: Region, codes: list[str]) -> Street:
        name = STREETS.pick(draw) if draw.chance(0.75) else rare_surname(draw)
        code = draw.pick(codes)
        if self.country.code in ("UK", "CA"):  # every street has its own
            code = code[:-2] + postcode(self.country, region.codes[0], draw)[-2:]
        compass = draw.pick(DIRECTIONS) if self.country.code in ("US", "CA") and draw.chance(0.2) else None
        return Street(name, STREET_TYPES.pick(draw), compass, code)

    def place(self, draw: Draw) -> Place:
        """Draw an address."""
        town = self.towns.pick(draw)
        street = draw.pick(town.streets)
        number = str(1 + int(self._long_streets * draw.random() ** 2)) + (draw.pick("ABC") if draw.chance(0.03) else "")
        unit = str(draw.between(1, 24)) if draw.chance(self._unit_share) else ""
        building = f"{rare_surname(draw)} {draw.pick(BUILDINGS)}" if draw.chance(0.08) else ""
        return Place(self.country, town, street, number, unit, building)

    def neighbouring(self, place: Place, draw: Draw) -> Place:
        """Return the address under the name of a neighbouring locality of the same post code."""
        return replace(place, town=replace(place.town, name=draw.pick(self.towns.values).name))

    def next_door(self, place: Place, draw: Draw) -> Place:
        """Draw another address of the same street."""
        digits = int("".join(char for char in place.number if char.isdigit()))
        if place.unit and draw.chance(0.6):
            return replace(place, unit=str(int(place.unit) + draw.between(1, 3)))
        if digits > 9 and str(digits)[::-1].lstrip("0") != str(digits) and draw.chance(0.15):
            return replace(place, number=str(digits)[::-1].lstrip("0"))
        return replace(place, number=str(digits + 2 * draw.between(1, 3)))

    def namesake(self, place: Place, draw: Draw) -> Place:
        """Draw the same number in a like-named street of another town, or in a street of another type."""
        if draw.chance(0.5):
            other = replace(
                place.street, type=draw.pick([t for t in STREET_TYPES.values[:8] if t != place.street.type])
            )
            return replace(place, street=other)
        town = draw.pick([town for town in self.towns.values if town.name != place.town.name])
        return replace(place, town=town, street=replace(place.street, code=draw.pick(town.streets).code))


def street_words(place: Place, style: Style, draw: Draw) -> str:
    """Write the street without its number: ``N Main St``."""
    short = style.follows(style.short_types, draw)
    compass = [place.street.direction[short]] if place.street.direction else []
    return " ".join([*compass, place.street.name, place.street.type[short]])


def street_line(place: Place, style: Style, draw: Draw) -> str:
    """Write unit, number and street: ``3/12 Main Street``, ``Apt 3, 12 Main St`` or ``12 Main St Apt 3``."""
    line = f"{place.number} {street_words(place, style, draw)}"
    if not place.unit:
        return line
    if style.follows(style.unit == "slash", draw):
        return f"{place.unit}/{line}"
    word = draw.pick(place.country.unit_words)
    unit = f"#{place.unit}" if word == "#" else f"{word} {place.unit}"
    return f"{line} {unit}" if style.unit == "after" else f"{unit}, {line}"


def town_words(place: Place, style: Style, draw: Draw) -> str:
    """Write the town, with Mount, Saint or a compass point short where the source does so."""
    first, _, rest = place.town.name.partition(" ")
    shorts = {"Mount": "Mt", "Saint": "St", "Fort": "Ft", "North": "Nth", "South": "Sth", "Port": "Pt"}
    if rest and first in shorts and style.follows(style.short_types, draw):
        return f"{shorts[first]} {rest}"
    return place.town.name


def region_words(place: Place, style: Style, draw: Draw) -> str:
    """Write the state, county or province."""
    return place.town.region.short if style.follows(style.short_regions, draw) else place.town.region.name


def whole_line(place: Place, style: Style, draw: Draw) -> str:
    """Write the whole address in one line."""
    town, region = town_words(place, style, draw), region_words(place, style, draw)
    parts = [place.building, street_line(place, style, draw), f"{town} {region}", place.street.code]
    return ("," if style.unit == "before" else "").join(" " + part for part in parts if part).strip()


def address_columns(draw: Draw, *, sturdy: bool = False) -> list[Column[Place]]:
    """Draw how a table splits addresses into columns.

    Parameters
    ----------
    draw : Draw
        The source of chance.
    sturdy : bool
        The address is the entity itself: a wrong house number would make it another one.

    Returns
    -------
    list of Column
        Columns of a `Place`; their blocks are "street", "town" and "code".
    """

    def unit(place: Place, style: Style, draw: Draw) -> str:
        word = f"{place.country.unit_words[0]} " if place.unit and style.unit == "before" else ""
        return word + place.unit

    layout = draw.pick(("parts", "parts", "lines", "lines", "single"))
    if layout == "single":
        name = draw.pick(("address", "full_address", "postal_address", "location"))
        return [Column(name, ("street", "town", "code"), whole_line, sturdy=sturdy)]
    city = draw.pick(("suburb", "city", "town", "locality"))
    state = draw.pick(("state", "region", "province", "county"))
    code = draw.pick(("postcode", "zip", "post_code", "postal_code"))
    area = [
        Column(city, ("town",), town_words),
        Column(code, ("code",), lambda place, style, draw: place.street.code, digits=True),
        Column(state, (), region_words),
    ]
    if draw.chance(0.2):
        area.pop()
    if draw.chance(0.5):
        area[1:] = area[:0:-1]
    if layout == "lines":
        name = draw.pick(("address", "street", "street_address", "address_line_1", "addr"))
        street = [Column(name, ("street",), street_line, sturdy=sturdy)]
    else:
        number = draw.pick(("street_number", "house_number", "number", "street_no"))
        name = draw.pick(("street_name", "street", "address_1", "road"))
        street = [
            Column(number, ("street",), lambda place, style, draw: place.number, digits=True, sturdy=sturdy),
            Column(name, ("street",), street_words, sturdy=sturdy),
        ]
        street.insert(draw.pick((0, 2)), Column(draw.pick(("unit", "flat", "apartment", "unit_no")), ("street",), unit,
                                                digits=True, sturdy=sturdy))  # fmt: skip
    if draw.chance(0.35):
        name = draw.pick(("address_2", "building", "property", "address_line_2"))
        street.append(Column(name, (), lambda place, style, draw: place.building))
    return street + area


def spills(columns: list[Column[Place]]) -> tuple[tuple[str, str], ...]:
    """Return which address columns a value may slip between: each into the one before it."""
    names = [column.name for column in columns]
    return tuple(zip(names[1:], names[:-1], strict=True))


def scheme(draw: Draw, count: int) -> tuple[Scheme[Place], Country]:
    """Draw the columns and the `count` distinct addresses of a task, and its country."""
    country = draw.pick(COUNTRIES)
    gazetteer = Gazetteer(draw, country, count)
    columns = address_columns(draw, sturdy=True)
    relatives, moved_town = draw.uniform(0.15, 0.55), draw.uniform(0.0, 0.05)
    entities: list[Entity[Place]] = []
    seen: set[tuple[object, ...]] = set()
    while len(entities) < count:
        if entities and draw.chance(relatives):
            make = gazetteer.next_door if draw.chance(0.75) else gazetteer.namesake
            place = make(entities[-1].value, draw)
        else:
            place = gazetteer.place(draw)
        # A unit of its own would tell a building from one of its flats, but not once it is left out.
        key = (place.town.name, place.street.name, place.street.type, place.number, place.unit)
        if key not in seen:
            seen.add(key)
            entities.append(Entity(place, ("street", draw.pick(("town", "code")))))

    def vary(entity: Entity[Place], draw: Draw) -> Place:
        place = entity.value
        if "town" not in entity.anchors and draw.chance(moved_town):
            return gazetteer.neighbouring(place, draw)
        return place

    area = [column for column in columns if "street" not in column.blocks]
    return Scheme(tuple(columns), entities, vary, (), spills(area)), country

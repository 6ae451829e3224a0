"""Companies: groups, branches and look-alikes, how a company name is written, and the columns that show it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .addresses import Gazetteer, Place, address_columns, spills
from .contacts import draw_company_number, draw_phone, plain, write_number, write_phone
from .draw import Draw, Weighted, ranked, words
from .geography import COUNTRIES, Country
from .names import origins, surname
from .scheme import Column, Entity, Scheme, Style

_WORDS = words(
    """Acme Alpha Apex Atlas Aurora Beacon Blue Bright Capital Cardinal Cascade Central Century Circle City Clear
    Coastal Compass Coral Crown Crystal Delta Diamond Eagle East Eclipse Element Elite Ember Emerald Empire Epsilon
    Evergreen Express Falcon First Flint Forward Frontier Fusion Galaxy Gamma Gateway Global Golden Granite Green
    Harbour Harvest Heritage Highland Horizon Imperial Infinity Insight Iron Jade Keystone Landmark Liberty
    Lighthouse Lion Lotus Lunar Magnolia Maple Meridian Metro Midland Millennium Modern Momentum National Neptune
    New Nexus Noble North Northern Nova Oak Oasis Ocean Olympic Omega Onyx Optima Orbit Orion Pacific Palm Paragon
    Peak Pegasus Phoenix Pinnacle Pioneer Planet Platinum Polaris Precision Premier Prestige Prime Pristine Quantum
    Quest Radiant Rapid Red Regal Reliance Ridge River Rock Royal Sapphire Sentinel Sierra Signature Silver Sky
    Smart Solar Southern Spectrum Spring Star Sterling Stone Summit Sun Swift Titan Total Triangle Trident Trinity
    True Union United Unity Urban Valley Vanguard Vector Venture Vertex Vista Vital West Western White Wild Willow
    Wise Zenith"""
)
_MADE_UP = words("Vel Zen Cor Tri Syn Lum Nex Quo Bio Tele Inno Medi Agri Opti Dyna Aero Eco Info Ver Kry")
_MADE_UP_ENDINGS = words("ora tek ix ia ent soft net data gen cor vance link flow va ex")
_GROUP_WORDS = ("Holdings", "Group", "Trading", "Investments", "Enterprises", "Properties", "Finance", "International",
                "Services", "Management", "Partners", "Ventures")  # fmt: skip
# Each line: the industry, then what its companies call themselves.
_INDUSTRIES = [
    (fields[0], tuple(fields[1:]))
    for fields in (
        line.split("|")
        for line in """Plumbing|Plumbing|Plumbing & Gas|Plumbing Services|Drainage
Construction|Constructions|Builders|Building Services|Homes|Civil Engineering|Concrete
Electrical|Electrical|Electrical Contractors|Electrics|Lighting
Transport|Transport|Haulage|Freight|Logistics|Couriers|Removals
Hospitality|Cafe|Restaurant|Catering|Hotel|Bakery|Coffee Roasters|Pizza
Retail|Furniture|Hardware|Bookshop|Clothing|Sports|Toys|Jewellers|Florist|Pharmacy
Information Technology|Software|Technologies|Systems|Solutions|Data Systems|Networks|Digital
Legal|Lawyers|Legal|Solicitors|Law Group
Accounting|Accountants|Accounting|Tax & Accounting|Bookkeeping|Advisory
Health|Medical Centre|Dental|Physiotherapy|Health Care|Optometrists|Veterinary Clinic
Manufacturing|Manufacturing|Engineering|Fabrication|Plastics|Steel|Packaging|Machinery
Agriculture|Farms|Pastoral|Nurseries|Wines|Dairy|Grain
Finance|Financial Services|Insurance Brokers|Capital|Mortgage Brokers|Wealth Management
Real Estate|Real Estate|Realty|Property Management
Education|College|Training Institute|Tutoring|Child Care Centre
Automotive|Motors|Auto Repairs|Tyres|Panel Beaters|Automotive
Cleaning|Cleaning Services|Property Maintenance|Waste Management
Media|Media|Printing|Design|Productions|Publishing|Marketing
Energy|Energy|Solar|Petroleum|Mining|Resources
Consulting|Consulting|Recruitment|Security Services|Environmental Consultants""".splitlines()
    )
]
# By country: (short, long, other spellings).
_LEGAL = {
    "AU": (("Pty Ltd", "Proprietary Limited", "Pty. Ltd.", "P/L"), ("Ltd", "Limited", "Ltd.")),
    "US": (("Inc", "Incorporated", "Inc.", ", Inc."), ("LLC", "Limited Liability Company", "L.L.C.", ", LLC"),
           ("Corp", "Corporation", "Corp."), ("Co", "Company", "Co."),
           ("LLP", "Limited Liability Partnership", "L.L.P.")),
    "UK": (("Ltd", "Limited", "Ltd."), ("PLC", "Public Limited Company", "plc"), ("LLP", "LLP", "L.L.P.")),
    "NZ": (("Ltd", "Limited", "Ltd."), ("Ltd", "Limited", "Ltd.")),
    "CA": (("Inc", "Incorporated", "Inc."), ("Ltd", "Limited", "Ltd."), ("Corp", "Corporation", "Corp.")),
}  # fmt: skip
_SHORT_WORDS = {"Services": "Svcs", "Manufacturing": "Mfg", "International": "Intl", "Engineering": "Eng",
                "Management": "Mgmt", "Technologies": "Tech", "Construction": "Constr", "Constructions": "Const",
                "Brothers": "Bros", "Associates": "Assoc", "Group": "Grp", "Centre": "Ctr", "Systems": "Sys",
                "National": "Natl", "Property": "Prop", "Financial": "Fin", "Electrical": "Elec",
                "Transport": "Trans", "Holdings": "Hldgs", "Investments": "Inv"}  # fmt: skip


@dataclass(frozen=True)
class Company:
    """A company: `core` is what sets its name apart, `line` what it does or its part in a group."""

    core: str
    line: str
    legal: tuple[str, ...]
    industry: str
    place: Place
    number: str
    phone: str
    site: str
    the: bool = False
    loose_name: bool = False  # tell the name in an abbreviated way


class _Companies:
    """Draws the companies of one task and those easily taken for them."""

    def __init__(self, draw: Draw, country: Country, count: int) -> None:
        self.draw = draw
        self.country = country
        self.gazetteer = Gazetteer(draw, country, max(16, count // 4))
        self._origins = origins(draw)
        self._words = ranked(draw.shuffled(_WORDS), exponent=0.4)
        self._legal = Weighted(_LEGAL[country.code], [1.0 / (1 + rank) for rank in range(len(_LEGAL[country.code]))])

    def _core(self) -> str:
        draw = self.draw
        kind = draw.below(10)
        if kind < 3:
            return f"{self._words.pick(draw)} {self._words.pick(draw)}"
        if kind < 4:
            return self._words.pick(draw)
        if kind < 6:
            one = self._surname()
            return draw.pick((one, one, f"{one} & Sons", f"{one} & {self._surname()}", f"{one} Bros", f"{one}'s"))
        if kind < 7:
            return f"{self._surname()} {self._words.pick(draw)}"
        if kind < 8:
            return f"{self.gazetteer.towns.pick(draw).name}"
        if kind < 9:
            return draw.pick(_MADE_UP) + draw.pick(_MADE_UP_ENDINGS)
        return "".join(draw.pick("ABCDEFGHJKLMNPRSTVW") for _ in range(draw.between(2, 4)))

    def _surname(self) -> str:
        return surname(self._origins.pick(self.draw), self.draw)

    def company(self) -> Company:
        """Draw a company that belongs to no other."""
        draw = self.draw
        industry, lines = draw.pick(_INDUSTRIES)
        line = draw.pick(_GROUP_WORDS) if draw.chance(0.12) else draw.pick(lines)
        place, the = self.gazetteer.place(draw), draw.chance(0.04)
        return self._own(Company(self._core(), line, self._legal.pick(draw), industry, place, "", "", "", the))

    def _own(self, company: Company) -> Company:
        draw = self.draw
        site = plain(company.core.replace("&", "and")) + draw.pick(("", "", plain(company.line.split(" ")[0])))
        site = f"{site}.{draw.pick((self.country.mail, self.country.mail, 'com', 'net'))}"
        return replace(company, number=draw_company_number(self.country, draw), site=site if draw.chance(0.8) else "",
                       phone=draw_phone(self.country, draw, mobile=draw.chance(0.2)))  # fmt: skip

    def relative(self, company: Company, kind: str) -> Company:
        """Draw a company of the same group, a branch, a look-alike or a tenant of the same building."""
        draw = self.draw
        if kind == "group":
            line = draw.pick([word for word in _GROUP_WORDS if word != company.line])
            place = company.place if draw.chance(0.6) else self.gazetteer.place(draw)
            sister = self._own(replace(company, line=line, place=place, legal=self._legal.pick(draw)))
            return replace(
                sister, site=draw.pick((sister.site, company.site)), phone=draw.pick((sister.phone, company.phone))
            )
        if kind == "branch":
            place = self.gazetteer.place(draw)
            while place.town.name == company.place.town.name:
                place = self.gazetteer.place(draw)
            return replace(self._own(replace(company, place=place)), site=company.site)
        if kind == "tenant":
            return replace(self.company(), place=company.place)
        words = company.core.split(" ")
        at = draw.below(len(words))
        words[at] = draw.pick([word for word in _WORDS if word[0] == words[at][0] and word != words[at]] or _WORDS)
        near = self.gazetteer.place(draw) if draw.chance(0.7) else self.gazetteer.next_door(company.place, draw)
        return self._own(replace(company, core=" ".join(words), place=near))


# Each kind: its share, and the blocks by which a careful reader tells the two apart.
_RELATIVES = {"group": (0.4, ("line",)), "branch": (0.25, ("town", "street")), "lookalike": (0.2, ("core",)),
              "tenant": (0.15, ("core",))}  # fmt: skip


def _name(company: Company, style: Style, draw: Draw) -> str:
    words = f"{company.core} {company.line}".strip()
    if company.loose_name:
        words = _abbreviated(words, draw)
    if company.the and style.follows(True, draw):
        words = f"The {words}"
    if not style.follows(style.legal != "none", draw):
        return words
    legal = _legal(company, style, draw)
    return words + legal if legal.startswith(",") else f"{words} {legal}"


def _legal(company: Company, style: Style, draw: Draw) -> str:
    if draw.chance(style.loose):
        return draw.pick(company.legal)
    return company.legal[1 if style.legal == "long" else 0]


def _abbreviated(name: str, draw: Draw) -> str:
    """Return the name as people shorten it: ``&`` for ``and``, usual short forms, no apostrophe, a full stop more."""
    words = [_SHORT_WORDS.get(word, word) if draw.chance(0.7) else word for word in name.split(" ")]
    text = " ".join("and" if word == "&" else word for word in words)
    return text.replace("'", draw.pick(("", "'", " ")))


def _columns(draw: Draw, country: Country) -> tuple[list[Column[Company]], list[Column[Place]]]:
    titles = ("company", "company_name", "name", "organisation", "business_name", "legal_name")
    name = Column[Company](draw.pick(titles), ("core", "line"), _name)
    number = Column[Company](
        draw.pick({"AU": ("abn", "acn"), "US": ("ein", "duns"), "UK": ("company_number", "vat_number"),
                   "NZ": ("nzbn", "company_number"), "CA": ("business_number", "duns")}[country.code]), ("number",),
        lambda company, style, draw: write_number(company.number, style), digits=True)  # fmt: skip
    phone = Column[Company](
        draw.pick(("phone", "telephone", "tel", "contact_phone")), ("phone",),
        lambda company, style, draw: write_phone(company.phone, country, style), digits=True)  # fmt: skip
    site = Column[Company](draw.pick(("website", "url", "domain", "web")), ("site",), _site)
    industry = Column[Company](
        draw.pick(("industry", "sector", "category")), (), lambda company, style, draw: company.industry
    )
    legal = Column[Company](draw.pick(("legal_form", "entity_type")), (), lambda company, style, draw: company.legal[
        1 if style.legal == "long" else 0])  # fmt: skip
    places = address_columns(draw)
    address = [_of_company(column) for column in places]
    groups = [[name], address]
    for column, share in ((number, 0.35), (phone, 0.55), (site, 0.4), (industry, 0.4), (legal, 0.1)):
        if draw.chance(share):
            groups.append([column])
    if draw.chance(0.6):
        groups[1:] = draw.shuffled(groups[1:])
    return [column for group in groups for column in group], places


def _of_company(column: Column[Place]) -> Column[Company]:
    return Column(column.name, column.blocks, lambda company, style, draw: column.render(company.place, style, draw),
                  column.digits, column.sturdy)  # fmt: skip


def _site(company: Company, style: Style, draw: Draw) -> str:
    if not company.site:
        return ""
    return {"plain": "", "spaced": "www.", "dashed": "http://www.", "brackets": "https://"}.get(
        style.phone, ""
    ) + company.site


def scheme(draw: Draw, count: int) -> tuple[Scheme[Company], Country]:
    """Draw the columns and the `count` companies of a task, and their country."""
    country = draw.pick(COUNTRIES)
    companies = _Companies(draw, country, count)
    columns, places = _columns(draw, country)
    visible = tuple(block for column in columns for block in column.blocks)
    related = draw.uniform(0.15, 0.5)
    relatives = Weighted(tuple(_RELATIVES), [share * draw.exponential() for share, _ in _RELATIVES.values()])
    shortened, cut, moved = draw.uniform(0.0, 0.3), draw.uniform(0.0, 0.1), draw.uniform(-0.05, 0.12)

    def anchors(needs: tuple[str, ...]) -> tuple[str, ...]:
        strong = [block for block in draw.shuffled(("street", "number", "phone")) if block in visible][
            : draw.between(1, 2)
        ]
        return tuple(dict.fromkeys(("core", *strong, *needs)))

    entities: list[Entity[Company]] = []
    seen: set[tuple[str, str, str]] = set()
    while len(entities) < count:
        if entities and draw.chance(related):
            kind, base = relatives.pick(draw), entities[-1]
            needs, company = _RELATIVES[kind][1], companies.relative(base.value, kind)
            base.anchors = tuple(dict.fromkeys((*base.anchors, *needs)))
        else:
            needs, company = (), companies.company()
        # Two of one name in one town would be one company to every reader.
        key = (company.core, company.line, company.place.town.name)
        if key not in seen:
            seen.add(key)
            entities.append(Entity(company, anchors(needs)))

    def vary(entity: Entity[Company], draw: Draw) -> Company:
        told = replace(entity.value, loose_name=draw.chance(shortened))
        if "line" not in entity.anchors and len(told.core) > 4 and draw.chance(cut):
            told = replace(told, line="")
        if "street" not in entity.anchors and draw.chance(moved):
            told = replace(told, place=companies.gazetteer.place(draw))
        return told

    return Scheme(tuple(columns), entities, vary, (), spills(places)), country

"""Countries, regions, towns and streets: vocabulary for addresses of five English-speaking countries.

Post codes have the form of their region; which town they belong to is made up.
"""

from __future__ import annotations

from dataclasses import dataclass

from .draw import Draw, ranked, words


@dataclass(frozen=True)
class Region:
    """A state, county or province, with the start of its post codes (see `postcode`)."""

    name: str
    short: str
    codes: tuple[str, ...]


@dataclass(frozen=True)
class Country:
    """What addresses, phones and numbers look like in one country."""

    code: str
    regions: tuple[Region, ...]
    towns: tuple[str, ...]
    unit_words: tuple[str, ...]
    dialling: str
    area_codes: tuple[str, ...]
    mobile: str
    subscriber: int
    number_groups: tuple[int, ...]
    number_names: tuple[str, ...]
    company_groups: tuple[int, ...]
    mail: str
    day_first: bool = True


def _regions(text: str) -> tuple[Region, ...]:
    rows = (line.strip().split("|") for line in text.strip().splitlines())
    return tuple(Region(name, short, tuple(codes.split())) for name, short, codes in rows)


COUNTRIES = (
    Country(
        "AU",
        _regions("""New South Wales|NSW|20 21 22 23 24 25 26 27
            Victoria|VIC|30 31 32 33 34 35 36 37
            Queensland|QLD|40 41 42 43 45 46 48
            South Australia|SA|50 51 52 53
            Western Australia|WA|60 61 62 64
            Tasmania|TAS|70 72 73
            Australian Capital Territory|ACT|26 29
            Northern Territory|NT|08"""),
        words("""Parramatta Newtown Geelong Ballarat Toowoomba Glenelg Fremantle Launceston Belconnen Wagga_Wagga
            Coffs_Harbour Dubbo Bendigo Frankston Ringwood Chermside Indooroopilly Nambour Prospect Joondalup Mandurah
            Bunbury Hobart Burnie Tuggeranong Mount_Druitt Port_Macquarie Saint_Kilda Point_Cook Alice_Springs
            Katoomba Wollongong Orange Mildura Traralgon Caloundra Mackay Mount_Gambier Albany Devonport"""),
        ("Unit", "U", "Flat", "Apt"), "61", ("2", "3", "7", "8"), "4", 8, (3, 3, 3),
        ("tax_file_number", "medicare_number", "licence_no"), (2, 3, 3, 3), "com.au",
    ),
    Country(
        "US",
        _regions("""California|CA|900 917 928 941 956
            Texas|TX|750 770 782 787
            New York|NY|100 112 121 142
            Florida|FL|321 331 336 342
            Illinois|IL|600 606 617
            Ohio|OH|432 441 452
            Pennsylvania|PA|152 191 178
            Georgia|GA|303 314
            North Carolina|NC|272 282
            Michigan|MI|482 495
            Washington|WA|981 992
            Colorado|CO|802 809
            Oregon|OR|972 974
            Massachusetts|MA|021 018
            Arizona|AZ|850 857
            Minnesota|MN|554 559"""),
        words("""Springfield Franklin Clinton Greenville Salem Madison Georgetown Arlington Ashland Burlington
            Manchester Milton Oakland Auburn Dayton Lexington Fairview Riverside Jackson Cleveland Saint_Paul
            Mount_Vernon Fort_Collins Lake_Forest Cedar_Rapids West_Chester Bloomington Lakewood Newport Marion
            Aurora Pasadena Plano Irvine Mesa Boulder Eugene Tacoma Spokane Savannah Durham Akron Toledo Peoria"""),
        ("Apt", "Unit", "#", "Ste"), "1", ("212", "310", "415", "512", "617", "704", "312", "206", "303", "614"), "", 7,
        (3, 2, 4), ("ssn", "social_security_number", "drivers_license"), (2, 7), "com", day_first=False,
    ),
    Country(
        "UK",
        _regions("""Greater London|London|SE SW NW N E W
            West Yorkshire|W Yorks|LS BD WF HX
            Greater Manchester|Gtr Manchester|M OL BL SK
            West Midlands|W Midlands|B CV WV
            Kent|Kent|CT ME TN
            Devon|Devon|EX PL TQ
            Hampshire|Hants|SO PO RG
            Lancashire|Lancs|PR BB LA
            Nottinghamshire|Notts|NG DN
            Tyne and Wear|Tyne & Wear|NE SR
            Cambridgeshire|Cambs|CB PE
            South Glamorgan|S Glam|CF
            Midlothian|Midlothian|EH
            Lanarkshire|Lanarks|G ML"""),
        words("""Leeds Croydon Bradford Salford Stockport Dover Canterbury Exeter Torquay Southampton Portsmouth
            Preston Blackburn Lancaster Mansfield Gateshead Sunderland Ely Peterborough Cardiff Edinburgh Motherwell
            Richmond Hackney Ealing Wandsworth Solihull Dudley Maidstone Ashford Burnley Halifax Huddersfield Rochdale
            Saint_Albans Barnstaple Fareham Worksop Penarth Leith Paisley Wigan Bolton Oldham Coventry Gillingham"""),
        ("Flat", "Apartment", "Unit"), "44", ("113", "121", "131", "141", "151", "161", "117", "114"), "7", 7,
        (2, 2, 2, 2), ("ni_number", "nhs_number", "national_insurance"), (8,), "co.uk",
    ),
    Country(
        "NZ",
        _regions("""Auckland|AKL|06 10 20
            Wellington|WLG|50 60 61
            Canterbury|CAN|76 80 82
            Waikato|WKO|32 33 34
            Otago|OTA|90 93
            Bay of Plenty|BOP|30 31
            Manawatu|MWT|44 45
            Hawke's Bay|HKB|41 42"""),
        words("""Ponsonby Takapuna Manukau Papakura Henderson Karori Petone Lower_Hutt Porirua Riccarton Timaru
            Ashburton Rolleston Hamilton Cambridge Taupo Dunedin Mosgiel Oamaru Tauranga Mount_Maunganui Rotorua
            Palmerston_North Levin Feilding Napier Hastings Havelock_North Onehunga Mount_Eden Te_Awamutu"""),
        ("Unit", "Flat", "Apt"), "64", ("9", "4", "3", "7", "6"), "21", 7, (3, 3, 2), ("ird_number", "nhi_number"),
        (13,), "co.nz",
    ),
    Country(
        "CA",
        _regions("""Ontario|ON|K L M N P
            Quebec|QC|G H J
            British Columbia|BC|V
            Alberta|AB|T
            Manitoba|MB|R
            Saskatchewan|SK|S
            Nova Scotia|NS|B
            New Brunswick|NB|E"""),
        words("""Mississauga Brampton Markham Barrie Kingston Guelph Laval Gatineau Longueuil Burnaby Surrey Kelowna
            Kamloops Red_Deer Lethbridge Airdrie Brandon Steinbach Moose_Jaw Saskatoon Dartmouth Truro Moncton
            Fredericton Oakville North_Bay Thunder_Bay Saint_Catharines Fort_McMurray Medicine_Hat Oshawa"""),
        ("Unit", "Apt", "Suite", "#"), "1", ("416", "604", "514", "403", "613", "204", "902", "905"), "", 7, (3, 3, 3),
        ("sin", "social_insurance_number", "health_card_no"), (5, 4), "ca",
    ),
)  # fmt: skip

STREETS = ranked(
    words(
        """High Church Main Station Park Victoria George King Queen Elizabeth Albert William Mill Oak Maple Washington
        Railway School London York Green Hill River Lake Cedar Pine Elm Bridge Market Wattle Acacia Banksia Grevillea
        Kurrajong Jacaranda Chestnut Walnut Birch Willow Poplar Sycamore Spruce Magnolia Laurel Hazel Holly Rowan Beech
        Ash Nelson Wellington Churchill Lincoln Jefferson Jackson Franklin Madison Monroe Grant Sherman Macquarie
        Phillip Hunter Bligh Flinders Collins Bourke Lonsdale Swanston Hindley Rundle Murray Derwent Sturt Hume Oxley
        Leichhardt Wentworth Cunningham Mitchell Deakin Curtin Menzies Parkes Barton Hutt Lambton Cuba Manners Rimu
        Totara Kauri Matai Rata Kowhai Tui Kereru Huia Dundas Bloor Yonge Jarvis Sherbourne Bathurst Spadina Granville
        Burrard Portage Sunset Sunrise Meadow Valley Highland Ridge Forest Lakeview Hillside Riverside Woodland Orchard
        Vine Cherry Peach Apple Rose Lavender Primrose Ivy Fern Clover Heather Bluebell Kingfisher Heron Swan Falcon
        Eagle Robin Wren Lark Magpie Cockatoo Rosella Quarry Foundry Tannery Brewery Harbour Marine Beach Ocean Seaview
        Bay Cliff Lighthouse Anchor Captain Admiral Regent Duke Earl Prince Princess Chapel Abbey Priory Vicarage Castle
        Tower Manor Grange Lodge Cottage Farm Barn Pasture Drovers Old_Mill Old_Coach Long New_North Great_Western
        Second Third Fourth Fifth Sixth Seventh Saint_Johns Saint_Marys Saint_Andrews Cross Four_Winds Windmill Granary
        Cowper Byron Shelley Keats Tennyson Milton Chaucer Dickens Kipling Burns Wordsworth"""
    ),
    exponent=0.55,
)
_TYPES = words(
    """Street|St Road|Rd Avenue|Ave Drive|Dr Court|Ct Place|Pl Crescent|Cres Lane|Ln Close|Cl Way|Way Terrace|Tce
        Grove|Gr Boulevard|Blvd Parade|Pde Circuit|Cct Highway|Hwy Square|Sq Gardens|Gdns Rise|Rise Esplanade|Esp
        Circle|Cir Mews|Mews Walk|Wk Parkway|Pkwy Trail|Trl Loop|Lp"""
)
# From common to rare: the full word, then how it is shortened.
STREET_TYPES = ranked([tuple(pair.split("|")) for pair in _TYPES], exponent=1.1, offset=1.5)
DIRECTIONS = (("North", "N"), ("South", "S"), ("East", "E"), ("West", "W"))
BUILDINGS = ("House", "Court", "Towers", "Lodge", "Apartments", "Mansions", "Village", "Gardens", "Heights", "Point",
             "Chambers", "Centre", "Park", "Farm", "Cottage", "Retirement Village", "Business Park")  # fmt: skip
TOWN_STEMS = words(
    """Ash Bark Bel Black Bright Brook Clare Cooper Craig Dal Eden Elm Fair Glen Gold Green Hamp Hart Haw Hill Iron Kel
    Kings Lang Linden Lock Maple May Mill Nor Oak Pen Quin Raven Red Rock Rose Salis Sand Shel Silver Stan Stone Sun
    Thorn Tull Wal Warra Wes Whit Wind Winter Wood York"""
)
TOWN_ENDINGS = words(
    """ville ton bury wood field haven dale ford mont brook leigh burn worth side view park ham stead bridge gate"""
)
TOWN_PREFIXES = ("North", "South", "East", "West", "Mount", "Port", "Lake", "Upper", "Lower", "New", "Saint")


def postcode(country: Country, start: str, draw: Draw) -> str:
    """Draw a post code that begins as those of its region do.

    Parameters
    ----------
    country : Country
        Decides the form.
    start : str
        One of the region's `codes`.
    draw : Draw
        The source of chance.

    Returns
    -------
    str
        For example ``2042``, ``94110``, ``LS6 3AB`` or ``K1A 0B1``.
    """
    letters = "ABCDEFGHJKLMNPRSTUVWXYZ"
    if country.code == "UK":
        return f"{start}{draw.between(1, 29)} {draw.below(9) + 1}{draw.pick(letters)}{draw.pick(letters)}"
    if country.code == "CA":
        first = f"{start}{draw.below(10)}{draw.pick(letters)}"
        return f"{first} {draw.below(10)}{draw.pick(letters)}{draw.below(10)}"
    return start + f"{draw.below(100):02d}"

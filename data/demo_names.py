"""Names of the demo corpus: real ones from CLDR, faker and `names/<lang>.toml`, coined ones that look like those.

Which split owns a name follows from the name and from CLDR, never from what was built before it, so that a language is
the same whether it is built alone or with all others.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import random
import re
import tomllib
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import babel
import faker
from babel import localedata
from babel.core import get_global

LANGUAGES = tuple(sorted(path.stem for path in (Path(__file__).parent / "names").glob("*.toml")))
# Share of the names that each split owns; "text" is the unlabelled file.
SHARES = {"train": 0.40, "dev": 0.15, "test": 0.15, "text": 0.30}
# How many of each a language has at most, over all splits.
FULL_NAMES = 3000
SURNAMES = 2400
REAL_SURNAMES = 800
COMPANIES = 1600
DRAWN_CITIES = 250
COINED_CITIES = 1000
FIRST_NAMES = 60
"""Of women and of men each: few, as among people who know each other, and the same in all splits."""
FEW = 150
"""Of fewer names than these every letter depends on two before it, not on three: else hardly a new one comes out."""

# Countries whose name is plain in nearly every language: no article, no "islands", no "republic", not disputed.
TERRITORIES = """
AD AF AL AM AO AR AT AU AZ BB BD BE BF BG BH BI BJ BO BR BT BW BY BZ CA CL CM CN CO CR CU CY CZ DE DJ DK DZ EC EE EG
ER ES ET FI FJ FR GA GE GH GN GR GT GY HN HR HT HU ID IE IL IN IS IT JM JO JP KE KG KH KW KZ LA LI LK LR LS LT LU LV
LY MA MC MG ML MR MT MU MW MX MY MZ NA NE NG NI NO NP NZ OM PA PE PK PL PT PY QA RO RS RU RW SA SE SG SI SM SN SO SR
SV SY SZ TG TH TJ TM TN TZ UG UY UZ VE VN ZM ZW
""".split()
CONTINENTS = ("Africa", "America", "Asia", "Australia", "Europe")
_STUTTER = re.compile(r"(..+)\1")
_LETTERS = ("Lu", "Ll", "Lt", "Lo")


@dataclass(frozen=True, slots=True)
class NameSource:
    """Where the names of a language come from: what `names/<lang>.toml` says.

    `persons` and `cities` are faker locales. A list of persons' names replaces what faker has; `city_list` is added.
    `company_forms` is how companies are called: `{}` is a surname. `titles` stand before a person who begins a carrier.
    """

    titles: list[str]
    company_forms: list[str]
    persons: str = ""
    surname_first: bool = False
    first_names_female: list[str] = field(default_factory=list)
    first_names_male: list[str] = field(default_factory=list)
    surnames: list[str] = field(default_factory=list)
    surnames_female: list[str] = field(default_factory=list)
    surnames_male: list[str] = field(default_factory=list)
    cities: str = ""
    city_method: str = "city"
    city_list: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Names:
    """Names that one split of one language may use. Sorted lists, so that choosing is reproducible."""

    territories: list[str] = field(default_factory=list)
    cities: list[str] = field(default_factory=list)
    full_names: list[str] = field(default_factory=list)
    surnames: list[str] = field(default_factory=list)
    first_names: list[str] = field(default_factory=list)
    companies: list[str] = field(default_factory=list)


def read_source(path: Path) -> NameSource:
    """Read the names file of a language; an unknown key is an error."""
    return NameSource(**tomllib.loads(path.read_text(encoding="utf-8")))


def cldr(code: str) -> babel.Locale:
    """CLDR's data of a language.

    babel 2.18.0 keeps stand-alone months of one language for the next that has none; an empty cache prevents it.
    """
    localedata._cache.clear()
    return babel.Locale.parse(code)


def collect_names(code: str, source: NameSource) -> dict[str, Names]:
    """All names of a language by split. A name is in one split only, whatever its type and language."""
    names = {split: Names() for split in SHARES}
    (script,) = scripts_of(_territories(code)["FR"])
    for kind, name, split in _owned(code, source):
        assert scripts_of(name) <= {script} and unicodedata.is_normalized("NFC", name), f"{code}: {name!r}"
        getattr(names[split], kind).append(name)
    for split, own in names.items():
        own.companies = _companies(source.company_forms, sorted(set(own.surnames)), round(COMPANIES * SHARES[split]))
        for kind in Names.__slots__:
            setattr(own, kind, sorted(set(getattr(own, kind))))
            assert len(getattr(own, kind)) >= 3, f"{code}: {len(getattr(own, kind))} {kind} in {split}"
    return names


def scripts_of(text: str) -> set[str]:
    """Scripts of the letters of a text, as Unicode's character names begin; its marks and modifiers are in any."""
    return {unicodedata.name(character).split()[0] for character in text if unicodedata.category(character) in _LETTERS}


def coin(names: Collection[str], count: int) -> list[str]:
    """New words that look like `names`: every letter follows the three (two) before it as it does in some name.

    With a few hundred names that come again and again a tagger learns them by heart, and does not look at the context.
    """
    order = 3 if len(set(names)) >= FEW else 2
    follow: dict[str, list[str]] = {}
    words = [name for name in names if all(unicodedata.category(character)[0] in "LM" for character in name)]
    for name in words:
        padded = f"{' ' * order}{name} "
        for at in range(order, len(padded)):
            follow.setdefault(padded[at - order : at], []).append(padded[at])
    lengths = sorted(map(len, words))
    shortest, longest = max(3, lengths[len(lengths) // 10]), min(13, lengths[-1])
    chance = random.Random("coin")
    coined: dict[str, None] = {}
    for _ in range(20 * count):
        word = " " * order
        while not (word[order:] and word.endswith(" ")):
            word += chance.choice(follow[word[-order:]])
        word = word.strip()
        if shortest <= len(word) <= longest and word not in names and not _STUTTER.search(word):
            coined[word] = None
        if len(coined) == count:
            break
    return list(coined)


def _owned(code: str, source: NameSource) -> Iterator[tuple[str, str, str]]:
    """Every name but the companies': its kind, itself, and the split that owns it."""
    places = _places()
    for kind, found in (("territories", _territories(code)), ("cities", _zone_cities(code))):
        yield from ((kind, name, places[name.casefold()]) for name in found.values())
    for city in _cities(source):
        if city.casefold() not in places:
            yield "cities", city, _split_of_word(city)
    for first, last in _persons(source):
        if last.casefold() in places:
            continue
        full = f"{last} {first}" if source.surname_first else f"{first} {last}"
        yield "full_names", full, _split_of_word(last)
        yield "surnames", last, _split_of_word(last)
        yield "first_names", first, _split_of_key(f"first {first}")


@functools.cache
def _places() -> dict[str, str]:
    """The split that owns each of CLDR's territories and cities, in all languages together: first come, first served.

    A place has the same split in every language, unless two places share a name somewhere.
    """
    owners: dict[str, str] = {}
    for found in (_territories, _zone_cities):
        for code in LANGUAGES:
            for key, name in found(code).items():
                owners.setdefault(name.casefold(), _split_of_key(key))
    return owners


@functools.cache
def _territories(code: str) -> dict[str, str]:
    names = cldr(code).territories
    return {territory: names[territory] for territory in TERRITORIES}


@functools.cache
def _zone_cities(code: str) -> dict[str, str]:
    """Cities of CLDR's time zones. Where it leaves a city's English name, a language in Latin script uses that."""
    locale = cldr(code)
    territories = set(locale.territories.values())
    script = scripts_of(locale.territories["FR"])
    cities = {}
    for zone in sorted(get_global("zone_territories")):
        if zone.count("/") != 1 or not zone.startswith(CONTINENTS):
            continue
        city = locale.time_zones.get(zone, {}).get("city") or zone.rpartition("/")[2].replace("_", " ")
        plain = scripts_of(city) == script and not city[0].islower() and not re.search(r"[.,()/]", city)
        if plain and city not in territories:
            cities[zone] = city
    return cities


def _cities(source: NameSource) -> Iterator[str]:
    cities = list(source.city_list)
    if source.cities:
        draw = getattr(_provider(source.cities, "address"), source.city_method)
        cities += [city for city in _drawn(draw, DRAWN_CITIES) if "(" not in city]
    yield from cities
    yield from coin(cities, COINED_CITIES)


def _persons(source: NameSource) -> Iterator[tuple[str, str]]:
    """First names and surnames, of women and then of men: surnames may agree in gender."""
    draw = _provider(source.persons, "person") if source.persons else None
    chance = random.Random("persons")
    for gender in ("female", "male"):
        first_names = getattr(source, f"first_names_{gender}")
        if not first_names:
            first_names = _drawn(getattr(draw, f"first_name_{gender}"), FIRST_NAMES)
        real = source.surnames or getattr(source, f"surnames_{gender}")
        if not real:
            real = _drawn(getattr(draw, f"last_name_{gender}"), REAL_SURNAMES // 2)
        surnames = list(dict.fromkeys(real))
        surnames += coin(real, SURNAMES // 2 - len(surnames))
        for surname, _ in zip(itertools.cycle(surnames), range(FULL_NAMES // 2), strict=False):
            yield chance.choice(first_names), surname


def _companies(forms: list[str], surnames: list[str], count: int) -> list[str]:
    chance = random.Random("companies")
    return [chance.choice(forms).format(chance.choice(surnames), chance.choice(surnames)) for _ in range(count)]


def _drawn(draw: Callable[[], str], count: int) -> list[str]:
    return [draw() for _ in range(count)]


def _provider(locale: str, kind: str) -> faker.Generator:
    """A seeded generator; faker takes another locale silently where it has none, which is an error here."""
    generator = faker.Factory.create(locale)
    generator.seed_instance(13)
    modules = [type(provider).__module__ for provider in generator.providers]
    assert f"faker.providers.{kind}.{locale}" in modules, f"faker has no {kind} for {locale}"
    return generator


def _split_of_word(name: str) -> str:
    """By the beginning of the last word, so that masculine and feminine form of a surname go to the same split."""
    return _split_of_key(f"word {name.split()[-1][:5].casefold()}")


def _split_of_key(key: str) -> str:
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32
    for split, share in SHARES.items():
        if number < share:
            return split
        number -= share
    return "text"

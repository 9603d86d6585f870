"""Build the frozen demo corpus in `data/demo` from carrier sentences, faker and CLDR.

    pip install faker==40.54.0 babel==2.18.0 tokenizers==0.23.3
    PYTHONPATH=. python data/build_demo.py [FOLDER]

The result is a pure function of `data/carriers/*.txt`, this file and those versions; with CPython 3.11 it is the same
byte for byte. A language is added with a file of carriers and a row of LANGUAGES. `data/README.md` describes both.
"""

from __future__ import annotations

import bz2
import datetime
import hashlib
import itertools
import random
import re
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import babel
import faker
from babel.core import get_global
from babel.dates import format_skeleton, get_day_names

from xtremedistil_ner.corpus.words import split_words

VERSIONS = {"faker": "40.54.0", "babel": "2.18.0"}
HERE = Path(__file__).parent
SENTENCES = {"train": 1300, "dev": 180, "test": 180, "text": 500}
# Share of the names that each split owns; "text" is the unlabelled file.
SHARES = {"train": 0.40, "dev": 0.15, "test": 0.15, "text": 0.30}
DRAWS = {"persons": 4000, "companies": 2000, "cities": 250, "coined cities": 1500}
FIRST_NAMES = 60
"""Of women and of men each: few, as among people who know each other, and the same in all splits."""
SURNAME_ALONE = 0.1
TITLED = 0.3
JOINED = 0.2
"""Share of the lines that hold two sentences, so that a carrier is not known by its first words."""

# Countries whose name is plain in nearly every language: no article, no "islands", no "republic", not disputed.
TERRITORIES = """
AD AF AL AM AO AR AT AU AZ BB BD BE BF BG BH BI BJ BO BR BT BW BY BZ CA CL CM CN CO CR CU CY CZ DE DJ DK DZ EC EE EG
ER ES ET FI FJ FR GA GE GH GN GR GT GY HN HR HT HU ID IE IL IN IS IT JM JO JP KE KG KH KW KZ LA LI LK LR LS LT LU LV
LY MA MC MG ML MR MT MU MW MX MY MZ NA NE NG NI NO NP NZ OM PA PE PK PL PT PY QA RO RS RU RW SA SE SG SI SM SN SO SR
SV SY SZ TG TH TJ TM TN TZ UG UY UZ VE VN ZM ZW
""".split()
CONTINENTS = ("Africa", "America", "Asia", "Australia", "Europe")


@dataclass(frozen=True, slots=True)
class Language:
    """Where the names of a language come from: faker locales and methods; `cities` None leaves CLDR's cities alone.

    `company_forms` is how companies are called: `{}` is a surname. `titles` stand before a person who begins a carrier.
    """

    persons: str
    cities: str | None
    company_forms: tuple[str, ...]
    titles: tuple[str, ...]
    city_method: str = "city"


LANGUAGES = {
    "de": Language(
        "de_DE",
        "de_DE",
        company_forms=(
            "{} GmbH",
            "{} AG",
            "{} KG",
            "{} GmbH & Co. KG",
            "{} & {} OHG",
            "{} Stiftung",
            "{} & Söhne",
            "{} {} GmbH",
            "{} Maschinenbau",
            "Gebrüder {}",
        ),
        titles=("Dr.", "Professor", "Prof. Dr.", "Pfarrer"),
    ),
    "en": Language(
        "en_GB",
        "en_GB",
        company_forms=(
            "{} Ltd",
            "{} PLC",
            "{} Inc",
            "{} LLC",
            "{} Group",
            "{} and Sons",
            "{}-{} Ltd",
            "{} & {}",
            "{} Brothers",
            "{} Motors",
        ),
        titles=("Dr.", "Professor", "Captain", "Judge"),
    ),
    "ru": Language(
        "ru_RU",
        "ru_RU",
        city_method="city_name",
        company_forms=(
            "ООО «{}»",
            "ЗАО «{}»",
            "ОАО «{}»",
            "НПО «{}»",
            "ИП «{}»",
            "ТД «{}»",
            "{} Лтд",
            "{} Инк",
            "{} и партнёры",
            "Группа «{}»",
        ),
        titles=("Доктор", "Профессор", "Капитан", "Судья"),
    ),
}

ENTITY_SLOTS = {"PER": "PER", "ORG": "ORG", "LOC": "LOC", "CITY": "LOC", "LAND": "LOC"}
_CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")
_MARK = re.compile(r"\[(?P<open>PER|ORG|LOC) |(?P<close>\])|\{(?P<slot>~?[A-Z]+)\}")


@dataclass(slots=True)
class Names:
    """Names that one split of one language may use. Sorted lists, so that choosing is reproducible."""

    persons: list[str] = field(default_factory=list)
    first_names: list[str] = field(default_factory=list)
    companies: list[str] = field(default_factory=list)
    cities: list[str] = field(default_factory=list)
    territories: list[str] = field(default_factory=list)


class Owners:
    """Which split a name belongs to, for all languages and types together: first come, first served."""

    def __init__(self) -> None:
        self._split_of: dict[str, str] = {}

    def claim(self, name: str, key: str) -> str | None:
        """Split of `name`: the one its `key` falls into, or None if the name belongs to another one already."""
        split = _split_of_key(key)
        return split if self._split_of.setdefault(name.casefold(), split) == split else None


def main(folder: Path) -> None:
    """Write the whole demo corpus into `folder`."""
    _check_versions()
    owners = Owners()
    surfaces: dict[str, set[str]] = {split: set() for split in SENTENCES}
    for code, row in sorted(LANGUAGES.items()):
        carriers = read_carriers(HERE / "carriers" / f"{code}.txt")
        names = collect_names(code, row, owners)
        carriers["text"] += carriers["train"]
        taken: set[str] = set()
        for split in SENTENCES:
            sentences = make_sentences(carriers[split], names[split], code, split, taken)
            taken |= {text for text, _ in sentences}
            surfaces[split] |= {text[start:end].casefold() for text, found in sentences for start, end, _ in found}
            if split == "text":
                _write(folder / f"{code}.txt.bz2", "".join(f"{text}\n" for text, _ in sentences))
            else:
                _write(folder / code / f"{split}.tsv.bz2", "\n".join(format_tsv(*sentence) for sentence in sentences))
    for one, other in itertools.combinations(surfaces, 2):
        assert not surfaces[one] & surfaces[other], f"{one} and {other} share {surfaces[one] & surfaces[other]}"
    _write_checksums(folder)


def read_carriers(path: Path) -> dict[str, list[str]]:
    """Read the carrier sentences by split; no two of a file may agree but for their slots."""
    carriers: dict[str, list[str]] = {split: [] for split in SENTENCES}
    split = ""
    seen: set[str] = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# split: "):
            split = line.removeprefix("# split: ")
        elif line:
            for wording in wordings(line):
                bare = "".join(filter(str.isalpha, _MARK.sub("", wording))).casefold()
                assert bare not in seen, f"{path}: {wording!r} stands twice"
                seen.add(bare)
            carriers[split].append(line)
    return carriers


def wordings(carrier: str) -> Iterator[str]:
    """Every wording of a carrier: `(a|b)` is either word."""
    choices = [part.split("|") if odd % 2 else [part] for odd, part in enumerate(_CHOICE.split(carrier))]
    return map("".join, itertools.product(*choices))


def choose(carrier: str, code: str, chance: random.Random) -> str:
    """One wording of a carrier; a person who begins it may get a title."""
    wording = _CHOICE.sub(lambda choice: chance.choice(choice[1].split("|")), carrier)
    if wording.startswith("{PER}") and chance.random() < TITLED:
        wording = f"{chance.choice(LANGUAGES[code].titles)} {wording}"
    return wording


def collect_names(code: str, row: Language, owners: Owners) -> dict[str, Names]:
    """Draw all names of a language, by split. A name is in one split only, whatever its type and language."""
    names = {split: Names() for split in SENTENCES}
    people = list(_persons(row.persons))
    for kind, name, key in itertools.chain(
        (("territories", name, key) for name, key in _territories(code)),
        (("cities", name, key) for name, key in _cities(code, row)),
        (("persons", f"{first} {last}", _stem(last)) for first, last in people),
        (("persons", last, _stem(last)) for _, last in people),
        (("companies", name, name) for name in _companies(row, sorted({last for _, last in people}))),
    ):
        split = owners.claim(name, key)
        if split:
            getattr(names[split], kind).append(name)
    for first, _ in people:
        names[_split_of_key(f"first {first}")].first_names.append(first)
    for kind in Names.__slots__:
        for of_split in names.values():
            setattr(of_split, kind, sorted(set(getattr(of_split, kind))))
    return names


def make_sentences(
    carriers: list[str], names: Names, code: str, split: str, taken: set[str]
) -> list[tuple[str, list[tuple[int, int, str]]]]:
    """Make the sentences of a split, each a text and its entities (start, end, type), from the carriers in turn.

    No text comes twice, and none of `taken` comes at all.
    """
    count = SENTENCES[split]
    chance = random.Random(f"{code} {split}")
    slots = _slots(names, code, chance)
    made: dict[str, list[tuple[int, int, str]]] = {}
    while len(made) < count:
        before = len(made)
        for carrier in carriers:
            wording = choose(carrier, code, chance)
            if chance.random() < JOINED:
                wording += " " + choose(chance.choice(carriers), code, chance)
            text, entities = fill(wording, slots)
            if text not in taken:
                made.setdefault(text, entities)
        assert len(made) > before, f"{code} {split}: no {count} different sentences"
    sentences = list(made.items())[:count]
    chance.shuffle(sentences)
    return sentences


def fill(carrier: str, slots: dict[str, Callable[[], str]]) -> tuple[str, list[tuple[int, int, str]]]:
    """Put names into the slots of a carrier; also say where its entities are.

    `{LOC}` is an entity, `{~LOC}` its words in another role, `[ORG … {CITY}]` an entity that has another's name in it.
    """
    text = ""
    entities: list[tuple[int, int, str]] = []
    used: set[str] = set()
    opened: tuple[int, str] | None = None
    position = 0
    for mark in _MARK.finditer(carrier):
        text += carrier[position : mark.start()]
        position = mark.end()
        if mark["open"]:
            opened = (len(text), mark["open"])
        elif mark["close"]:
            assert opened, carrier
            entities.append((opened[0], len(text), opened[1]))
            opened = None
        else:
            value = slots[mark["slot"]]()
            while value in used:
                value = slots[mark["slot"]]()
            used.add(value)
            kind = ENTITY_SLOTS.get(mark["slot"])
            if kind and not opened:
                entities.append((len(text), len(text) + len(value), kind))
            text += value
    return text + carrier[position:], entities


def format_tsv(text: str, entities: list[tuple[int, int, str]]) -> str:
    """Format one sentence as words and IOB2 tags, split the way the tagger splits text."""
    lines = []
    starts = {start for start, _, _ in entities}
    words = split_words(text)
    assert starts <= {start for _, start, _ in words}, text
    assert {end for _, end, _ in entities} <= {end for _, _, end in words}, text
    for word, start, end in words:
        kind = next((kind for left, right, kind in entities if left <= start and end <= right), None)
        tag = "O" if kind is None else f"{'B' if start in starts else 'I'}-{kind}"
        lines.append(f"{word}\t{tag}\n")
    return "".join(lines)


def _slots(names: Names, code: str, chance: random.Random) -> dict[str, Callable[[], str]]:
    full_names = [name for name in names.persons if " " in name]
    surnames = [name for name in names.persons if " " not in name]

    def person() -> str:
        return chance.choice(surnames if chance.random() < SURNAME_ALONE else full_names)

    def place() -> str:
        return chance.choice(names.territories if chance.random() < 0.4 else names.cities)

    def date() -> str:
        day = datetime.date(2015, 1, 1) + datetime.timedelta(days=chance.randrange(365))
        return str(format_skeleton("MMMMd", day, locale=code))

    weekdays = get_day_names("wide", "stand-alone", locale=code)
    return {
        "PER": person,
        "ORG": lambda: chance.choice(names.companies),
        "LOC": place,
        "CITY": lambda: chance.choice(names.cities),
        "LAND": lambda: chance.choice(names.territories),
        "~PER": lambda: chance.choice(names.first_names),
        "~ORG": lambda: chance.choice(names.companies),
        "~LOC": lambda: chance.choice(names.cities),
        # Multiples of five: Slavic nouns stand in the genitive plural after all of them.
        "N": lambda: str(chance.randrange(15, 100, 5)),
        "YEAR": lambda: str(chance.randrange(1950, 2020)),
        "DATE": date,
        "WEEKDAY": lambda: weekdays[chance.randrange(7)],
    }


def _territories(code: str) -> Iterator[tuple[str, str]]:
    names = babel.Locale.parse(code).territories
    return ((names[territory], f"territory {territory}") for territory in TERRITORIES)


def _cities(code: str, row: Language) -> Iterator[tuple[str, str]]:
    """Cities with a key that is the same in every language: first those of CLDR's time zones, then faker's.

    Where CLDR leaves a city's English name as it is, a language in Latin script uses that.
    """
    locale = babel.Locale.parse(code)
    territories = set(locale.territories.values())
    latin = unicodedata.name(locale.territories["FR"][0]).startswith("LATIN")
    for zone in sorted(get_global("zone_territories")):
        if zone.count("/") != 1 or not zone.startswith(CONTINENTS):
            continue
        city = locale.time_zones.get(zone, {}).get("city") or (latin and zone.rpartition("/")[2].replace("_", " "))
        if city and city not in territories and not re.search(r"[,()/]", city):
            yield city, f"zone {zone}"
    if row.cities:
        draw = getattr(_provider(row.cities, "address"), row.city_method)
        drawn = [city for city in (draw() for _ in range(DRAWS["cities"])) if "(" not in city]
        yield from ((city, city) for city in drawn)
        yield from ((city, city) for city in coin(drawn, DRAWS["coined cities"]))


def _persons(locale: str) -> Iterator[tuple[str, str]]:
    """First names and surnames, alternately of women and of men: surnames may agree in gender."""
    draw = _provider(locale, "person")
    each = DRAWS["persons"] // 2
    for first, last in (
        (draw.first_name_female, draw.last_name_female),
        (draw.first_name_male, draw.last_name_male),
    ):
        first_names = itertools.cycle([first() for _ in range(FIRST_NAMES)])
        real = [last() for _ in range(each // 3)]
        yield from zip(first_names, real + coin(real, each - len(real)), strict=False)


def _companies(row: Language, surnames: list[str]) -> Iterator[str]:
    chance = random.Random("companies")
    for _ in range(DRAWS["companies"]):
        yield chance.choice(row.company_forms).format(chance.choice(surnames), chance.choice(surnames))


def coin(names: Collection[str], count: int) -> list[str]:
    """New words that look like `names`: every letter follows the three before it as it does in some name.

    With a few hundred names that come again and again a tagger learns them by heart, and does not look at the context.
    """
    follow: dict[str, list[str]] = {}
    for name in names:
        if name.isalpha():
            padded = f"   {name} "
            for at in range(3, len(padded)):
                follow.setdefault(padded[at - 3 : at], []).append(padded[at])
    chance = random.Random("coin")
    coined: dict[str, None] = {}
    for _ in range(60 * count):
        word = "   "
        while not (word[3:] and word.endswith(" ")):
            word += chance.choice(follow[word[-3:]])
        if 5 <= len(word.strip()) <= 13 and word.strip() not in names:
            coined[word.strip()] = None
        if len(coined) == count:
            break
    return list(coined)


def _provider(locale: str, kind: str) -> faker.Generator:
    """A seeded generator; faker takes another locale silently where it has none, which is an error here."""
    generator = faker.Factory.create(locale)
    generator.seed_instance(13)
    modules = [type(provider).__module__ for provider in generator.providers]
    assert f"faker.providers.{kind}.{locale}" in modules, f"faker has no {kind} for {locale}"
    return generator


def _split_of_key(key: str) -> str:
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32
    for split, share in SHARES.items():
        if number < share:
            return split
        number -= share
    return "text"


def _stem(surname: str) -> str:
    """The beginning of a surname: its masculine and feminine form go to the same split."""
    return f"surname {surname[:5].casefold()}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bz2.compress(text.encode()))


def _write_checksums(folder: Path) -> None:
    files = sorted(folder.rglob("*.bz2"))
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in files
    ]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


def _check_versions() -> None:
    found = {"faker": faker.VERSION, "babel": babel.__version__}
    assert found == VERSIONS, f"build with {VERSIONS}, not {found}"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "demo")

"""Build the frozen demo corpus in `data/demo` from carrier sentences, faker and CLDR.

    pip install faker==40.54.0 babel==2.18.0 tokenizers==0.23.3
    PYTHONPATH=. python data/build_demo.py [FOLDER [LANGUAGE…]]

The result is a pure function of `data/carriers/*.txt`, `data/names/*.toml`, the two scripts and those versions; with
CPython 3.11 it is the same byte for byte. `data/README.md` describes it.
"""

from __future__ import annotations

import bz2
import datetime
import hashlib
import itertools
import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import babel
import faker
from babel.dates import format_skeleton, get_day_names, get_month_names
from demo_names import LANGUAGES, Names, cldr, collect_names, read_source, scripts_of

from xtremedistil_ner.corpus.words import split_words
from xtremedistil_ner.languages import WIKIANN_LANGUAGES

VERSIONS = {"faker": "40.54.0", "babel": "2.18.0"}
HERE = Path(__file__).parent
SENTENCES = {"train": 1300, "dev": 180, "test": 180, "text": 500}
MIN_CARRIERS = 20
SURNAME_ALONE = 0.1
TITLED = 0.3
JOINED = 0.2
"""Share of the lines that hold two sentences, so that a carrier is not known by its first words."""
DIGIT_ZERO = {"latn": "0", "beng": "০", "arabext": "۰"}
"""Digit zero of the numbering systems that CLDR gives the 41 languages; the other nine follow it."""

ENTITY_SLOTS = {"PER": "PER", "ORG": "ORG", "LOC": "LOC", "CITY": "LOC", "LAND": "LOC"}
_CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")
_MARK = re.compile(r"\[(?P<open>PER|ORG|LOC) |(?P<close>\])|\{(?P<slot>~?[A-Z]+)\}")

Made = tuple[str, list[tuple[int, int, str]]]
"""A text and its entities: start, end, type."""


def main(folder: Path, languages: Sequence[str] = LANGUAGES) -> None:
    """Write the demo corpus of `languages` into `folder`; each is the same with or without the others."""
    _check_versions()
    carriers = read_all_carriers()
    surfaces: dict[str, set[str]] = {split: set() for split in SENTENCES}
    for code in languages:
        for split, sentences in make_language(code, carriers[code]).items():
            surfaces[split] |= {text[start:end].casefold() for text, found in sentences for start, end, _ in found}
            if split == "text":
                _write(folder / f"{code}.txt.bz2", "".join(f"{text}\n" for text, _ in sentences))
            else:
                _write(folder / code / f"{split}.tsv.bz2", "\n".join(format_tsv(*sentence) for sentence in sentences))
    for one, other in itertools.combinations(surfaces, 2):
        assert not surfaces[one] & surfaces[other], f"{one} and {other} share {surfaces[one] & surfaces[other]}"
    _write_checksums(folder)


def read_all_carriers() -> dict[str, dict[str, list[str]]]:
    """Carriers of all languages by split; what two languages have in common belongs to the same split in both."""
    carriers = {code: read_carriers(HERE / "carriers" / f"{code}.txt") for code in LANGUAGES}
    assert set(WIKIANN_LANGUAGES) <= set(carriers), f"no {set(WIKIANN_LANGUAGES) - set(carriers)}"
    owner: dict[str, tuple[str, str]] = {}
    for code, splits in carriers.items():
        (script,) = scripts_of(cldr(code).territories["FR"])
        for split, lines in splits.items():
            for wording in itertools.chain.from_iterable(map(wordings, lines)):
                other, there = owner.setdefault(_bare(wording), (code, split))
                assert there == split, f"{wording!r} is {split} in {code}, {there} in {other}"
                assert scripts_of(_bare(wording)) <= {script}, f"{code}: {wording!r} has letters of another script"
    return carriers


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
                assert _bare(wording) not in seen, f"{path}: {wording!r} stands twice"
                seen.add(_bare(wording))
            carriers[split].append(line)
    assert sum(map(len, carriers.values())) >= MIN_CARRIERS and all(carriers.values()), f"{path}: too few carriers"
    return carriers


def wordings(carrier: str) -> Iterator[str]:
    """Every wording of a carrier: `(a|b)` is either word."""
    choices = [part.split("|") if odd % 2 else [part] for odd, part in enumerate(_CHOICE.split(carrier))]
    return map("".join, itertools.product(*choices))


def make_language(code: str, carriers: dict[str, list[str]]) -> dict[str, list[Made]]:
    """Make the sentences of all splits of a language, no text twice; the raw text has train's carriers too."""
    source = read_source(HERE / "names" / f"{code}.toml")
    made: dict[str, list[Made]] = {}
    for split, names in collect_names(code, source).items():
        own = carriers[split] + (carriers["train"] if split == "text" else [])
        taken = {text for sentences in made.values() for text, _ in sentences}
        chance = random.Random(f"{code} {split}")
        slots = _slots(names, code, chance)
        made[split] = []
        while len(made[split]) < SENTENCES[split]:
            before = len(taken)
            for carrier in own:
                text, entities = make_line(carrier, own, source.titles, slots=slots, chance=chance)
                if text not in taken:
                    made[split].append((text, entities))
                    taken.add(text)
            assert len(taken) > before, f"{code} {split}: no {SENTENCES[split]} different sentences"
        del made[split][SENTENCES[split] :]
        chance.shuffle(made[split])
    return made


def make_line(
    carrier: str, others: list[str], titles: list[str], *, slots: dict[str, Callable[[], str]], chance: random.Random
) -> Made:
    """A line of the corpus: a carrier with names in it, sometimes followed by another one."""
    text, entities = fill(choose(carrier, titles, chance), slots)
    if chance.random() < JOINED:
        another = chance.choice([other for other in others if other != carrier])
        more, found = fill(choose(another, titles, chance), slots)
        shift = len(text) + 1
        text, entities = f"{text} {more}", entities + [(start + shift, end + shift, kind) for start, end, kind in found]
    return text, entities


def choose(carrier: str, titles: list[str], chance: random.Random) -> str:
    """One wording of a carrier; a person who begins it may get a title."""
    wording = _CHOICE.sub(lambda choice: chance.choice(choice[1].split("|")), carrier)
    if wording.startswith("{PER}") and chance.random() < TITLED:
        wording = f"{chance.choice(titles)} {wording}"
    return wording


def fill(carrier: str, slots: dict[str, Callable[[], str]]) -> Made:
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
            # Weekdays and Dutch "van Dijk" are capitalised where they begin a sentence.
            text += value if text else value[:1].upper() + value[1:]
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
    locale = cldr(code)
    weekdays = get_day_names("wide", "stand-alone", locale=locale)
    months = get_month_names("wide", "stand-alone", locale=locale)
    tongues = [locale.languages[other] for other in ("da", "de", "en", "es", "fr", "it", "ja", "pl", "ru", "sv", "tr")]
    zero = ord(DIGIT_ZERO[locale.default_numbering_system])
    digits = {ord("0") + digit: chr(zero + digit) for digit in range(10)}

    def date() -> str:
        day = datetime.date(2015, 1, 1) + datetime.timedelta(days=chance.randrange(365))
        return str(format_skeleton("MMMMd", day, locale=locale)).translate(digits)

    return {
        "PER": lambda: chance.choice(names.surnames if chance.random() < SURNAME_ALONE else names.full_names),
        "ORG": lambda: chance.choice(names.companies),
        "LOC": lambda: chance.choice(names.territories if chance.random() < 0.4 else names.cities),
        "CITY": lambda: chance.choice(names.cities),
        "LAND": lambda: chance.choice(names.territories),
        "~PER": lambda: chance.choice(names.first_names),
        "~ORG": lambda: chance.choice(names.companies),
        "~LOC": lambda: chance.choice(names.cities),
        # Multiples of five: Slavic nouns stand in the genitive plural after all of them.
        "N": lambda: str(chance.randrange(15, 100, 5)).translate(digits),
        "YEAR": lambda: str(chance.randrange(1950, 2020)).translate(digits),
        "DATE": date,
        "WEEKDAY": lambda: weekdays[chance.randrange(7)],
        "MONTH": lambda: months[chance.randrange(1, 13)],
        "LANGUAGE": lambda: chance.choice(tongues),
    }


def _bare(wording: str) -> str:
    return "".join(filter(str.isalpha, _MARK.sub("", wording))).casefold()


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
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "demo", sys.argv[2:] or LANGUAGES)

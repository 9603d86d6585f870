"""A labelled corpus: the languages and splits of a folder, a URL or the Hub, under one label scheme.

Files are read when they are asked for and not kept: one language at a time is what a large corpus leaves room for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from xtremedistil_ner.addresses import without_secrets
from xtremedistil_ner.corpus.folder import folder_reader, is_split_file
from xtremedistil_ner.corpus.hub_reader import hub_reader
from xtremedistil_ner.corpus.places import demo_path, local_folder
from xtremedistil_ner.corpus.reader import CorpusReader
from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.corpus.split import SPLITS, LabelledSplit
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.schema import CorpusSection

HELD_OUT_SPLITS = ("dev", "test")
_tags_of_hash: dict[str, frozenset[str]] = {}
"""Tags as written, by the hash of the split: a run opens its corpus once per stage, and tags are few."""


@dataclass(frozen=True, slots=True)
class LabelledCorpus:
    """A place with labelled text and the part of it that a recipe names.

    `has_every_language`: the recipe named none.
    """

    reader: CorpusReader
    languages: tuple[str, ...]
    scheme: LabelScheme
    train_sentences: int | None = None
    has_every_language: bool = True

    @property
    def name(self) -> str:
        """What messages call the corpus: its folder, or its id on the Hub."""
        return self.reader.name

    @property
    def source(self) -> Mapping[str, str]:
        """Where the corpus comes from, for the report: its `path`, or `hub` and the `revision` that was read."""
        return self.reader.source

    @property
    def synthetic(self) -> bool:
        """Whether this is the built-in demo, whose numbers say nothing about real text."""
        return self.reader.synthetic

    def has(self, language: str, split: str) -> bool:
        """Whether a language has a split."""
        return self.reader.has(language, split)

    def sentences(self, language: str, split: str) -> tuple[Sentence, ...]:
        """Sentences of a split with IOB2 tags; none if the language lacks the split.

        Raises: CorpusError for a broken file, and for a tag outside the scheme with its line or row.
        """
        found = self._whole_split(language, split)
        return found[: self.train_sentences] if split == "train" else found

    def repairs(self, language: str, splits: Iterable[str]) -> tuple[int, int]:
        """How many tags of some splits had to be repaired, and how many of their lines were skipped."""
        found = [split for name in splits if (split := self.reader.read(language, name))]
        return sum(split.repaired_tags for split in found), sum(split.skipped_lines for split in found)

    def training_text(self, language: str) -> tuple[Sentence, ...]:
        """All training sentences without their tags, those beyond `train_sentences` too."""
        return tuple(Sentence(s.id, language, s.words) for s in self._whole_split(language, "train"))

    def training_text_hash(self, language: str) -> str:
        """SHA-256 of what decides the training text of a language, as hexadecimal text."""
        return self.reader.file_hash(language, "train") or "none"

    def content_hash(self, language: str, split: str) -> str:
        """SHA-256 of what decides the sentences of a split, as hexadecimal text; of nothing if there is no split."""
        digest = hashlib.sha256((self.reader.file_hash(language, split) or "").encode())
        if split == "train" and self.train_sentences is not None:
            digest.update(f"first {self.train_sentences}".encode())
        return digest.hexdigest()

    def held_out(self) -> Iterator[tuple[str, str]]:
        """Every (language, split) to be kept out of the transfer set: dev and test of all languages that are here.

        Of a folder those are its languages outside the recipe too, of a Hub dataset the recipe's, because no others
        are fetched.
        """
        pairs = ((language, split) for language in self.reader.languages for split in HELD_OUT_SPLITS)
        return (pair for pair in pairs if self.reader.has(*pair))

    def _whole_split(self, language: str, split: str) -> tuple[Sentence, ...]:
        found = self.reader.read(language, split)
        if found is None:
            return ()
        self._check_types(found)
        return found.sentences

    def _check_types(self, found: LabelledSplit) -> None:
        known = {"", *self.scheme.types}
        foreign = [(line, tag) for tag, line in found.tag_lines.items() if tag[2:] not in known]
        if foreign:
            raise CorpusError(
                "\n".join(
                    f"{found.place}{line}: tag {tag!r}: the types are {', '.join(self.scheme.types)}. "
                    f"Add {tag[2:]} to corpus.types before training, or change the tag."
                    for line, tag in sorted(foreign)
                )
            )


def open_corpus(section: CorpusSection) -> LabelledCorpus:
    """Open the corpus that a recipe names; without `types` the training splits are read once for theirs.

    Raises: CorpusError if the corpus, a language or every labelled file is missing; ResourceError if a URL or the Hub
    is out of reach.
    """
    reader = open_reader(section)
    missing = [language for language in section.languages if language not in reader.languages]
    if missing:
        raise CorpusError(f"{reader.name}: no language {', '.join(missing)}. There are: {', '.join(reader.languages)}.")
    languages = tuple(dict.fromkeys(section.languages)) or reader.languages
    scheme = LabelScheme(section.types) if section.types else _scheme_of(reader, languages)
    return LabelledCorpus(reader, languages, scheme, section.train_sentences, not section.languages)


def open_reader(section: CorpusSection) -> CorpusReader:
    """The reader of the place that a recipe names.

    Raises: as `open_corpus`.
    """
    if section.hub is not None:
        return hub_reader(section.hub, section.languages)
    name = section.path or "demo"
    folder = local_folder(name, is_split_file)
    return folder_reader(folder, name=without_secrets(name), synthetic=folder.resolve() == demo_path().resolve())


def _scheme_of(reader: CorpusReader, languages: tuple[str, ...]) -> LabelScheme:
    """Collect the types of the training tags, or of all tags where no language has a training split."""
    tags: set[str] = set()
    for splits in (SPLITS[:1], SPLITS[1:]):
        tags = {tag for language in languages for split in splits for tag in _tags_of(reader, language, split)}
        if tags:
            break
    scheme = LabelScheme.from_tags(tags)
    if not scheme.types:
        raise CorpusError(f"{reader.name}: every tag is O. Name corpus.types, or add labelled entities.")
    return scheme


def _tags_of(reader: CorpusReader, language: str, split: str) -> frozenset[str]:
    key = reader.file_hash(language, split)
    if key is None:
        return frozenset()
    if key not in _tags_of_hash:
        found = reader.read(language, split)
        _tags_of_hash[key] = frozenset(found.tag_lines if found else ())
    return _tags_of_hash[key]

"""A labelled corpus: the languages and splits of a folder, a URL or the Hub, under one label scheme.

Splits are read when they are asked for and not kept, because memory may hold only one language of a large corpus.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from xtremedistil_ner.addresses import without_secrets
from xtremedistil_ner.corpus.folder import folder_reader, is_split_file
from xtremedistil_ner.corpus.hub_reader import hub_reader
from xtremedistil_ner.corpus.layout import ColumnNumbers
from xtremedistil_ner.corpus.places import demo_path, local_folder
from xtremedistil_ner.corpus.reader import CorpusReader
from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.corpus.split import SPLITS, LabelledSplit
from xtremedistil_ner.corpus.words import split_words
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.labels import OUTSIDE, LabelScheme, TypeMapping, map_types, spans_of
from xtremedistil_ner.recipe.data_sections import CorpusSection

HELD_OUT_SPLITS = ("dev", "test")
_tags_of_hash: dict[str, frozenset[str]] = {}
"""Tags as written, by the hash of their split: every stage of a run opens the corpus and needs its tags."""


@dataclass(frozen=True, slots=True)
class LabelledCorpus:
    """Labelled text, and the part of it that a recipe names.

    `has_every_language`: the recipe names no languages. `types` maps types when sentences are read. `split_words`:
    words of training sentences are split as the tagger splits text.
    """

    reader: CorpusReader
    languages: tuple[str, ...]
    scheme: LabelScheme
    train_sentences: int | None = None
    has_every_language: bool = True
    types: TypeMapping = field(default_factory=dict)
    split_words: bool = False

    @property
    def name(self) -> str:
        """The name of the corpus in messages: its folder, or its id on the Hub."""
        return self.reader.name

    @property
    def source(self) -> Mapping[str, str]:
        """Where the corpus comes from, for the report: its `path`, or `hub` and the `revision` that was read."""
        return self.reader.source

    @property
    def synthetic(self) -> bool:
        """Whether this is the built-in demo, whose scores say nothing about real text."""
        return self.reader.synthetic

    def has(self, language: str, split: str) -> bool:
        """Whether a language has a split."""
        return self.reader.has(language, split)

    def sentences(self, language: str, split: str) -> tuple[Sentence, ...]:
        """Sentences of a split with IOB2 tags; none if the language lacks the split.

        Raises: CorpusError for a broken file, and for a tag outside the scheme with its line or row.
        """
        sentences = self._whole_split(language, split)
        return sentences[: self.train_sentences] if split == "train" else sentences

    def repairs(self, language: str, splits: Iterable[str]) -> tuple[int, int, Counter[str]]:
        """Of some splits: the number of repaired tags, that of skipped lines, and the changes to annotated entities."""
        read = [split for name in splits if (split := self.reader.read(language, name))]
        spans = sum((Counter(split.spans) for split in read), Counter())
        return sum(split.repaired_tags for split in read), sum(split.skipped_lines for split in read), spans

    def mapped_entities(self, splits: Iterable[str]) -> Counter[str]:
        """Entities of some splits whose type `types` names, counted by that type."""
        counts = Counter(dict.fromkeys(self.types, 0))
        for name in splits if self.types else ():
            for language in self.languages:
                if split := self.reader.read(language, name):
                    counts.update(count_mapped(split, self.types))
        return counts

    def types_found(self) -> frozenset[str]:
        """Types that occur in any split of the languages, as written."""
        pairs = ((language, split) for language in self.languages for split in SPLITS)
        return frozenset(tag[2:] for pair in pairs for tag in _tags_of(self.reader, *pair) if tag != OUTSIDE)

    def training_text(self, language: str) -> tuple[Sentence, ...]:
        """All training sentences without their tags, including those beyond `train_sentences`."""
        return tuple(Sentence(s.id, language, s.words) for s in self._whole_split(language, "train"))

    def training_text_hash(self, language: str) -> str:
        """What decides the training text of a language."""
        split = " words of the tagger" if self.split_words else ""
        return f"{self.reader.file_hash(language, 'train') or 'none'}{split}"

    def content_hash(self, language: str, split: str) -> str:
        """SHA-256 of what decides the sentences of a split, as hexadecimal text; of nothing if there is no split."""
        digest = hashlib.sha256((self.reader.file_hash(language, split) or "").encode())
        if self.types:
            present = {tag[2:] for tag in _tags_of(self.reader, language, split)}
            if changes := sorted((old, new or "") for old, new in self.types.items() if old in present and new != old):
                digest.update(f"types {changes}".encode())
        if split == "train" and self.train_sentences is not None:
            digest.update(f"first {self.train_sentences}".encode())
        if split == "train" and self.split_words:
            digest.update(b"words of the tagger")
        return digest.hexdigest()

    def in_its_own_words(self) -> LabelledCorpus:
        """The same corpus, whose training sentences have the words that the other splits have."""
        return replace(self, split_words=False)

    def held_out(self) -> Iterator[tuple[str, str]]:
        """Every (language, split) to be kept out of the transfer set: dev and test of all languages of the reader.

        A folder includes its languages outside the recipe. A Hub dataset has only the recipe's, because no others are
        fetched.
        """
        pairs = ((language, split) for language in self.reader.languages for split in HELD_OUT_SPLITS)
        return (pair for pair in pairs if self.reader.has(*pair))

    def _whole_split(self, language: str, name: str) -> tuple[Sentence, ...]:
        split = self.reader.read(language, name)
        if split is None:
            return ()
        _remember_tags(self.reader.file_hash(language, name), split)
        self._check_types(split)
        sentences = map_split(split, self.types).sentences
        return tuple(map(split_as_tagged, sentences)) if self.split_words and name == "train" else sentences

    def _check_types(self, split: LabelledSplit) -> None:
        known = {None, "", *self.scheme.types}
        foreign: dict[str, tuple[int, str]] = {}
        for tag, line in split.tag_lines.items():
            if self.types.get(tag[2:], tag[2:]) not in known:
                foreign[tag[2:]] = min(foreign.get(tag[2:], (line, tag)), (line, tag))
        problems = [
            f"{split.location}{line}: tag {tag!r}: the types are {', '.join(self.scheme.types)}. Map {name}, or leave "
            f"it out with corpus.types: {{{name}: null}} (of `xner evaluate`: --types {name}=), or add it to "
            "corpus.types before training."
            for name, (line, tag) in sorted(foreign.items(), key=lambda item: item[1])
        ]
        if problems:
            raise CorpusError("\n".join(problems))


def open_corpus(section: CorpusSection, *, scheme: LabelScheme | None = None) -> LabelledCorpus:
    """Open the corpus that a recipe names, under `scheme`, or under the scheme of the recipe's types.

    If the recipe does not list its types, the training splits are read once to collect them.

    Raises: CorpusError if the corpus, a language or every labelled file is missing; ResourceError if a URL or the Hub
    cannot be reached.
    """
    reader = open_reader(section)
    missing = [language for language in section.languages if language not in reader.languages]
    if missing:
        raise CorpusError(f"{reader.name}: no language {', '.join(missing)}. There are: {', '.join(reader.languages)}.")
    languages = tuple(dict.fromkeys(section.languages)) or reader.languages
    mapping = section.type_mapping
    if scheme is None:
        listed = section.types and not mapping
        scheme = LabelScheme(tuple(section.types)) if listed else _scheme_of(reader, languages, mapping)
    return LabelledCorpus(
        reader, languages, scheme, section.train_sentences, not section.languages, mapping, section.split_words
    )


def split_as_tagged(sentence: Sentence) -> Sentence:
    """A sentence in the words in which the tagger would read it; an entity goes on inside its words.

    Example: `Bern'de/B-LOC` becomes `Bern/B-LOC '/I-LOC de/I-LOC`.
    """
    if all(word.isalnum() for word in sentence.words):
        return sentence
    parts = [[part for part, _, _ in split_words(word)] or [word] for word in sentence.words]
    words = tuple(part for of_word in parts for part in of_word)
    if sentence.tags is None:
        return replace(sentence, words=words)
    tags = tuple(
        own
        for tag, of_word in zip(sentence.tags, parts, strict=True)
        for own in (tag, *[f"I{tag[1:]}" if tag != OUTSIDE else OUTSIDE] * (len(of_word) - 1))
    )
    return replace(sentence, words=words, tags=tags)


def map_split(split: LabelledSplit, types: TypeMapping) -> LabelledSplit:
    """A split whose sentences have mapped types; `tag_lines` keeps the tags as written."""
    if not types:
        return split
    sentences = tuple(replace(sentence, tags=map_types(sentence.tags or (), types)) for sentence in split.sentences)
    return replace(split, sentences=sentences)


def count_mapped(split: LabelledSplit, types: TypeMapping) -> Counter[str]:
    """Entities of a split before it is mapped, by each type that the mapping names."""
    spans = (span for sentence in split.sentences for span in spans_of(sentence.tags or ()))
    return Counter(span.type for span in spans if span.type in types)


def format_mapping(types: TypeMapping, counts: Mapping[str, int]) -> str:
    """How many entities of each type were mapped, and to what; empty if there is no mapping."""
    parts = (f"{old} {f'as {new}' if new else 'left out'}: {counts[old]:,}" for old, new in types.items())
    return f"Entities of mapped types: {', '.join(parts)}." if types else ""


def open_reader(section: CorpusSection) -> CorpusReader:
    """The reader of the folder, URL or dataset that a recipe names.

    Raises: as `open_corpus`.
    """
    if section.hub is not None:
        return hub_reader(section.hub, section.languages)
    name = section.path or "demo"
    folder = local_folder(name, is_split_file)
    synthetic = folder.resolve() == demo_path().resolve()
    columns = ColumnNumbers(section.columns.word, section.columns.tag)
    return folder_reader(folder, name=without_secrets(name), columns=columns, synthetic=synthetic)


def _scheme_of(reader: CorpusReader, languages: tuple[str, ...], mapping: TypeMapping) -> LabelScheme:
    """Collect the mapped types of the training tags, or of all tags if no language has a training split.

    The new types of a mapping are always included, even those that do not occur.
    """
    tags: set[str] = set()
    for splits in (SPLITS[:1], SPLITS[1:]):
        tags = {tag for language in languages for split in splits for tag in _tags_of(reader, language, split)}
        if tags:
            break
    written = LabelScheme.from_tags(tags).types
    types = tuple(sorted(filter(None, {*(mapping.get(old, old) for old in written), *mapping.values()})))
    if not types:
        raise CorpusError(
            f"{reader.name}: every tag is O{', mapped by corpus.types' if mapping else ''}. Name corpus.types, or add "
            "labelled entities."
        )
    return LabelScheme(types)


def _tags_of(reader: CorpusReader, language: str, split: str) -> frozenset[str]:
    key = reader.file_hash(language, split)
    if key is None:
        return frozenset()
    if key not in _tags_of_hash:
        _remember_tags(key, reader.read(language, split))
    return _tags_of_hash[key]


def _remember_tags(key: str | None, split: LabelledSplit | None) -> None:
    if key is not None:
        _tags_of_hash[key] = frozenset(split.tag_lines if split else ())

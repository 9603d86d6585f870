"""A labelled corpus: the languages and splits of a folder, under one label scheme.

Files are read when they are asked for and not kept: one language at a time is what a large corpus leaves room for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from xtremedistil_ner.corpus.demo import demo_path
from xtremedistil_ner.corpus.folder import SPLITS, CorpusFile, find_split, languages_of, read_split
from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.schema import CorpusSection


@dataclass(frozen=True, slots=True)
class LabelledCorpus:
    """A corpus folder and the part of it that a recipe names.

    `has_every_language`: the recipe named none. `repaired_tags` has, for each (language, split) read so far, the number
    of tags that had to be repaired.
    """

    path: Path
    languages: tuple[str, ...]
    scheme: LabelScheme
    train_sentences: int | None = None
    has_every_language: bool = True
    repaired_tags: dict[tuple[str, str], int] = field(default_factory=dict, compare=False)

    def sentences(self, language: str, split: str) -> tuple[Sentence, ...]:
        """Sentences of a split with IOB2 tags; none if the language lacks the split.

        Raises: CorpusError for a broken file, and for a tag outside the scheme with its line.
        """
        found = self._whole_split(language, split)
        return found[: self.train_sentences] if split == "train" else found

    def training_text(self, language: str) -> tuple[Sentence, ...]:
        """All training sentences without their tags, those beyond `train_sentences` too."""
        return tuple(Sentence(s.id, language, s.words) for s in self._whole_split(language, "train"))

    def training_text_hash(self, language: str) -> str:
        """SHA-256 of what decides the training text of a language, as hexadecimal text."""
        path = find_split(self.path, language, "train")
        return file_hash(path) if path else "none"

    def _whole_split(self, language: str, split: str) -> tuple[Sentence, ...]:
        path = find_split(self.path, language, split)
        if path is None:
            return ()
        file = read_split(path, language=language)
        self._check_types(file)
        self.repaired_tags[language, split] = file.repaired_tags
        return file.sentences

    def content_hash(self, language: str, split: str) -> str:
        """SHA-256 of what decides the sentences of a split, as hexadecimal text; of nothing if there is no split."""
        path = find_split(self.path, language, split)
        digest = hashlib.sha256(file_hash(path).encode() if path else b"")
        if split == "train" and self.train_sentences is not None:
            digest.update(f"first {self.train_sentences}".encode())
        return digest.hexdigest()

    def _check_types(self, file: CorpusFile) -> None:
        known = {"", *self.scheme.types}
        foreign = [(line, tag) for tag, line in file.tag_lines.items() if tag[2:] not in known]
        if foreign:
            raise CorpusError(
                "\n".join(
                    f"{file.path}:{line}: tag {tag!r}: the types are {', '.join(self.scheme.types)}. "
                    f"Add {tag[2:]} to corpus.types, or change the tag."
                    for line, tag in sorted(foreign)
                )
            )


def open_corpus(section: CorpusSection) -> LabelledCorpus:
    """Open the corpus that a recipe names; without `types` the training files are read once for theirs.

    Raises: CorpusError if the folder, a language or every labelled file is missing.
    """
    path = demo_path() if section.path is None or section.path == "demo" else Path(section.path)
    present = languages_of(path)
    if not present:
        raise CorpusError(f"{path}: no labelled text. Put files such as en/train.tsv there.")
    missing = [language for language in section.languages if language not in present]
    if missing:
        raise CorpusError(f"{path}: no language {', '.join(missing)}. There are: {', '.join(present)}.")
    languages = tuple(dict.fromkeys(section.languages)) or present
    scheme = LabelScheme(section.types) if section.types else _scheme_of(path, languages)
    return LabelledCorpus(path, languages, scheme, section.train_sentences, not section.languages)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal text."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _scheme_of(path: Path, languages: tuple[str, ...]) -> LabelScheme:
    """Collect the types of the training tags, or of all tags where no language has a training split."""
    for splits in (SPLITS[:1], SPLITS[1:]):
        files = [(find_split(path, language, split), language) for language in languages for split in splits]
        tags = {tag for file, language in files if file for tag in read_split(file, language=language).tag_lines}
        if tags:
            break
    scheme = LabelScheme.from_tags(tags)
    if not scheme.types:
        raise CorpusError(f"{path}: every tag is O. Name corpus.types, or add labelled entities.")
    return scheme

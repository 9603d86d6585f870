"""The transfer set: unlabelled sentences that the teacher labels, free of duplicates and of held-out text.

Sentences are compared by normalised text (NFKC, case folded, without white space), as 8-byte digests: two different
sentences of ten million share one with probability 3e-6, and memory is some 90 bytes a sentence (estimated).
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import chain, islice

from xtremedistil_ner.addresses import without_secrets
from xtremedistil_ner.corpus.folder import TEXT_ENDINGS, file_texts, folder_texts, is_text_file
from xtremedistil_ner.corpus.hub_reader import hub_texts
from xtremedistil_ner.corpus.labelled import LabelledCorpus
from xtremedistil_ner.corpus.places import file_name, is_url, local_folder, mirror_file
from xtremedistil_ner.corpus.reader import TextReader
from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.names import require_distinct
from xtremedistil_ner.recipe.data_sections import TransferSection


@dataclass(slots=True)
class TransferCounts:
    """What became of the sentences read; `iter_transfer` counts while it goes."""

    read: int = 0
    duplicates: int = 0
    held_out: int = 0
    kept: int = 0


def sentence_key(words: Iterable[str]) -> bytes:
    """Digest of a sentence's normalised text: equal for sentences that differ in case, spacing or splitting only."""
    text = "".join("".join(words).split())
    if not text.isascii():
        text = "".join(unicodedata.normalize("NFKC", text).split())
    return hashlib.blake2b(text.casefold().encode("utf-8", "surrogatepass"), digest_size=8).digest()


def held_out_keys(corpus: LabelledCorpus) -> set[bytes]:
    """Keys of every dev and test sentence of the corpus; of a folder, those of languages outside the recipe too.

    With them the transfer set of a language does not change when a recipe takes in one language more.
    """
    keys: set[bytes] = set()
    for language, split in corpus.held_out():
        try:
            found = corpus.reader.read(language, split)
        except CorpusError:
            if language in corpus.languages:
                raise
            continue  # what cannot be read cannot be scored either
        if found:
            keys.update(sentence_key(sentence.words) for sentence in found.sentences)
    return keys


def transfer_languages(corpus: LabelledCorpus, section: TransferSection) -> tuple[str, ...]:
    """Languages of the transfer set, sorted: those that the recipe names, or all of the corpus and of the text.

    Raises: CorpusError for text that has none of them: it would be left out without a word.
    """
    texts = {name: set(text.languages()) for name, text in _open_texts(corpus, section)}
    languages = set(section.languages or corpus.languages)
    if corpus.has_every_language and not section.languages:
        languages = languages.union(*texts.values())
    require_distinct(languages, "The transfer set")
    for name, found in texts.items():
        if not languages & found:
            there = f"It has {', '.join(sorted(found))}." if found else "Put files such as en.txt there."
            raise CorpusError(f"{name}: no text of {', '.join(sorted(languages))}. {there}")
    return tuple(sorted(languages))


def iter_transfer(
    corpus: LabelledCorpus,
    section: TransferSection,
    language: str,
    *,
    held_out: Set[bytes],
    counts: TransferCounts | None = None,
) -> Iterator[Sentence]:
    """Sentences of the transfer set without tags: first training text, then raw text, each in its own order.

    `counts`, if given, is filled on the way. Raw text is streamed.
    Raises: CorpusError for a missing folder and for broken files; ResourceError if a URL or the Hub is out of reach.
    """
    counts = TransferCounts() if counts is None else counts
    seen: set[bytes] = set()
    for sentence in _all_text(corpus, section, language):
        counts.read += 1
        key = sentence_key(sentence.words)
        if key in seen:
            counts.duplicates += 1
        elif key in held_out:
            counts.held_out += 1
        else:
            seen.add(key)
            counts.kept += 1
            yield sentence


def transfer_hash(corpus: LabelledCorpus, section: TransferSection, language: str) -> str:
    """SHA-256 of what decides the transfer set of a language: its text, its limits, and all held-out splits."""
    texts = [found for _, text in _open_texts(corpus, section) if (found := text.file_hash(language))]
    parts = [
        corpus.training_text_hash(language) if section.training_text else "none",
        f"{' '.join(texts)} first {section.sentences}" if texts else "none",
        *sorted(corpus.reader.file_hash(*pair) or "" for pair in corpus.held_out()),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _all_text(corpus: LabelledCorpus, section: TransferSection, language: str) -> Iterator[Sentence]:
    if section.training_text:
        yield from corpus.training_text(language)
    raw = chain.from_iterable(text.read(language) for _, text in _open_texts(corpus, section))
    yield from islice(raw, section.sentences)


def _open_texts(corpus: LabelledCorpus, section: TransferSection) -> list[tuple[str, TextReader]]:
    """Every source of raw text that the recipe names, with its name, in the order of its sentences."""
    named = section.languages or corpus.languages
    texts = []
    if section.path is not None:
        texts.append((without_secrets(section.path), _path_texts(section.path, column=section.text, named=named)))
    if section.hub is not None:
        texts.append((section.hub.id, hub_texts(section.hub, named)))
    return texts


def _path_texts(path: str, *, column: str, named: tuple[str, ...]) -> TextReader:
    is_file = is_url(path) and file_name(path).endswith(TEXT_ENDINGS)
    place = mirror_file(path) if is_file else local_folder(path, is_text_file)
    if place.is_dir():
        return folder_texts(place, column=column)
    if not place.is_file():
        raise CorpusError(f"{place}: no such folder. Give transfer.path a folder with files such as en.txt, or a file.")
    if not place.name.endswith(TEXT_ENDINGS):
        raise CorpusError(f"{place}: not raw text by its name. A file ends with {', '.join(TEXT_ENDINGS)}.")
    return file_texts(place, column=column, named=named)

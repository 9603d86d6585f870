"""The transfer set: unlabelled sentences that the teacher labels, without duplicates and held-out text.

Sentences are compared by 8-byte digests of their normalised text (NFKC, case folded, without white space). The chance
that two of ten million different sentences share a digest is 3e-6; memory is about 90 bytes a sentence (estimated).
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
    """What became of the sentences that were read; `iter_transfer` updates it with each sentence."""

    read: int = 0
    duplicates: int = 0
    held_out: int = 0
    kept: int = 0


def sentence_key(words: Iterable[str]) -> bytes:
    """Digest of a sentence's normalised text: equal if sentences differ only in case, spacing or word splitting."""
    text = "".join("".join(words).split())
    if not text.isascii():
        text = "".join(unicodedata.normalize("NFKC", text).split())
    return hashlib.blake2b(text.casefold().encode("utf-8", "surrogatepass"), digest_size=8).digest()


def held_out_keys(corpus: LabelledCorpus) -> set[bytes]:
    """Keys of every dev and test sentence of the corpus, in a folder also of languages outside the recipe.

    So the transfer set of a language does not change when a language is added to the recipe.
    """
    keys: set[bytes] = set()
    for language, split in corpus.held_out():
        try:
            labelled = corpus.reader.read(language, split)
        except CorpusError:
            if language in corpus.languages:
                raise
            continue  # what cannot be read cannot be scored either
        if labelled:
            keys.update(sentence_key(sentence.words) for sentence in labelled.sentences)
    return keys


def transfer_languages(corpus: LabelledCorpus, section: TransferSection) -> tuple[str, ...]:
    """Languages of the transfer set, sorted: those that the recipe names, or all of the corpus and of the text.

    Raises: CorpusError for text that has none of them, because it would silently be left out.
    """
    texts = {name: set(text.languages()) for name, text in _open_texts(corpus, section)}
    languages = set(section.languages or corpus.languages)
    if corpus.has_every_language and not section.languages:
        languages = languages.union(*texts.values())
    require_distinct(languages, "The transfer set")
    for name, available in texts.items():
        if not languages & available:
            hint = f"It has {', '.join(sorted(available))}." if available else "Put files such as en.txt there."
            raise CorpusError(f"{name}: no text of {', '.join(sorted(languages))}. {hint}")
    return tuple(sorted(languages))


def require_readable(corpus: LabelledCorpus, section: TransferSection, languages: Iterable[str]) -> None:
    """Raises: CorpusError for a text file of some languages whose first sentence cannot be read."""
    for _, text in _open_texts(corpus, section):
        for language in languages:
            text.check_first(language)


def iter_transfer(
    corpus: LabelledCorpus,
    section: TransferSection,
    language: str,
    *,
    held_out: Set[bytes],
    counts: TransferCounts | None = None,
) -> Iterator[Sentence]:
    """Sentences of the transfer set without tags: first training text, then raw text, both in the order of their files.

    `counts`, if given, is updated with each sentence. Raw text is streamed.
    Raises: CorpusError for a missing folder and for broken files; ResourceError if a URL or the Hub cannot be reached.
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
    hashes = list(filter(None, (text.file_hash(language) for _, text in _open_texts(corpus, section))))
    parts = [
        corpus.training_text_hash(language) if section.training_text else "none",
        f"{' '.join(hashes)} first {section.sentences}" if hashes else "none",
        *sorted(corpus.reader.file_hash(*pair) or "" for pair in corpus.held_out()),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _all_text(corpus: LabelledCorpus, section: TransferSection, language: str) -> Iterator[Sentence]:
    if section.training_text:
        yield from corpus.training_text(language)
    raw = chain.from_iterable(text.read(language) for _, text in _open_texts(corpus, section))
    yield from islice(raw, section.sentences)


def _open_texts(corpus: LabelledCorpus, section: TransferSection) -> list[tuple[str, TextReader]]:
    """The sources of raw text that the recipe names, each with its name, in the order in which they are read."""
    named = section.languages or corpus.languages
    texts = []
    if section.path is not None:
        texts.append((without_secrets(section.path), _path_texts(section.path, column=section.text, named=named)))
    if section.hub is not None:
        texts.append((section.hub.id, hub_texts(section.hub, named)))
    return texts


def _path_texts(path: str, *, column: str, named: tuple[str, ...]) -> TextReader:
    is_file = is_url(path) and file_name(path).endswith(TEXT_ENDINGS)
    local = mirror_file(path) if is_file else local_folder(path, is_text_file)
    if local.is_dir():
        return folder_texts(local, column=column)
    if not local.is_file():
        raise CorpusError(f"{local}: no such folder. Give transfer.path a folder with files such as en.txt, or a file.")
    if not local.name.endswith(TEXT_ENDINGS):
        raise CorpusError(f"{local}: not raw text by its name. A file ends with {', '.join(TEXT_ENDINGS)}.")
    return file_texts(local, column=column, named=named)

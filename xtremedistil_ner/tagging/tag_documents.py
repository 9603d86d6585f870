"""Documents through a tagger, in order, a thousand at a time: memory does not grow with the input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from xtremedistil_ner.corpus.words import split_words
from xtremedistil_ner.errors import UsageError, quoted
from xtremedistil_ner.tagging.documents import Document
from xtremedistil_ner.tagging.entity_filter import KEEP_ALL, EntityFilter
from xtremedistil_ner.tagging.tagger import MOST_HELD, Entity, Tagger, require_count


@dataclass(frozen=True, slots=True)
class TaggedDocument:
    """A document with one tag per word; its entities, if it is a text, whose words have places then.

    Units: places are (word, start, end) in code points.
    """

    document: Document
    words: tuple[tuple[str, int, int], ...]
    tags: tuple[str, ...]
    entities: tuple[Entity, ...] = ()


def tag_documents(
    tagger: Tagger, documents: Iterable[Document], *, batch: int = 1024, keep: EntityFilter = KEEP_ALL
) -> Iterator[TaggedDocument]:
    """Tag documents in order; at most `batch` are held at a time. Words that are given are taken as they are.

    Raises: UsageError for what is no document, for a `batch` that is no such number, and for unknown types to `keep`.
    """
    require_count(batch, "batch", MOST_HELD)
    keep.require_known(tagger.scheme.types)
    rest = iter(documents)
    while chunk := list(islice(rest, batch)):
        places = [_places(document) for document in chunk]
        word_tags = keep.of_words(tagger.tag_ids([[word for word, _, _ in words] for words in places]), tagger.scheme)
        entities = tagger.entities([document.text or "" for document in chunk], places, word_tags)
        for document, words, tags, of_text in zip(chunk, places, word_tags.names(tagger.scheme), entities, strict=True):
            yield TaggedDocument(document, words, tags, tuple(of_text) if document.text is not None else ())


def _places(document: Document) -> tuple[tuple[str, int, int], ...]:
    if not isinstance(document, Document):
        raise UsageError(f"{quoted(document)} is no document. Give each text as Document(origin, text).")
    if document.text is None:
        return tuple((word, 0, 0) for word in document.words)
    return tuple(split_words(document.text))

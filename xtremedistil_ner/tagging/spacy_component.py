"""A tagger as a component of a spaCy pipeline, found by its entry point.

    nlp = spacy.blank("xx")
    nlp.add_pipe("xner", config={"model": "runs/demo/export"})

It reads `doc.text` and splits words itself, so it finds the same entities as `Tagger`, whatever spaCy's tokens are.
Where an entity begins or ends inside a token of spaCy's, the token is split there, or the entity is widened to whole
tokens: `alignment` says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from typing import Literal

from spacy.language import Language
from spacy.tokens import Doc, Span

from xtremedistil_ner.errors import UsageError, quoted
from xtremedistil_ner.tagging.export_reader import GraphPrecision
from xtremedistil_ner.tagging.tagger import Entity, Tagger

Alignment = Literal["split", "widen"]
if not Span.has_extension("xner_score"):
    Span.set_extension("xner_score", default=None)


class XnerComponent:
    """Sets `doc.ents`, each with its probability in `ent._.xner_score`."""

    def __init__(self, tagger: Tagger, alignment: Alignment) -> None:
        self.tagger = tagger
        self.alignment = alignment

    def __call__(self, doc: Doc) -> Doc:
        """Tag one document."""
        return next(self.pipe([doc]))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 256) -> Iterator[Doc]:
        """Tag documents, some at a time, in order."""
        rest = iter(stream)
        while docs := list(islice(rest, batch_size)):
            for doc in docs:
                if not isinstance(doc, Doc):
                    raise UsageError(f"{quoted(doc)} is no Doc. Call nlp(text), or nlp.pipe(texts).")
            for doc, entities in zip(docs, self.tagger.tag([doc.text for doc in docs]), strict=True):
                yield self._set_entities(doc, entities)

    def _set_entities(self, doc: Doc, entities: list[Entity]) -> Doc:
        if self.alignment == "split":
            _split_tokens(doc, {border for entity in entities for border in (entity.start, entity.end)})
        spans: list[Span] = []
        for entity in entities:
            span = doc.char_span(entity.start, entity.end, label=entity.type, alignment_mode="expand")
            if span is not None and (not spans or spans[-1].end <= span.start):  # widened ones may meet
                span._.xner_score = entity.score
                spans.append(span)
        doc.set_ents(spans)
        return doc


@Language.factory(
    "xner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
    default_config={"precision": None, "threads": 1, "alignment": "split"},
)
def make_component(
    nlp: Language,
    name: str,
    model: str,
    precision: GraphPrecision | None,
    threads: int,
    alignment: Alignment,
) -> XnerComponent:
    """The component of an export folder `model`."""
    return XnerComponent(Tagger.from_pretrained(model, precision=precision, threads=threads), alignment)


def _split_tokens(doc: Doc, borders: set[int]) -> None:
    """Split the tokens that a border lies inside of; the first part is the head of the others."""
    with doc.retokenize() as retokenizer:
        for token in doc:
            end = token.idx + len(token.text)
            inside = sorted(border - token.idx for border in borders if token.idx < border < end)
            if inside:
                cuts = [0, *inside, len(token.text)]
                parts = [token.text[start:stop] for start, stop in pairwise(cuts)]
                head = (token, 0) if token.head == token else token.head
                retokenizer.split(token, parts, heads=[head, *((token, 0) for _ in parts[1:])])

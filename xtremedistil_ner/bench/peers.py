"""What a user might use instead: spaCy's convolutional pipeline, and the pipeline of `transformers`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transformers import TokenClassificationPipeline

from xtremedistil_ner.bench.models import BenchTeacher
from xtremedistil_ner.labels import LabelScheme

PEERS = ("spacy", "hf-pipeline")
TagTexts = Callable[[Sequence[str]], object]


def spacy_pipeline(scheme: LabelScheme) -> TagTexts:
    """The default `ner` of spaCy, convolutions over hashed embeddings, with random weights in a blank pipeline."""
    import spacy
    from spacy.training import Example

    nlp = spacy.blank("xx")
    ner = nlp.add_pipe("ner")
    for kind in scheme.types:
        ner.add_label(kind)
    example = Example.from_dict(nlp.make_doc("a b"), {"entities": []})
    nlp.initialize(lambda: [example])

    def tag(texts: Sequence[str]) -> object:
        return [doc.ents for doc in nlp.pipe(texts, batch_size=256)]

    return tag


def transformers_pipeline(teacher: BenchTeacher) -> TagTexts:
    """The token classification pipeline of `transformers` with its defaults, one text at a time, whole words tagged."""
    tokenizer = teacher.teacher.tokenizer
    pipeline = TokenClassificationPipeline(
        model=teacher.teacher.model, tokenizer=tokenizer, aggregation_strategy="first"
    )

    def tag(texts: Sequence[str]) -> object:
        return [pipeline(text) for text in texts]

    return tag

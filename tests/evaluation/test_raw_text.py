"""F1 of spans in running text, for a model that looks words up."""

from __future__ import annotations

import numpy as np
import pytest

from xtremedistil_ner.evaluation.open_model import ScoredModel
from xtremedistil_ner.evaluation.raw_text import raw_text_f1
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.pieces.predictor import WordLogits

SCHEME = LabelScheme(("LOC", "PER"))
SAME = np.arange(5, dtype=np.int16)


def dictionary(tag_of):
    """A model whose tag of a word hangs on the word alone."""

    def word_logits(sentences, cut_at):
        assert cut_at is None
        ids = [SCHEME.tag_id(tag_of.get(word, "O")) for words in sentences for word in words]
        logits = np.where(np.arange(5) == np.array(ids, dtype=np.int64)[:, None], 9.0, 0.0).astype(np.float32)
        offsets = np.cumsum([0, *map(len, sentences)])
        return WordLogits(logits, np.ones(len(ids), dtype=bool), offsets)

    return ScoredModel(word_logits, SCHEME, 0)


@pytest.mark.parametrize(
    ("tag_of", "f1"),
    [
        ({"Anna": "B-PER", "Oslo": "B-LOC", "'": "I-LOC", "da": "I-LOC"}, 1.0),
        ({"Anna": "B-PER", "Oslo": "B-LOC"}, 0.5),  # Oslo without the ending that belongs to its word
        ({"Anna": "B-LOC"}, 0.0),
        ({}, 0.0),
    ],
)
def test_an_entity_is_right_at_its_code_points(tag_of, f1):
    sentences = [["(", "Anna", ")"], ["Oslo'da", "!"]]
    gold = [SCHEME.encode(("O", "B-PER", "O")), SCHEME.encode(("B-LOC", "O"))]
    assert raw_text_f1(dictionary(tag_of), sentences, gold, SCHEME, SAME) == f1


def test_types_of_the_model_are_mapped_and_no_sentence_is_no_score():
    mapped = np.array([0, 3, 4, 0, 0], dtype=np.int16)  # the model's LOC is the corpus's PER, its PER is left out
    model = dictionary({"Anna": "B-LOC", "Oslo": "B-PER"})
    gold = [SCHEME.encode(("B-PER", "O"))]
    assert raw_text_f1(model, [["Anna", "Oslo"]], gold, SCHEME, mapped) == 1.0
    assert raw_text_f1(model, [], [], SCHEME, SAME) == 0.0

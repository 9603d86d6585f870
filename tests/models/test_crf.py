"""The CRF head: legal whatever is learnt, trained on tags as decoding can give them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_student import MAX_PIECES, make_network, make_tokenizer, save_tiny_student
from support.tiny_student import SCHEME as STUDENT_SCHEME
from transformers import AutoModelForTokenClassification

import xtremedistil_ner.hf  # noqa: F401 - registers the architecture
from xtremedistil_ner.distillation.losses import label_loss
from xtremedistil_ner.errors import ModelError
from xtremedistil_ner.export.folder import write_export
from xtremedistil_ner.labels import LabelScheme, decode_tags, to_iob2
from xtremedistil_ner.models.crf import Crf, tags_that_decoding_can_give
from xtremedistil_ner.models.linear_chain import WordRows
from xtremedistil_ner.models.student import load_student, save_student, student_predictor
from xtremedistil_ner.pieces.predictor import compute_word_logits
from xtremedistil_ner.tagging.tagger import Tagger

SCHEME = LabelScheme(("PER", "LOC"))
TAGS = SCHEME.tags


def test_a_new_crf_adds_legality_and_nothing_else():
    transitions = Crf(SCHEME).transitions()
    legal = np.concatenate([SCHEME.may_start[None], SCHEME.may_follow])
    assert (transitions[legal] == 0).all()
    assert (transitions[~legal] == -1e4).all()
    assert transitions.dtype == np.float32


def test_legality_is_neither_trained_nor_saved():
    crf = Crf(SCHEME)
    assert [name for name, _ in crf.named_parameters()] == ["scores"]
    assert list(crf.state_dict()) == ["scores"]


def test_an_entity_costs_what_its_transitions_cost_more():
    """Emissions of zeros, 11 legal pairs of tags; a score s on B-PER → I-PER: -ln(e^s / (10 + e^s))."""
    crf = Crf(SCHEME)
    with torch.no_grad():
        crf.scores[1 + 1, 2] = 3.0
    legal_pairs = sum(
        bool(SCHEME.may_start[first] and SCHEME.may_follow[first, second]) for first in range(5) for second in range(5)
    )
    assert legal_pairs == 11
    rows = WordRows(np.array([2]), np.array([True]))
    loss = crf.loss(torch.zeros(2, 5), torch.tensor([1, 2]), rows)
    assert loss.item() == pytest.approx(-3.0 + np.log(10 + np.exp(3.0)))


def test_words_without_neighbours_cost_a_cross_entropy_over_the_tags_that_may_start():
    """Rows of one word: I- tags may not open a sentence, and nothing is known of a window from its middle."""
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    tags = torch.tensor([1, 0, 4])
    rows = WordRows(np.array([1, 1, 1]), np.array([True, True, False]))
    opening = label_loss(logits[:2, [0, 1, 3]], torch.tensor([1, 0]))
    expected = opening + label_loss(logits[2:], tags[2:])
    assert Crf(SCHEME).loss(logits, tags, rows).item() == pytest.approx(expected.item(), rel=1e-5)


def test_training_on_a_rule_teaches_the_transitions_the_rule():
    """Emissions never tell; every PER of the tags has two words, and decoding learns to give the second."""
    crf = Crf(SCHEME)
    optimizer = torch.optim.Adam(crf.parameters(), lr=0.3)
    tags = torch.tensor([SCHEME.tag_id(tag) for tag in ("O", "B-PER", "I-PER", "O", "O", "B-PER", "I-PER", "O")])
    rows = WordRows(np.array([4, 4]), np.array([True, True]))
    for _ in range(40):
        optimizer.zero_grad()
        crf.loss(torch.zeros(8, 5), tags, rows).backward()
        optimizer.step()
    logits = np.zeros((4, 5), dtype=np.float32)
    logits[1, 1] = 9.0
    assert SCHEME.decode(decode_tags(logits, SCHEME, crf.transitions())) == ("O", "B-PER", "I-PER", "O")


@given(st.lists(st.lists(st.tuples(st.sampled_from(TAGS), st.booleans()), max_size=6), max_size=4))
def test_gold_tags_are_read_as_if_a_word_without_a_piece_were_outside(sentences):
    """The oracle reads such words as `O` and repairs what they cut off, sentence by sentence."""
    sentences = [
        list(zip(to_iob2([tag for tag, _ in words], format="IOB2")[0], [has for _, has in words], strict=True))
        for words in sentences
    ]
    flat = [word for words in sentences for word in words]
    opens = np.array([place == 0 for words in sentences for place in range(len(words))], dtype=bool)
    has_piece = np.array([has for _, has in flat], dtype=bool)
    found = tags_that_decoding_can_give(SCHEME.encode([tag for tag, _ in flat]), has_piece, opens)
    expected = [to_iob2([tag if has else "O" for tag, has in words], format="IOB2")[0] for words in sentences]
    assert SCHEME.decode(found) == tuple(tag for tags in expected for tag in tags)


WORDS = [["Ada", "Byron", "met", "Emmy"], ["nobody"], ["in", "New", "Delhi", "a", "Red", "Cross"]]


@pytest.fixture
def student_folder(tmp_path):
    """A student with large random weights, and with transitions that matter beside its logits."""
    network = make_network(crf=Crf(STUDENT_SCHEME))
    with torch.no_grad():
        network.crf.scores.mul_(10)
    save_student(
        tmp_path / "student", network, make_tokenizer(), STUDENT_SCHEME, lowercase=False, max_pieces=MAX_PIECES
    )
    return tmp_path / "student", network


def test_transitions_are_saved_beside_the_weights_and_come_back_to_the_bit(student_folder):
    folder, network = student_folder
    student = load_student(folder)
    assert student.transitions is not None
    assert np.array_equal(student.transitions, network.crf.transitions())
    legal = np.concatenate([STUDENT_SCHEME.may_start[None], STUDENT_SCHEME.may_follow])
    assert (student.transitions[legal] != 0).all()


def test_a_student_without_a_crf_has_no_transitions(tmp_path):
    save_tiny_student(tmp_path)
    assert load_student(tmp_path).transitions is None
    assert "transitions" not in json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))


def test_transformers_reads_the_emissions_of_a_student_with_a_crf(student_folder):
    folder, network = student_folder
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    input_ids = torch.tensor([[5, 9, 7]])
    with torch.no_grad():
        logits = model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).logits
        torch.testing.assert_close(logits, network(input_ids, torch.ones_like(input_ids)))


def test_the_exports_tagger_decodes_with_the_transitions(student_folder, tmp_path):
    folder, _ = student_folder
    student = load_student(folder)
    target = tmp_path / "export"
    target.mkdir()
    write_export(folder, target, report=None, licence="other", recipe_name="tiny")
    words = compute_word_logits(
        student_predictor(student.network), student.encoder, WORDS, n_tags=len(STUDENT_SCHEME.tags), batch_pieces=99
    )
    parts = np.split(words.logits, words.offsets[1:-1])
    ids = [decode_tags(part, STUDENT_SCHEME, student.transitions) for part in parts]
    assert Tagger.from_pretrained(target).tag_words(WORDS) == [STUDENT_SCHEME.decode(part) for part in ids]
    assert any((part != decode_tags(own, STUDENT_SCHEME)).any() for part, own in zip(ids, parts, strict=True))


@pytest.mark.parametrize("value", [[[0.0]], "none", [[float("nan")] * 7] * 8])
def test_transitions_of_another_shape_are_refused(student_folder, value):
    path = student_folder[0] / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"transitions": value}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"transitions are no 8 rows of 7 numbers|NaN is no number"):
        load_student(student_folder[0])

"""Several teachers: word by word the weighted mean of their log-probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.tiny_run import write_corpus, write_recipe
from support.tiny_teacher import MAX_PIECES, SCHEME, load, save_bert, save_xlm_roberta, vote

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.errors import ModelError
from xtremedistil_ner.labels import decode_tags
from xtremedistil_ner.models.teacher import adopt_teacher, teacher_predictor
from xtremedistil_ner.models.voting import Vote, load_votes, save_votes
from xtremedistil_ner.pieces.predictor import compute_word_logits
from xtremedistil_ner.pipeline.run import run_pipeline
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.run_folder.soft_labels import open_store

SENTENCES = [["ab", "cde", "a"], ["abcde"], ["e", "d", "cab"]]


def log_probabilities(teacher, sentences=SENTENCES):
    logits = compute_word_logits(
        teacher_predictor(teacher, torch.float32), teacher.encoder, sentences, n_tags=len(SCHEME.tags), batch_pieces=60
    ).logits
    exponent = np.exp(logits.astype(np.float64))
    return np.log(exponent / exponent.sum(axis=1, keepdims=True))


def test_votes_are_averaged_by_weight_across_tokenizers(tmp_path):
    bert, xlmr = load(save_bert(tmp_path / "bert")), load(save_xlm_roberta(tmp_path / "xlmr"))
    words = vote([Vote(bert, 3.0), Vote(xlmr, 1.0)], SENTENCES)
    np.testing.assert_allclose(words.logits, 0.75 * log_probabilities(bert) + 0.25 * log_probabilities(xlmr), atol=1e-5)
    assert words.covered.all() and words.offsets.tolist() == [0, 3, 4, 7]


def test_a_word_is_left_to_the_teachers_that_cover_it(tmp_path):
    bert, xlmr = load(save_bert(tmp_path / "bert")), load(save_xlm_roberta(tmp_path / "xlmr"))
    sentences = [["ab", "\u00ad"]]  # a soft hyphen is no piece of BERT's
    bert_covers = vote([Vote(bert, 1.0)], sentences).covered
    xlmr_covers = vote([Vote(xlmr, 1.0)], sentences).covered
    words = vote([Vote(bert, 1.0), Vote(xlmr, 1.0)], sentences)
    assert bert_covers.tolist() == [True, False]
    assert words.covered.tolist() == (bert_covers | xlmr_covers).tolist()
    assert xlmr_covers[1], "else this shows nothing"
    np.testing.assert_allclose(words.logits[1], log_probabilities(xlmr, sentences)[1], atol=1e-5)


def test_a_word_that_no_teacher_covers_is_outside_on_every_legal_path(tmp_path):
    """Its neighbours' stray `I-` would otherwise be mended by making it a `B-`."""
    first, second = load(save_bert(tmp_path / "a")), load(save_bert(tmp_path / "b", seed=1))
    sentences = [["\u00ad", "ab"]]
    words = vote([Vote(first, 1.0), Vote(second, 1.0)], sentences)
    assert words.covered.tolist() == [False, True]
    words.logits[1] = np.log([0.01, 0.01, 0.96, 0.01, 0.01])
    assert SCHEME.decode(decode_tags(words.logits, SCHEME))[0] == "O"
    alone = vote([Vote(first, 1.0)], sentences).logits
    np.testing.assert_array_equal(words.logits[0], alone[0])


def test_one_teacher_alone_gives_its_own_logits(tmp_path):
    bert = load(save_bert(tmp_path / "bert"))
    expected = compute_word_logits(
        teacher_predictor(bert, torch.float32), bert.encoder, SENTENCES, n_tags=len(SCHEME.tags), batch_pieces=60
    ).logits
    np.testing.assert_array_equal(vote([Vote(bert, 5.0)], SENTENCES).logits, expected)


def test_voters_come_back_from_their_folder_with_their_weights_and_names(tmp_path):
    names = {"X1": "O", "X2": "B-PER", "X3": "I-PER", "X4": "B-LOC", "X5": "I-LOC"}
    bert = load(save_bert(tmp_path / "bert"))
    foreign = save_xlm_roberta(tmp_path / "xlmr", tags=tuple(names))
    other = adopt_teacher(foreign, SCHEME, labels=names, max_pieces=MAX_PIECES, sample=[], device=torch.device("cpu"))
    votes = [Vote(bert, 2.0), Vote(other, 0.5)]
    save_votes(tmp_path / "teacher", votes)
    again = load_votes(tmp_path / "teacher", SCHEME, max_pieces=MAX_PIECES)
    assert [found.weight for found in again] == [2.0, 0.5]
    np.testing.assert_array_equal(vote(again, SENTENCES).logits, vote(votes, SENTENCES).logits)


def test_a_voter_that_does_not_fit_is_found_before_the_first_teacher_is_trained(tmp_path):
    foreign = save_bert(tmp_path / "foreign", tags=("O", "B-X", "I-X"))
    recipe = load_recipe(
        write_recipe(tmp_path / "tiny.yaml", write_corpus(tmp_path / "corpus")),
        overrides=[f"teacher.voters=[{{checkpoint: {foreign}}}]"],
    )
    events = []
    with pytest.raises(ModelError, match="labels do not match the corpus"):
        run_pipeline(recipe, tmp_path / "run", tell=events.append)
    assert not [event for event in events if event.unit == "updates"]


def test_a_run_labels_with_all_its_teachers(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    first = load_recipe(write_recipe(tmp_path / "first.yaml", corpus))
    run_pipeline(first, tmp_path / "first", until="finetune", tell=silent)
    voters = f"teacher.voters=[{{checkpoint: {tmp_path / 'first' / 'teacher'}, weight: 2.0}}]"
    both = load_recipe(tmp_path / "first.yaml", overrides=[voters, "seed=14", "pseudolabel.precision=float32"])
    result = run_pipeline(both, tmp_path / "both", processes=1, tell=silent)
    store = open_store(tmp_path / "both" / "soft_labels")
    sentences = [sentence for chunk in store.sentences() for sentence in chunk]
    votes = load_votes(tmp_path / "both" / "teacher", open_corpus(first.corpus).scheme, max_pieces=32)
    expected = vote(votes, sentences).logits
    assert [found.weight for found in votes] == [1.0, 2.0]
    np.testing.assert_allclose(store.logits_at(np.arange(len(expected))), expected, atol=2e-3)  # float16
    parameters = sum(weight.numel() for found in votes for weight in found.teacher.model.parameters())
    assert result.report["models"]["teacher"]["parameters"] == parameters

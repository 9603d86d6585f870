"""Teachers whose labels are not IOB2: IO, IOB1, BIOES, other names, types too many."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support.tiny_run import write_corpus, write_recipe
from support.tiny_teacher import MAX_PIECES, SCHEME, load, save_bert, save_xlm_roberta, vote

from models.test_teacher import SENTENCES, outputs_of
from xtremedistil_ner.errors import ModelError
from xtremedistil_ner.evaluation.open_model import open_model
from xtremedistil_ner.labels import LabelScheme, decode_sentences, to_iob2
from xtremedistil_ner.models.teacher import adopt_teacher, save_teacher
from xtremedistil_ner.models.teacher_labels import begins_with_inside, logits_to_iob2, match_labels, tag_of_label
from xtremedistil_ner.models.voting import Vote, load_votes
from xtremedistil_ner.pieces.predictor import NEVER
from xtremedistil_ner.pipeline.run import run_pipeline
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.reader import load_recipe

IO = ("I-LOC", "O", "I-PER")


def labels_of(teacher, sentences=SENTENCES):
    return vote([Vote(teacher, 1.0)], sentences)


def tags_of(logits, offsets, scheme=SCHEME):
    ids = decode_sentences(logits, offsets, scheme)
    return [scheme.decode(ids[start:stop]) for start, stop in pairwise(offsets)]


def best_labels(folder, sentences=SENTENCES):
    """The labels of the largest outputs, sentence by sentence, by transformers' own tokenizer and model."""
    outputs, names = outputs_of(folder, sentences)
    labels = [names[index] for index in outputs.argmax(axis=1)]
    return [[labels.pop(0) for _ in words] for words in sentences]


@pytest.mark.parametrize("tags", [IO, ("LOC", "O", "PER"), ("I-LOC", "O", "I-PER", "B-LOC")])
def test_entities_of_an_io_or_iob1_teacher_are_those_of_its_own_best_labels(tmp_path, tags):
    """XLM-R models of CoNLL 2003 have such labels: no `B-` where IOB1 never needed one."""
    folder = save_xlm_roberta(tmp_path, tags=tags, seed=0)
    words = labels_of(load(folder))
    found = [[tag if tag[:2] in ("O", "I-", "B-") else f"I-{tag}" for tag in own] for own in best_labels(folder)]
    assert tags_of(words.logits, words.offsets) == [to_iob2(own, format="IOB1")[0] for own in found]
    assert len({tag for own in found for tag in own}) > 1, "else this shows nothing"


def random_words(n_tags):
    logits = arrays.arrays(np.float32, st.tuples(st.integers(0, 12), st.just(n_tags)), elements=st.integers(-9, 9))
    return st.tuples(logits, st.integers(0, 12))


@settings(deadline=None, max_examples=150)
@given(random_words(5))
def test_types_keep_their_probability_and_the_best_tags_are_legal(case):
    logits, cut = case
    logits = logits + np.linspace(0, 0.3, logits.size, dtype=np.float32).reshape(logits.shape)  # no ties
    logits[:, 1::2] = NEVER
    cut = min(cut, len(logits))
    offsets = np.array([0, cut, len(logits)])
    found = logits_to_iob2(logits, offsets)
    before, after = (np.exp(x.astype(np.float64)) for x in (logits, found))
    before, after = before / before.sum(axis=1, keepdims=True), after / after.sum(axis=1, keepdims=True)
    for columns in ([0], [1, 2], [3, 4]):
        np.testing.assert_allclose(after[:, columns].sum(axis=1), before[:, columns].sum(axis=1), rtol=1.1e-3)
    own = [SCHEME.decode(ids) for ids in np.split(logits.argmax(axis=1), [cut])]
    assert [SCHEME.decode(ids) for ids in np.split(found.argmax(axis=1), [cut])] == [
        to_iob2(tags, format="IOB1")[0] for tags in own
    ]


def test_a_worked_example_of_iob1():
    """Two types, `B-` only between entities side by side: Ada Byron | Emmy in Rome."""
    logits = np.array([[0, 1, 5, 0, 0], [0, 1, 5, 0, 0], [0, 5, 1, 0, 0], [5, 0, 0, 0, 1], [0, 0, 0, 1, 5]], np.float32)
    found = logits_to_iob2(logits, np.array([0, 5]))
    assert SCHEME.decode(found.argmax(axis=1)) == ("B-PER", "I-PER", "B-PER", "O", "B-LOC")
    assert found[0, 1] == pytest.approx(np.log(np.exp(1) + np.exp(5)), abs=1e-5)
    assert found[0, 2] == pytest.approx(found[0, 1] - np.log(1000), abs=1e-5)
    assert found[1, 1:3].tolist() == found[2, 2:0:-1].tolist() == [1, 5]
    assert found[:, 0].tolist() == logits[:, 0].tolist()


def test_a_teacher_that_uses_its_labels_as_in_iob1_is_recognised():
    iob1 = np.eye(5, dtype=np.float32)[[2, 2, 0, 4, 1]]
    iob2 = np.eye(5, dtype=np.float32)[[1, 2, 0, 3, 2]]
    offsets = np.array([0, 4, 4, 5])
    assert not begins_with_inside(iob1, offsets), "a sentence begins with B-"
    assert begins_with_inside(iob1[:4], offsets[:3])
    assert not begins_with_inside(iob2, offsets)
    assert not begins_with_inside(iob2[:0], np.array([0]))


def test_what_was_found_about_a_teacher_stays_with_its_folder(tmp_path):
    """Of labels that fit IOB2 and IOB1 only the sample tells."""
    folder = save_bert(tmp_path / "given", tags=("O", "I-PER", "B-PER", "I-LOC", "B-LOC"), seed=1)
    sample = [[word] for words in SENTENCES for word in words]
    starts = {own[0] for own in best_labels(folder, sample)}
    assert starts & {"I-PER", "I-LOC"} and not starts & {"B-PER", "B-LOC"}, "else this shows nothing"
    teacher = adopt_teacher(folder, SCHEME, labels={}, max_pieces=MAX_PIECES, sample=sample, device=torch.device("cpu"))
    save_teacher(tmp_path / "taken", teacher)
    again = load(tmp_path / "taken")
    assert (load(folder).tag_format, teacher.tag_format, again.tag_format) == ("IOB2", "IOB1", "IOB1")
    words = labels_of(again, sample)
    assert {tag for own in tags_of(words.logits, words.offsets) for tag in own} <= {"O", "B-PER", "B-LOC"}


def test_bioes_and_bilou_are_added_up_to_iob2(tmp_path):
    names = ("O", "S-PER", "B-PER", "I-PER", "E-PER", "U-LOC", "B-LOC", "I-LOC", "L-LOC")
    folder = save_bert(tmp_path, tags=names)
    teacher = load(folder)
    assert (teacher.columns, teacher.tag_format) == (((0,), (1, 2), (3, 4), (5, 6), (7, 8)), "IOB2")
    outputs, _ = outputs_of(folder)
    expected = np.logaddexp(outputs[:, [1, 3, 5, 7]], outputs[:, [2, 4, 6, 8]])
    np.testing.assert_allclose(labels_of(teacher).logits[:, 1:], expected, atol=1e-4)


def test_a_type_without_an_inside_label_has_entities_of_one_word(tmp_path):
    teacher = load(save_bert(tmp_path, tags=("O", "B-PER", "I-PER", "B-LOC")))
    logits = labels_of(teacher).logits
    np.testing.assert_allclose(logits[:, 4], logits[:, 3] - np.log(1000), atol=1e-4)


@pytest.mark.parametrize(
    ("label", "mapping", "tag"),
    [
        ("B-PERSON", {"PERSON": "PER"}, "B-PER"),
        ("E-PERSON", {"PERSON": "PER"}, "I-PER"),
        ("PERSON", {"PERSON": "PER"}, "I-PER"),
        ("B-MISC", {"MISC": None}, "O"),
        ("B-MISC", {"B-MISC": None}, "O"),
        ("MISC", {"MISC": None}, "O"),
        ("LABEL_1", {"LABEL_1": "B-PER"}, "B-PER"),
        ("[PAD]", {"[PAD]": "O"}, "O"),
        ("I-GEO-POL", {}, "I-GEO-POL"),
        ("B-A", {"A": "B", "B": "A"}, "B-B"),
    ],
)
def test_labels_are_mapped_by_tag_or_by_type(label, mapping, tag):
    assert tag_of_label(label, mapping) == tag


@pytest.mark.parametrize("names", [("LABEL_0", "LABEL_1"), ("O", "PER", "LOC", "MISC"), ("PER", "LOC"), ("O", "I-PER")])
def test_labels_that_do_not_match_print_both_sets_and_the_options(names):
    with pytest.raises(ModelError) as caught:
        match_labels(dict(enumerate(names)), SCHEME, {}, origin="here")
    message = str(caught.value)
    assert f"Checkpoint: {', '.join(names)}. Corpus: O, B-PER, I-PER, B-LOC, I-LOC." in message
    assert "teacher.labels" in message and "corpus.types" in message


def test_a_folder_of_an_io_teacher_can_be_scored_by_itself(tmp_path):
    model = open_model(save_bert(tmp_path / "io", tags=IO), max_pieces=MAX_PIECES)
    assert model.scheme.types == ("LOC", "PER")
    words = model.word_logits(SENTENCES, None)
    assert tags_of(words.logits, words.offsets, model.scheme) == [
        to_iob2(own, format="IOB1")[0] for own in best_labels(tmp_path / "io")
    ]
    for names in (("LABEL_0", "LABEL_1"), ("NEGATIVE", "POSITIVE")):
        folder = save_bert(tmp_path / names[0], tags=names)
        with pytest.raises(ModelError, match="id2label has no tags such as B-LOC"):
            open_model(folder)


def test_a_run_takes_an_io_teacher_with_a_type_too_many(tmp_path):
    """From corpus to report; its soft labels lie in the store as IOB2."""
    folder = save_bert(tmp_path / "io", tags=("O", "I-PERSON", "I-LOC", "I-MISC"))
    recipe = load_recipe(
        write_recipe(tmp_path / "tiny.yaml", write_corpus(tmp_path / "corpus")),
        overrides=[
            "teacher.shape=null",
            f"teacher.checkpoint={folder}",
            "teacher.labels={PERSON: PER, MISC: null}",
            "corpus.types.ORG=null",
            "finetune.epochs=0",
            "student.vocabulary=trained",
            "train.strategy=D1",
        ],
    )
    result = run_pipeline(recipe, tmp_path / "run", processes=1, tell=silent)
    assert set(result.report["models"]["teacher"]["languages"]["en"]["types"]) == {"LOC", "PER"}
    assert result.report["data"]["types"]["ORG"]["becomes"] is None
    assert result.report["data"]["types"]["ORG"]["entities"] > 0
    (found,) = load_votes(tmp_path / "run" / "teacher", LabelScheme(("LOC", "PER")), max_pieces=MAX_PIECES)
    assert (found.teacher.tag_format, found.teacher.columns) == ("IOB1", ((0, 3), (), (2,), (), (1,)))

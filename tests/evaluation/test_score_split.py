"""Scoring a split: conlleval's spans against a slow reading of its rules, the papers' cut, and missing splits."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities
from support.tiny_run import labelled_text, write_corpus, write_recipe
from support.tiny_teacher import SCHEME as TINY
from support.tiny_teacher import save_bert, save_xlm_roberta

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.evaluation.open_model import ScoredModel, open_model
from xtremedistil_ner.evaluation.score_split import PAPER_PIECES, score_split
from xtremedistil_ner.evaluation.scoring import score_language, span_counts
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.teacher import load_teacher
from xtremedistil_ner.models.voting import Vote, save_votes
from xtremedistil_ner.pieces.encoder import PieceEncoder
from xtremedistil_ner.pieces.predictor import WordLogits
from xtremedistil_ner.pipeline.run import run_pipeline
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.data_sections import CorpusSection
from xtremedistil_ner.recipe.reader import load_recipe

SCHEME = LabelScheme(("LOC", "ORG", "PER"))
properties = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])


def starts(previous, tag):
    """Follow conlleval's `startOfChunk`, for tags with B, I and O."""
    if tag == "O":
        return False
    if tag[0] == "B" or previous == "O":
        return True
    return previous[2:] != tag[2:]


def ends(previous, tag):
    """Follow conlleval's `endOfChunk`, for tags with B, I and O."""
    if previous == "O":
        return False
    if tag == "O" or tag[0] == "B":
        return True
    return previous[2:] != tag[2:]


def conlleval(gold_sentences, predicted_sentences):
    """Count correct, found and gold entities as conlleval's main loop does, a sentence border read as `O`."""
    correct = found = there = 0
    for gold, predicted in zip(gold_sentences, predicted_sentences, strict=True):
        in_correct = False
        last_gold = last_predicted = "O"
        for now_gold, now_predicted in [*zip(gold, predicted, strict=True), ("O", "O")]:
            gold_ends, predicted_ends = ends(last_gold, now_gold), ends(last_predicted, now_predicted)
            if in_correct:
                if gold_ends and predicted_ends and last_gold[2:] == last_predicted[2:]:
                    in_correct = False
                    correct += 1
                elif gold_ends != predicted_ends or now_gold[2:] != now_predicted[2:]:
                    in_correct = False
            gold_starts, predicted_starts = starts(last_gold, now_gold), starts(last_predicted, now_predicted)
            in_correct |= gold_starts and predicted_starts and now_gold[2:] == now_predicted[2:]
            there += gold_starts
            found += predicted_starts
            last_gold, last_predicted = now_gold, now_predicted
    return [correct, found, there]


@st.composite
def tagged_pairs(draw):
    tag = st.integers(0, len(SCHEME.tags) - 1)
    word = st.one_of(tag.map(lambda number: (number, number)), st.tuples(tag, tag))
    sentences = draw(st.lists(st.lists(word, min_size=1, max_size=9), min_size=1, max_size=5))
    columns = [np.array(words, dtype=np.int16) for words in sentences]
    return [pair[:, 0] for pair in columns], [pair[:, 1] for pair in columns]


def names(sentences):
    return [list(SCHEME.decode(ids)) for ids in sentences]


@properties
@given(tagged_pairs())
def test_lenient_counts_are_those_of_conlleval(pair):
    gold, predicted = pair
    counts = span_counts(gold, predicted, SCHEME, rules="conlleval")
    assert counts.sum(axis=(0, 1)).tolist() == conlleval(names(gold), names(predicted))


@properties
@given(tagged_pairs())
def test_lenient_scores_are_those_of_seqevals_default_mode(pair):
    gold, predicted = pair
    scores = score_language(span_counts(gold, predicted, SCHEME, rules="conlleval"), SCHEME, bootstrap=0, seed=0)
    both = names(gold), names(predicted)
    expected = [score(*both, zero_division=0) for score in (precision_score, recall_score, f1_score)]
    assert [scores.precision, scores.recall, scores.f1] == pytest.approx(expected, abs=1e-12)
    assert scores.support == len(get_entities(both[0]))


@pytest.mark.parametrize(
    ("tags", "strict", "lenient"),
    [
        ("I-PER I-PER O", 0, 1),
        ("B-PER I-LOC I-LOC", 1, 2),
        ("O I-LOC B-LOC", 1, 2),
        ("B-PER I-PER B-PER", 2, 2),
        ("I-PER I-LOC I-PER", 0, 3),
    ],
)
def test_a_stray_inside_tag_starts_an_entity_for_conlleval_only(tags, strict, lenient):
    ids = [SCHEME.encode(tags.split())]
    assert span_counts(ids, ids, SCHEME)[..., 0].sum() == strict
    assert span_counts(ids, ids, SCHEME, rules="conlleval")[..., 0].sum() == lenient


def corpus_of(folder, sentences, *, types):
    (folder / "en").mkdir(parents=True)
    lines = ["\n".join(f"{word}\t{tag}" for word, tag in sentence) + "\n" for sentence in sentences]
    (folder / "en" / "test.tsv").write_text("\n".join(lines), encoding="utf-8")
    return open_corpus(CorpusSection(path=str(folder), types=types))


LETTERS = "abcde"


@pytest.fixture
def long_corpus(tmp_path):
    """Sentences of 1 to 40 words, a word of 1 to 7 letters (1 to 4 pieces), tags of every kind."""
    rng = np.random.default_rng(4)
    sentences = []
    for length in range(1, 41):
        tags, previous = [], "O"
        for _ in range(length):
            choices = ["O", "B-PER", "B-LOC", *([f"I-{previous[2:]}"] * 2 if previous != "O" else [])]
            tags.append(previous := str(rng.choice(choices)))
        words = ["".join(rng.choice(list(LETTERS), size=rng.integers(1, 8))) for _ in range(length)]
        sentences.append(list(zip(words, tags, strict=True)))
    return corpus_of(tmp_path / "long", sentences, types=TINY.types)


def by_hand(teacher, corpus):
    """Score the papers' way, sentence by sentence, with transformers' own tokenizer and model."""
    gold_tags, predicted_tags = [], []
    for sentence in corpus.sentences("en", "test"):
        encoding = teacher.tokenizer(
            list(sentence.words),
            is_split_into_words=True,
            truncation=True,
            max_length=PAPER_PIECES,
            return_tensors="pt",
        )
        assert encoding["input_ids"].shape[1] <= PAPER_PIECES
        with torch.no_grad():
            logits = teacher.model(**{name: encoding[name] for name in ("input_ids", "attention_mask")}).logits[0]
        previous, gold, predicted = None, [], []
        for piece, word in enumerate(encoding.word_ids()):
            if word is not None and word != previous:
                gold.append(sentence.tags[word])
                predicted.append(TINY.tags[int(logits[piece].argmax())])
            previous = word
        gold_tags.append(gold)
        predicted_tags.append(predicted)
    return conlleval(gold_tags, predicted_tags)


@pytest.mark.parametrize("save", [save_bert, save_xlm_roberta])
def test_the_papers_protocol_is_that_of_truncated_sentences_read_by_transformers(tmp_path, long_corpus, save):
    folder = save(tmp_path / "teacher", seed=3)
    teacher = load_teacher(folder, TINY, labels={}, max_pieces=PAPER_PIECES)
    correct, found, there = by_hand(teacher, long_corpus)
    scores = score_split(
        {"": open_model(folder, max_pieces=40, precision="float32")},
        long_corpus,
        split="test",
        bootstrap=0,
        seed=0,
        paper_protocol=True,
    )
    paper, strict = scores.paper["en"], scores.languages["en"]
    assert paper.support == there < strict.support, "entities behind the cut count nowhere"
    assert paper.precision == pytest.approx(correct / found)
    assert paper.recall == pytest.approx(correct / there)


def test_a_short_sentence_is_read_alike_cut_or_whole(tmp_path):
    model = open_model(save_bert(tmp_path / "teacher"), precision="float32", max_pieces=40)
    words = [["ab", "c", "de"], ["a"]]
    np.testing.assert_array_equal(model.word_logits(words, PAPER_PIECES).logits, model.word_logits(words, None).logits)


def test_a_word_without_a_piece_has_no_label_under_the_papers_protocol(tmp_path):
    """A lost word inside an entity, which no model can label, is left out of gold and prediction alike."""
    corpus = corpus_of(tmp_path / "corpus", [[("ab", "B-PER"), ("\u200b", "I-PER"), ("cd", "I-PER")]], types=TINY.types)

    def word_logits(sentences, cut_at):
        logits = np.zeros((3, 5), dtype=np.float32)
        logits[[0, 2], [1, 2]] = 1.0
        return WordLogits(logits, np.array([True, False, True]), np.array([0, 3]))

    model = ScoredModel(word_logits, TINY, 1)
    scores = score_split({"": model}, corpus, split="test", bootstrap=0, seed=0, paper_protocol=True)
    assert (scores.paper["en"].f1, scores.paper["en"].support) == (1.0, 1)
    assert scores.languages["en"].f1 == 0.0


@pytest.mark.parametrize("max_pieces", [5, 9, 32, 100])
def test_a_cut_encoder_covers_the_words_whose_first_piece_is_before_the_cut(tmp_path, max_pieces):
    teacher = load_teacher(save_bert(tmp_path / "teacher"), TINY, labels={}, max_pieces=16)
    whole = PieceEncoder(teacher.encoder.tokenizer, max_pieces=40, pad_id=0)
    sentences = [["abc", "de", "a", "abcde"] * n for n in (0, 1, 3, 9)]
    encoded = whole.cut_at(max_pieces).encode(sentences)
    assert encoded.n_rows == 3, "an empty sentence has none"
    limit = min(max_pieces, 40)
    for row, sentence in enumerate(sentences[1:]):
        encoding = teacher.tokenizer(sentence, is_split_into_words=True, truncation=True, max_length=limit)
        own = encoded.pieces[encoded.piece_offsets[row] : encoded.piece_offsets[row + 1]]
        assert own.tolist() == encoding["input_ids"]
        firsts = encoded.first_piece[encoded.word_offsets[row] : encoded.word_offsets[row + 1]]
        word_of = encoding.word_ids()
        assert firsts.tolist() == [word_of.index(n) if n in word_of else -1 for n in range(len(sentence))]


def test_voting_teachers_are_scored_together_and_their_parameters_added_up(tmp_path, long_corpus):
    teachers = [
        load_teacher(save(tmp_path / str(seed), seed=seed), TINY, labels={}, max_pieces=16)
        for seed, save in enumerate((save_bert, save_xlm_roberta))
    ]
    save_votes(tmp_path / "both", [Vote(teachers[0], 1.0), Vote(teachers[1], 3.0)])
    model = open_model(tmp_path / "both", precision="float32", max_pieces=16)
    assert model.parameters == sum(w.numel() for teacher in teachers for w in teacher.model.parameters())
    words = [sentence.words for sentence in long_corpus.sentences("en", "test")]
    logits = model.word_logits(words, None).logits
    parts = []
    for index in range(2):
        alone = open_model(tmp_path / str(index), precision="float32", max_pieces=16).word_logits(words, None).logits
        parts.append(alone - np.log(np.exp(alone.astype(np.float64)).sum(axis=1, keepdims=True)))
    np.testing.assert_allclose(logits, (parts[0] + 3 * parts[1]) / 4, atol=1e-4)
    scores = score_split({"": model}, long_corpus, split="test", bootstrap=0, seed=0, paper_protocol=True)
    assert scores.paper["en"].support > 0


def test_a_run_takes_languages_that_lack_splits(tmp_path):
    """A test split alone, train without dev, nothing to score: all go through the whole pipeline."""
    corpus = write_corpus(tmp_path / "corpus")
    for language, splits in {"tl": ["test"], "da": ["train", "test"], "sv": ["train", "dev"], "fi": ["dev"]}.items():
        (corpus / language).mkdir()
        for split in splits:
            text = labelled_text(6, shift=3, numbered=f"{language}-{split}-")
            (corpus / language / f"{split}.tsv").write_text(text, encoding="utf-8")
    recipe = load_recipe(
        write_recipe(tmp_path / "tiny.yaml", corpus), overrides=["evaluate.baselines=true", "evaluate.protocol=paper"]
    )
    report = run_pipeline(recipe, tmp_path / "run", processes=1, tell=silent).report
    for model in ("teacher", "student"):
        entry = report["models"][model]
        assert list(entry["languages"]) == list(entry["paper_protocol"]["languages"]) == ["da", "en", "no", "tl"]
        assert list(entry["dev"]["languages"]) == ["en", "fi", "no", "sv"]
    assert list(report["models"]["gazetteer"]["languages"]) == ["da", "en", "no"], "no train, no gazetteer"
    assert set(report["retention"]["intervals"]) == {"da", "en", "no", "tl"}
    assert report["data"]["languages_not_scored"] == ["fi", "sv"]
    assert {"de", "uk"} <= set(report["data"]["languages_lacking"])
    assert not {"tl", "fi"} & set(report["data"]["languages_lacking"])
    markdown = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "Used, and without sentences to score: 2 languages, fi, sv." in markdown
    assert json.loads((tmp_path / "run" / "export" / "manifest.json").read_text(encoding="utf-8"))["kind"] == "export"

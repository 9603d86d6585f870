"""Every kind of student through the whole pipeline: from a teacher's checkpoint to an export that tags."""

from __future__ import annotations

import json

import pytest
import torch
from support.tiny_run import RECIPE, labelled_text, write_corpus
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from xtremedistil_ner.errors import RecipeError
from xtremedistil_ner.models.student import load_student, student_predictor
from xtremedistil_ner.pieces.vocabulary import train_vocabulary, wordpiece_tokenizer
from xtremedistil_ner.pipeline.run import run_pipeline
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.reader import read_recipe
from xtremedistil_ner.stages.evaluate_model import evaluate_model
from xtremedistil_ner.tagging.tagger import Tagger

WORDS = [line.split("\t")[0] for line in labelled_text(40).splitlines() if line]
SENTENCES = [["Emmy", "Noether", "of", "Red", "Cross", "left", "Paris", "!"], ["nobody", "came"]]
SMALL = {"num_attention_heads": 2, "max_position_embeddings": 40, "initializer_range": 0.2}
LEARNING = (
    "finetune.epochs=12",
    "finetune.learning_rate=5e-3",
    "train.learning_rate=2e-2",
    "train.updates=60",
    "train.patience=20",
    "train.strategy=D1",
    "student.hidden_width=24",
)


def save_bert_encoder(folder, *, layers, width):
    """A BERT with a masked-language-model head, cased, over a WordPiece vocabulary of the corpus."""
    pieces = train_vocabulary(lambda: [[WORDS]], size=150, lowercase=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=wordpiece_tokenizer(pieces, lowercase=False, special_rows=True),
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    )
    sizes = {"num_hidden_layers": layers, "hidden_size": width, "intermediate_size": 2 * width}
    BertForMaskedLM(BertConfig(vocab_size=len(pieces), **sizes, **SMALL)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_xlm_roberta_encoder(folder):
    """An XLM-R with a masked-language-model head over a SentencePiece vocabulary of the corpus."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(WORDS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{f"{name}_token": names[name] for name in names})
    sizes = {"num_hidden_layers": 2, "hidden_size": 12, "intermediate_size": 16, "type_vocab_size": 1}
    config = XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), pad_token_id=1, bos_token_id=0, eos_token_id=2, **sizes, **SMALL
    )
    XLMRobertaForMaskedLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a corpus, the encoders, and one run of each teacher with its soft labels."""
    folder = tmp_path_factory.mktemp("students")
    torch.manual_seed(0)
    write_corpus(folder / "corpus")
    save_bert_encoder(folder / "bert", layers=3, width=12)
    save_bert_encoder(folder / "small-bert", layers=2, width=8)
    save_xlm_roberta_encoder(folder / "xlm-roberta")
    for teacher in ("bert", "xlm-roberta"):
        run_pipeline(
            recipe_of(folder, teacher), folder / f"{teacher}-run", until="pseudolabel", processes=1, tell=silent
        )
    return folder


def recipe_of(place, teacher, *overrides):
    origin = f"teacher={{checkpoint: {place / teacher}, max_pieces: 32}}"
    return read_recipe(RECIPE.format(corpus=place / "corpus"), overrides=[origin, *LEARNING, *overrides])


def distil(place, out, teacher, *overrides):
    """A whole run over the teacher's soft labels: its folder and its report."""
    recipe = recipe_of(place, teacher, *overrides)
    result = run_pipeline(recipe, out, take_from=place / f"{teacher}-run", processes=1, tell=silent)
    assert [step.state for step in result.steps] == ["taken", "taken", "done", "done", "done"]
    return out, result.report


def assert_the_export_tags_as_reported(place, run, report):
    """Torch, the export and the report's scores agree, for windows of long sentences as well; something is found."""
    assert report["models"]["student"]["macro_f1"] > 0
    tagger = Tagger.from_pretrained(run / "export")
    student = load_student(run / "student")
    by_torch = Tagger(student_predictor(student.network), student.encoder, student.scheme)
    sentences = [*SENTENCES, SENTENCES[0] * 9]
    assert tagger.tag_words(sentences) == by_torch.tag_words(sentences)
    options = {"split": "test", "languages": ("en", "no"), "tell": silent}
    entry = evaluate_model(run / "export", corpus=str(place / "corpus"), **options)
    for language, scores in report["models"]["student"]["languages"].items():
        assert entry["languages"][language]["f1"] == scores["f1"], language
        assert scores["words_lost"] == 0
    assert entry["parameters"] == report["models"]["student"]["parameters"]


@pytest.mark.parametrize("vocabulary", ["trained", "{place}/bert", "{place}/vocab.txt"])
def test_a_sentence_piece_teacher_teaches_a_word_piece_bilstm(place, tmp_path, vocabulary):
    pieces = train_vocabulary(lambda: [[WORDS]], size=100, lowercase=False)
    (place / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    given = [f"student.vocabulary={vocabulary.format(place=place)}"]
    if vocabulary == "trained":
        given.append("student.vocabulary_size=110")
    run, report = distil(place, tmp_path / "run", "xlm-roberta", *given)
    assert json.loads((run / "teacher" / "config.json").read_text(encoding="utf-8"))["model_type"] == "xlm-roberta"
    student = load_student(run / "student")
    assert isinstance(student.encoder.tokenizer.model, models.WordPiece)
    assert "[UNK]" not in student.encoder.tokenizer.encode(SENTENCES[0], is_pretokenized=True).tokens
    assert_the_export_tags_as_reported(place, run, report)


def test_a_sentence_piece_teacher_and_no_vocabulary_end_with_what_to_give(place, tmp_path):
    with pytest.raises(RecipeError, match=r"no WordPiece vocabulary to share\. Give `trained`"):
        distil(place, tmp_path / "run", "xlm-roberta")


def test_a_convolutional_student_is_distilled_scored_and_exported(place, tmp_path):
    run, report = distil(place, tmp_path / "run", "bert", "student.kind=cnn", "student.embedding_width=8")
    config = json.loads((run / "export" / "config.json").read_text(encoding="utf-8"))
    assert (config["architectures"], config["layers"]) == (["CnnForTokenClassification"], 3)
    assert_the_export_tags_as_reported(place, run, report)


STARTS = {
    "scratch": ("{{layers: 1, hidden_width: 8, heads: 2}}", {"num_hidden_layers": 1, "hidden_size": 8}),
    "checkpoint": ("{{start: checkpoint, checkpoint: {place}/small-bert}}", {"num_hidden_layers": 2, "hidden_size": 8}),
    "teacher": ("{{start: teacher, layers: 2}}", {"num_hidden_layers": 2, "hidden_size": 12}),
}


@pytest.mark.parametrize("start", STARTS)
def test_a_transformer_is_distilled_scored_and_exported_as_a_stock_bert(place, tmp_path, start):
    transformer, sizes = STARTS[start]
    strategy = f"train.strategy={'D3.1' if start == 'teacher' else 'D1'}"
    student = f"student={{kind: transformer, max_pieces: 24, transformer: {transformer.format(place=place)}}}"
    run, report = distil(place, tmp_path / "run", "bert", student, strategy)
    config = json.loads((run / "export" / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["BertForTokenClassification"]
    assert {name: config[name] for name in sizes} == sizes
    model, loading = AutoModelForTokenClassification.from_pretrained(run / "export", output_loading_info=True)
    assert not any(loading.values()), loading
    assert report["models"]["student"]["parameters"] == model.num_parameters()
    pieces = AutoTokenizer.from_pretrained(run / "export")(SENTENCES[0], is_split_into_words=True)["input_ids"]
    encoder = load_student(run / "student").encoder
    assert pieces == encoder.encode(SENTENCES[:1]).pieces.tolist()
    assert_the_export_tags_as_reported(place, run, report)


def test_a_transformer_learns_from_a_sentence_piece_teacher_too(place, tmp_path):
    student = "student={kind: transformer, max_pieces: 24, transformer: {layers: 1, hidden_width: 8, heads: 2}}"
    vocabulary = ("student.vocabulary=trained", "student.vocabulary_size=110")
    run, report = distil(place, tmp_path / "run", "xlm-roberta", student, *vocabulary)
    assert_the_export_tags_as_reported(place, run, report)

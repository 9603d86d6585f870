"""Thirteen families of encoders as teachers: a tiny distillation of each, from a corpus to an export."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny_run import CARRIERS, NAMES, write_corpus, write_recipe
from support.tiny_teacher import SCHEME
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AlbertConfig,
    AlbertTokenizer,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    BertConfig,
    BertTokenizer,
    DebertaV2Config,
    DebertaV2Tokenizer,
    DistilBertConfig,
    ElectraConfig,
    ErnieConfig,
    EsmConfig,
    EsmTokenizer,
    EuroBertConfig,
    ModernBertConfig,
    MPNetConfig,
    MPNetTokenizer,
    PreTrainedTokenizerFast,
    RemBertConfig,
    RemBertTokenizer,
    RobertaConfig,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
    XmodConfig,
)

from xtremedistil_ner.errors import ModelError, RecipeError
from xtremedistil_ner.models.embeddings import carry_embeddings
from xtremedistil_ner.models.pretrained import load_config, load_tokenizer, longest_window
from xtremedistil_ner.models.teacher import piece_embeddings, start_teacher, teacher_predictor
from xtremedistil_ner.pieces.predictor import compute_word_logits
from xtremedistil_ner.pipeline.run import run_pipeline
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.stages.evaluate_model import evaluate_model
from xtremedistil_ner.tagging.tagger import Tagger

WORDS = sorted({word for text in (*CARRIERS, *NAMES["PER"], *NAMES["LOC"], *NAMES["ORG"]) for word in text.split()})
LETTERS = sorted({*"abcdefghijklmnopqrstuvwxyz-0123456789", *"".join(WORDS)})
SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}


def word_pieces(special):
    pieces = [*special, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS]
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}


def unigram(special):
    pieces = [*special, "▁", *(f"▁{word}" for word in WORDS), *LETTERS]
    return [(piece, 0.0 if piece in special else -float(len(piece) == 1) - 1) for piece in dict.fromkeys(pieces)]


def bert():
    return BertTokenizer(vocab=word_pieces(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]), do_lower_case=False)


def mpnet():
    return MPNetTokenizer(vocab=word_pieces(["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]), do_lower_case=False)


def byte_level(special):
    return {
        piece: number
        for number, piece in enumerate((*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġi", "Ġin"))
    }


MERGES = [("Ġ", "i"), ("Ġi", "n")]


def roberta():
    return RobertaTokenizer(vocab=byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]), merges=MERGES)


def byte_level_of(first, last, pad, mask):
    """As ModernBERT and EuroBERT have it: no class of its own, and no space before the first word."""
    special = [pad, first, last, mask]
    tokenizer = Tokenizer(models.BPE(vocab=byte_level(special), merges=MERGES))
    parts = pre_tokenizers.Split(Regex(r" ?\w+| ?\W+"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(parts))
    tokenizer.decoder = decoders.ByteLevel()
    ids = [(piece, tokenizer.token_to_id(piece)) for piece in (first, last)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, cls_token=first, sep_token=last, mask_token=mask
    )


def modernbert():
    return byte_level_of("[CLS]", "[SEP]", "[PAD]", "[MASK]")


def eurobert():
    return byte_level_of("<|begin_of_text|>", "<|end_of_text|>", "<|pad|>", "<|mask|>")


def xlm_roberta():
    return XLMRobertaTokenizer(vocab=unigram(["<s>", "<pad>", "</s>", "<unk>"]))


def deberta():
    return DebertaV2Tokenizer(vocab=unigram(["[PAD]", "[UNK]", "[CLS]", "[SEP]"]))


def rembert():
    return RemBertTokenizer(vocab=unigram(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]))


def albert():
    return AlbertTokenizer(vocab=unigram(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]), do_lower_case=False)


DEBERTA_V3 = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
DISTILBERT = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 40}
FAMILIES = {
    "bert": (BertConfig, bert, {}),
    "distilbert": (DistilBertConfig, bert, DISTILBERT),
    "electra": (ElectraConfig, bert, {"embedding_size": 16}),
    "ernie": (ErnieConfig, bert, {}),
    "mpnet": (MPNetConfig, mpnet, {}),
    "roberta": (RobertaConfig, roberta, {}),
    "modernbert": (ModernBertConfig, modernbert, {}),
    "eurobert": (EuroBertConfig, eurobert, {"num_key_value_heads": 2}),
    "xlm-roberta": (XLMRobertaConfig, xlm_roberta, {}),
    "xmod": (XmodConfig, xlm_roberta, {"languages": ["de_DE", "en_XX"], "adapter_reduction_factor": 2}),
    "deberta-v2": (DebertaV2Config, deberta, DEBERTA_V3),
    "rembert": (RemBertConfig, rembert, {"input_embedding_size": 16, "output_embedding_size": 24}),
    "albert": (AlbertConfig, albert, {"embedding_size": 16}),
}


def save_encoder(folder, family, *, head=AutoModel):
    """A random encoder as its family's checkpoints are laid out; the folder."""
    factory, make_tokenizer, more = FAMILIES[family]
    tokenizer = make_tokenizer()
    special = {"pad_token_id": tokenizer.pad_token_id, "vocab_size": len(tokenizer)}
    special |= {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    if family == "modernbert":
        special |= {"cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
    torch.manual_seed(0)
    head.from_config(factory(**{**(SHAPE if more is not DISTILBERT else {}), **special, **more})).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)
    return folder


def slow_but(*quick):
    return [family if family in quick else pytest.param(family, marks=pytest.mark.slow) for family in FAMILIES]


@pytest.mark.parametrize("family", slow_but("albert"))
def test_an_encoder_of_each_family_is_distilled_from_corpus_to_export(tmp_path, family):
    """As checkpoints are published, with a masked-language-model head, which is trained on too."""
    has_word_pieces = FAMILIES[family][1] in (bert, mpnet)
    recipe = load_recipe(
        write_recipe(tmp_path / "tiny.yaml", write_corpus(tmp_path / "corpus")),
        overrides=[
            "teacher.shape=null",
            f"teacher.checkpoint={save_encoder(tmp_path / family, family, head=AutoModelForMaskedLM)}",
            "finetune.masked_language_model={updates: 2, batch_sentences: 8}",
            *([] if has_word_pieces else ["student.vocabulary=trained"]),
        ],
    )
    result = run_pipeline(recipe, tmp_path / "run", processes=1, tell=silent)
    assert set(result.report["models"]["teacher"]["languages"]) == {"en", "no"}
    scored = evaluate_model(
        tmp_path / "run" / "teacher", corpus=str(tmp_path / "corpus"), split="test", languages=(), tell=silent
    )
    assert scored["macro_f1"] == result.report["models"]["teacher"]["macro_f1"]
    assert len(Tagger.from_pretrained(tmp_path / "run" / "export").tag(["Ada Byron lives in Oslo ."])) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_windows_widths_and_padding_of_each_family(tmp_path, family):
    folder = save_encoder(tmp_path, family)
    limit = longest_window(load_config(folder, revision=None))
    teacher = start_teacher(folder, SCHEME, max_pieces=limit, seed=1)
    with torch.no_grad():
        for weight in teacher.model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.1)
    assert teacher.embedding_width == piece_embeddings(teacher).shape[1]
    sentences = [["Ada", "lives", "in", "Oslo"], ["nobody"], ["in"] * 60]
    assert teacher.encoder.encode(sentences).piece_lengths().max() == limit
    predictor = teacher_predictor(teacher, torch.float32)

    def predict(some):
        return compute_word_logits(predictor, teacher.encoder, some, n_tags=len(SCHEME.tags), batch_pieces=400)

    result = predict(sentences)
    assert result.covered.all() and result.logits.std() > 0
    for index, words in enumerate(sentences):
        expected = result.logits[result.offsets[index] : result.offsets[index + 1]]
        np.testing.assert_allclose(predict([words]).logits, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "head", [AutoModelForPreTraining, AutoModelForSequenceClassification], ids=["pretraining", "texts"]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_encoder_of_each_family_starts_a_teacher_whatever_head_it_brings(tmp_path, family, head):
    if type(FAMILIES[family][0]()) not in head._model_mapping:
        pytest.skip("transformers has no such head of this family")
    folder = save_encoder(tmp_path, family, head=head)
    encoder = AutoModel.from_pretrained(folder)
    teacher = start_teacher(folder, SCHEME, max_pieces=16, seed=1)
    for name, weight in teacher.model.base_model.named_parameters():
        assert torch.equal(weight, encoder.get_parameter(name)), name


def test_a_weight_of_the_encoder_that_is_too_many_is_refused(tmp_path):
    """Saved without a head, an encoder's weights have no prefix that would tell them from a head's."""
    folder = save_encoder(tmp_path, "bert")
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.2.output.dense.bias"] = torch.zeros(32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"unexpected \['encoder\.layer\.2\.output\.dense\.bias'\]"):
        start_teacher(folder, SCHEME, max_pieces=16, seed=1)


@pytest.mark.parametrize("family", ["roberta", "modernbert", "eurobert"])
def test_byte_level_tokenizers_see_words_as_in_running_text(tmp_path, family):
    """`Ġin` is what a text model has learnt of the word `in`; loaded again it is no other."""
    tokenizer = load_tokenizer(save_encoder(tmp_path / "given", family))
    tokenizer.save_pretrained(tmp_path / "again")
    for found in (tokenizer, load_tokenizer(tmp_path / "again")):
        encoding = found.backend_tokenizer.encode(["in", "Oslo"], is_pretokenized=True, add_special_tokens=False)
        assert encoding.tokens == ["Ġin", "Ġ", "O", "s", "l", "o"]
        assert encoding.word_ids == [0, 1, 1, 1, 1, 1]
    vocabulary = tokenizer.get_vocab()
    embeddings = torch.arange(len(vocabulary)).float()[:, None]
    rows = carry_embeddings(["in", "##in", "##o"], tokenizer.backend_tokenizer, embeddings)
    assert rows[0].item() == vocabulary["Ġin"]
    assert rows[2].item() == vocabulary["o"]


def test_an_x_mod_without_a_default_language_takes_english(tmp_path):
    teacher = start_teacher(save_encoder(tmp_path, "xmod"), SCHEME, max_pieces=16, seed=1)
    assert teacher.model.config.default_language == "en_XX"


def test_a_teacher_without_a_fast_tokenizer_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("<cls>\n<pad>\n<eos>\n<unk>\nA\n<mask>\n", encoding="utf-8")
    EsmConfig(vocab_size=6).save_pretrained(tmp_path)
    EsmTokenizer(tmp_path / "vocab.txt").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"its tokenizer has no fast version\. Add a tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_embeddings_narrower_than_the_states_are_found_before_training(tmp_path):
    recipe = load_recipe(
        write_recipe(tmp_path / "tiny.yaml", write_corpus(tmp_path / "corpus")),
        overrides=[
            "teacher.shape=null",
            f"teacher.checkpoint={save_encoder(tmp_path / 'albert', 'albert')}",
            "student.vocabulary=trained",
            "student.embedding_width=17",
        ],
    )
    with pytest.raises(RecipeError, match=r"student\.embedding_width 17: .* at most 16 columns"):
        run_pipeline(recipe, tmp_path / "run", processes=1, tell=silent)

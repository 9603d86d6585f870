"""Tiny real teachers, made in the process: a BERT over letter pairs and an XLM-R over SentencePiece's Unigram."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForTokenClassification,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForTokenClassification,
)

from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.teacher import load_teacher
from xtremedistil_ner.models.voting import encode_for, predictors_of, vote_on_rows
from xtremedistil_ner.pieces.vocabulary import SPECIAL_PIECES, wordpiece_tokenizer

SCHEME = LabelScheme(("PER", "LOC"))
MAX_PIECES = 16
WIDTH = 12
LAYERS = 3
LETTERS = "abcde"
PAIRS = [first + second for first in LETTERS for second in LETTERS]
BERT_PIECES = (*SPECIAL_PIECES, *LETTERS, *PAIRS, *(f"##{piece}" for piece in (*LETTERS, *PAIRS)))


def save_bert(folder, *, tags=SCHEME.tags, seed=0):
    """A BERT token classifier with large random weights, its outputs named by `tags`; the folder."""
    tokenizer = wordpiece_tokenizer(BERT_PIECES, lowercase=False, special_rows=True)
    config = BertConfig(
        vocab_size=len(BERT_PIECES),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
        pad_token_id=0,
        **_names(tags),
    )
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]", **special)
    return _save(folder, BertForTokenClassification, config, fast, seed)


def save_xlm_roberta(folder, *, tags=SCHEME.tags, seed=0, positions=40):
    """An XLM-R token classifier; `▁ab` begins a word, `ab` goes on, and `<s> </s>` enclose a sentence; the folder."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -4.0) for letter in LETTERS] + [(pair, -5.0) for pair in PAIRS]
    pieces += [(f"▁{piece}", -5.0) for piece in (*LETTERS, *PAIRS)] + [("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    config = XLMRobertaConfig(
        vocab_size=len(pieces),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=positions + 2,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        **_names(tags),
    )
    special = {"unk_token": "<unk>", "pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>"}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, mask_token="<mask>", bos_token="<s>", eos_token="</s>", **special
    )
    return _save(folder, XLMRobertaForTokenClassification, config, fast, seed)


def load(folder, **options):
    return load_teacher(folder, SCHEME, **{"labels": {}, "max_pieces": MAX_PIECES, **options})


def _names(tags):
    return {"id2label": dict(enumerate(tags)), "label2id": {tag: index for index, tag in enumerate(tags)}}


def _save(folder, factory, config, tokenizer, seed):
    torch.manual_seed(seed)
    model = factory(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm" not in name:
                parameter.normal_(std=0.4)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def vote(votes, sentences, *, dtype=torch.float32, batch_pieces=60):
    """What teachers say of some sentences together."""
    predictors, rows = predictors_of(votes, dtype), encode_for(votes, sentences)
    return vote_on_rows(votes, rows, predictors=predictors, batch_pieces=batch_pieces)

"""A teacher with random weights, for languages that no encoder covers and for use without any download."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from transformers import ModernBertConfig, ModernBertForTokenClassification

from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.pretrained import as_transformers_tokenizer
from xtremedistil_ner.models.teacher import Teacher, assemble_teacher

_LOCAL_ATTENTION = 16
"""Pieces that a local layer sees, half of them on either side; every third layer sees all."""


def build_teacher(
    tokenizer: Tokenizer,
    scheme: LabelScheme,
    *,
    layers: int,
    hidden_width: int,
    heads: int,
    dropout: float,
    max_pieces: int,
    seed: int,
    on_gpu: bool = False,
) -> Teacher:
    """A ModernBERT of the given sizes with random weights and a WordPiece tokenizer, to be trained.

    Not the original BERT: with a few thousand sentences its absolute positions and post-norm layers learn little
    (`docs/log.md`); rotary positions, pre-norm layers and local attention learn from the first epoch on.
    """
    torch.manual_seed(seed)
    names = dict(enumerate(scheme.tags))
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    config = ModernBertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=hidden_width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * hidden_width,
        max_position_embeddings=max(512, max_pieces),
        local_attention=_LOCAL_ATTENTION,
        embedding_dropout=dropout,
        attention_dropout=dropout,
        mlp_dropout=dropout,
        classifier_dropout=dropout,
        pad_token_id=tokenizer.token_to_id("[PAD]"),
        cls_token_id=cls,
        sep_token_id=sep,
        bos_token_id=cls,
        eos_token_id=sep,
        id2label=names,
        label2id={tag: index for index, tag in names.items()},
    )
    fast = as_transformers_tokenizer(tokenizer)
    columns = tuple((index,) for index in names)
    model = ModernBertForTokenClassification(config)
    if not on_gpu:
        model.set_attn_implementation("eager")  # faster than SDPA there: local masks leave its fast path (docs/log.md)
    return assemble_teacher(model, fast, scheme, columns=columns, max_pieces=max_pieces)

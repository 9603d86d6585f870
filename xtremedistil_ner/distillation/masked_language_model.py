"""Masked-language-model training of a teacher's encoder, before it is fine-tuned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForMaskedLM, PreTrainedModel

from xtremedistil_ner.distillation.losses import masked_piece_loss
from xtremedistil_ner.models.on_device import attention_mask
from xtremedistil_ner.models.pretrained import load_model
from xtremedistil_ner.models.teacher import Teacher
from xtremedistil_ner.pieces.encoder import EncodedCorpus
from xtremedistil_ner.processes.world import put_on
from xtremedistil_ner.training.phases import Source
from xtremedistil_ner.training.sampling import BatchPlan


def masked_language_model(
    teacher: Teacher, *, origin: str | None, revision: str | None, seed: int, has_new_pieces: bool = False
) -> PreTrainedModel:
    """A masked-language model that shares its encoder with the teacher, weight by weight.

    Its head comes from the checkpoint `origin` if it has one, else it starts from random weights. A teacher that has
    new pieces, with other meanings than the checkpoint's, keeps only that part of the head which knows no pieces.
    Raises: ModelError when there is no masked-language model of the checkpoint's architecture.
    """
    torch.manual_seed(seed)
    if origin is None:
        model: PreTrainedModel = AutoModelForMaskedLM.from_config(teacher.model.config)
    else:
        model, _ = load_model(AutoModelForMaskedLM, origin, revision=revision)
        if has_new_pieces:
            model.resize_token_embeddings(teacher.model.config.vocab_size, mean_resizing=False)
    setattr(model, model.base_model_prefix, teacher.model.base_model)
    model.tie_weights()
    if has_new_pieces:
        _begin_output_layer_anew(model)
    return model


def _begin_output_layer_anew(model: PreTrainedModel) -> None:
    """Give the output layer the rows of the piece embeddings, which most models share with it, and a bias of zeros.

    RemBERT's has another width than the embeddings: its rows become random.
    """
    decoder, embeddings = model.get_output_embeddings(), model.get_input_embeddings().weight
    with torch.no_grad():
        if decoder.weight.shape == embeddings.shape:
            decoder.weight.copy_(embeddings)
        else:
            decoder.weight.normal_(std=model.config.initializer_range)
        if decoder.bias is not None:
            decoder.bias.zero_()


def masked_source(
    model: PreTrainedModel, teacher: Teacher, encoded: EncodedCorpus, *, plan: BatchPlan, probability: float
) -> Source:
    """Masked pieces of unlabelled text: of a row's n pieces, round(probability * n) and at least one.

    Their number is fixed, so that an update's divisor is known beforehand; their positions are drawn with the seed that
    the loop gives torch for the micro-batch.

    Source: Devlin et al. 2019 (BERT): 80 % become the mask, 10 % a random piece, 10 % stay.
    """
    mask_id = teacher.tokenizer.mask_token_id
    n_prefix, n_suffix = len(teacher.encoder.prefix), len(teacher.encoder.suffix)
    inner = np.maximum(encoded.piece_lengths() - n_prefix - n_suffix, 0)
    counts = np.where(inner > 0, np.maximum(np.round(probability * inner).astype(np.int64), 1), 0)
    n_pieces = len(teacher.tokenizer)

    def loss(rows: NDArray[Any]) -> Tensor:
        batch = teacher.encoder.collate(encoded, rows)
        random = np.random.Generator(np.random.Philox(torch.initial_seed()))
        draw = random.random(batch.input_ids.shape)
        position = np.arange(batch.input_ids.shape[1])[None, :]
        draw[(position < n_prefix) | (position >= (n_prefix + inner[rows])[:, None])] = 2.0  # special pieces, padding
        rank = draw.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")  # 0.7 0.1 2.0 0.4 gives 2 0 3 1
        masked = rank < counts[rows][:, None]
        fate = random.random(batch.input_ids.shape)
        changed = np.where(fate < 0.9, random.integers(0, n_pieces, batch.input_ids.shape), batch.input_ids)
        inputs = np.where(masked, np.where(fate < 0.8, mask_id, changed), batch.input_ids)
        device = next(model.parameters()).device
        with _decoded_at(model, put_on(device, np.flatnonzero(masked))):
            logits = model(input_ids=put_on(device, inputs), attention_mask=attention_mask(model, batch, device)).logits
        return masked_piece_loss(logits, put_on(device, batch.input_ids[masked]))

    return Source("masked pieces", plan, counts, loss)


@contextmanager
def _decoded_at(model: PreTrainedModel, chosen: Tensor) -> Iterator[None]:
    """Compute logits for the masked pieces alone: with a large vocabulary the output layer costs the most.

    Shapes: chosen (masked,) int64, positions in the flattened batch; the model's logits become (masked, vocabulary).
    """
    decoder = model.get_output_embeddings()
    hook = decoder.register_forward_pre_hook(lambda _, inputs: (inputs[0].flatten(0, 1).index_select(0, chosen),))
    try:
        yield
    finally:
        hook.remove()

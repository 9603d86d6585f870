"""The teacher: any encoder or token classifier of `transformers`, by folder or Hub id.

`teacher_labels.py` maps its outputs to tags. An encoder may lack the classifier and bring pooler or
masked-language-model heads; a fine-tuned teacher must have every weight and no other. No code from a checkpoint is
ever run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from xtremedistil_ner.errors import ModelError, RecipeError
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.on_device import attention_mask, queued_predictor
from xtremedistil_ner.models.pretrained import (
    embedding_width,
    load_config,
    load_model,
    load_tokenizer,
    longest_window,
    silent_transformers,
)
from xtremedistil_ner.models.teacher_labels import (
    UNLIKELY,
    Columns,
    LabelMapping,
    begins_with_inside,
    inside_begins,
    match_labels,
    tag_of_label,
)
from xtremedistil_ner.pieces.encoder import PieceBatch, PieceEncoder
from xtremedistil_ner.pieces.predictor import NEVER, QueuedPredictor, compute_word_logits, unheard
from xtremedistil_ner.processes.precision import autocast
from xtremedistil_ner.processes.world import put_on

Words = Sequence[Sequence[str]]

_TAG_FORMAT = "tag_format"
"""A key of ours in the `config.json` of a teacher that was taken as it is."""
_SAMPLE_PIECES = 512
_LABEL_LAYERS = ("classifier", "score")


@dataclass(frozen=True, slots=True)
class Teacher:
    """A token classifier ready to label.

    `columns` lists, for every tag of the scheme, the outputs of the model that mean it. With `tag_format` IOB1, which
    includes IO, they are not yet IOB2 tags: `voting.py` converts them.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    encoder: PieceEncoder
    scheme: LabelScheme
    columns: Columns
    tag_format: Literal["IOB1", "IOB2"] = "IOB2"

    @property
    def width(self) -> int:
        """Width of its states."""
        return int(self.model.config.hidden_size)

    @property
    def embedding_width(self) -> int:
        """Width of its piece embeddings."""
        return embedding_width(self.model.config)

    @property
    def layers(self) -> int:
        """Number of its layers."""
        return int(self.model.config.num_hidden_layers)


def load_teacher(
    source: str | Path,
    scheme: LabelScheme,
    *,
    labels: LabelMapping,
    max_pieces: int,
    revision: str | None = None,
    device: torch.device | None = None,
) -> Teacher:
    """Load a fine-tuned token classifier.

    Raises: ModelError for a missing or unexpected weight, or for labels that do not match the scheme's by name.
    """
    model, unfit = load_model(AutoModelForTokenClassification, source, revision=revision)
    if bad := sorted((*unfit.missing, *unfit.unexpected, *unfit.misshapen)):
        raise ModelError(
            f"{source}: not a whole token classifier; missing, unexpected or misshapen weights: "
            f"{', '.join(bad[:8])}. Set finetune.epochs above 0 to train it as an encoder."
        )
    columns = match_labels(output_names(model.config), scheme, labels, origin=str(source))
    tokenizer = load_tokenizer(source, revision=revision)
    teacher = assemble_teacher(model, tokenizer, scheme, columns=columns, max_pieces=max_pieces, device=device)
    is_iob1 = inside_begins(columns) or getattr(model.config, _TAG_FORMAT, None) == "IOB1"
    return replace(teacher, tag_format="IOB1") if is_iob1 else teacher


def adopt_teacher(
    source: str | Path,
    scheme: LabelScheme,
    *,
    labels: LabelMapping,
    max_pieces: int,
    sample: Words,
    device: torch.device,
    revision: str | None = None,
) -> Teacher:
    """Load a fine-tuned token classifier and give its outputs the names that the scheme has for them.

    Its tags of the sentences of `sample`, computed on `device`, tell IOB1 from IOB2 where its labels do not. The
    result is on the CPU: it is only saved.
    """
    teacher = load_teacher(source, scheme, labels=labels, max_pieces=max_pieces, revision=revision, device=device)
    predictor, n_tags = teacher_predictor(teacher, torch.float32), len(scheme.tags)
    words = compute_word_logits(predictor, teacher.encoder, sample, n_tags=n_tags, batch_pieces=_SAMPLE_PIECES)
    move(teacher.model, torch.device("cpu"))
    if begins_with_inside(words.logits, words.offsets):
        teacher = replace(teacher, tag_format="IOB1")
    config, names = teacher.model.config, output_names(teacher.model.config)
    config.id2label = {index: tag_of_label(name, labels) for index, name in names.items()}
    setattr(config, _TAG_FORMAT, teacher.tag_format)
    return teacher


def start_teacher(
    source: str | Path, scheme: LabelScheme, *, max_pieces: int, seed: int, revision: str | None = None
) -> Teacher:
    """An encoder's weights under a classifier for `scheme`, to be fine-tuned.

    The classifier is new, unless the checkpoint has one for the same tags in the same order.
    Raises: ModelError when a weight of the encoder itself is missing or unexpected.
    """
    torch.manual_seed(seed)
    names = dict(enumerate(scheme.tags))
    config = load_config(source, revision=revision)
    has_these_tags = output_names(config) == names
    config.num_labels = len(names)
    vars(config).pop(_TAG_FORMAT, None)  # the new classifier's is the scheme's
    config.id2label, config.label2id = names, {tag: index for index, tag in names.items()}
    model, unfit = load_model(AutoModelForTokenClassification, source, revision=revision, config=config)
    kinds = (unfit.missing, unfit.unexpected, unfit.misshapen)
    missing, unexpected, misshapen = (
        [name for name in weights if _belongs_to_encoder(name, model)][:5] for weights in kinds
    )
    if missing or unexpected or misshapen:
        raise ModelError(
            f"{source}: these weights do not fit {type(model).__name__}: missing {missing}, "
            f"unexpected {unexpected}, misshapen {misshapen}. Give a checkpoint with its own config.json."
        )
    if not has_these_tags:
        _draw_label_layer(model, already_new=(*unfit.missing, *unfit.misshapen))
    tokenizer, columns = load_tokenizer(source, revision=revision), tuple((index,) for index in names)
    return assemble_teacher(model, tokenizer, scheme, columns=columns, max_pieces=max_pieces)


def assemble_teacher(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    scheme: LabelScheme,
    *,
    columns: Columns,
    max_pieces: int,
    device: torch.device | None = None,
) -> Teacher:
    """A model and its tokenizer as a teacher, in float32 and evaluation mode.

    Raises: RecipeError for windows that the model cannot take; ModelError for a tokenizer of another model.
    """
    limit = longest_window(model.config)
    if max_pieces > limit:
        raise RecipeError(f"teacher.max_pieces {max_pieces}: this checkpoint takes at most {limit} pieces.")
    n_embeddings = len(_embedding_weight(model))
    if len(tokenizer) > n_embeddings:
        raise ModelError(
            f"The tokenizer has {len(tokenizer)} pieces, the checkpoint {n_embeddings} embeddings. "
            "Give the tokenizer that belongs to the checkpoint."
        )
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    encoder = PieceEncoder(tokenizer.backend_tokenizer, max_pieces=max_pieces, pad_id=pad_id)
    model = model.float().eval()
    if device is not None:
        move(model, device)
    return Teacher(model, tokenizer, encoder, scheme, columns)


def output_names(config: PreTrainedConfig) -> dict[int, str]:
    """What a classifier's outputs mean, by number."""
    return {int(index): str(name) for index, name in (config.id2label or {}).items()}


def save_teacher(folder: Path, teacher: Teacher) -> None:
    """Write a teacher in transformers' layout."""
    with silent_transformers():
        teacher.model.save_pretrained(folder)
        teacher.tokenizer.save_pretrained(folder)


def classify_words(teacher: Teacher, batch: PieceBatch, dtype: torch.dtype) -> Tensor:
    """Logits of the words of a batch, in the scheme's order.

    Shapes: result (batch, words, tags) float32.
    """
    device = teacher.model.device
    with autocast(dtype, device):
        outputs = teacher.model(
            input_ids=put_on(device, batch.input_ids), attention_mask=attention_mask(teacher.model, batch, device)
        ).logits
    return tag_logits(teacher, outputs, batch)


def tag_logits(teacher: Teacher, outputs: Tensor, batch: PieceBatch) -> Tensor:
    """A model's outputs at the first pieces of words, put together where several mean one tag.

    A type without an output for `I-` has entities of one word. A `B-` that is left to `tag_format` gets `NEVER`.

    Shapes: outputs (batch, pieces, outputs); result (batch, words, tags) float32, in the scheme's order.
    """
    words = gather_words(outputs, put_on(outputs.device, batch.first_piece)).float()
    if teacher.columns == tuple((index,) for index in range(words.shape[-1])):
        return words
    logits: list[Tensor] = []
    for tag, columns in enumerate(teacher.columns):
        if columns:
            logits.append(torch.stack([words[..., column] for column in columns], dim=-1).logsumexp(dim=-1))
        else:
            logits.append(torch.full_like(words[..., 0], NEVER) if tag % 2 else logits[-1] + UNLIKELY)
    return torch.stack(logits, dim=-1)


def teacher_predictor(teacher: Teacher, dtype: torch.dtype, *, say: Callable[[str], None] = unheard) -> QueuedPredictor:
    """The teacher as a predictor; see `pieces.predictor.Predictor`. It tells `say` when memory ran out."""
    return queued_predictor(lambda batch: classify_words(teacher, batch, dtype), say=say)


def teacher_states(teacher: Teacher, layer: int, dtype: torch.dtype) -> Callable[[PieceBatch], Tensor]:
    """A function that gives the states of one layer at the words of a batch: (batch, words, width) float32.

    Layer 0 is the embeddings' output, `layers` the last layer's.
    """
    require_layer(layer, available=teacher.layers)
    short = _without_layers_above(teacher.model.base_model, layer)

    def states(batch: PieceBatch) -> Tensor:
        device = teacher.model.device
        with torch.no_grad(), autocast(dtype, device):
            input_ids, mask = put_on(device, batch.input_ids), attention_mask(teacher.model, batch, device)
            if short is not None:
                hidden = short(input_ids=input_ids, attention_mask=mask).last_hidden_state
            else:
                output = teacher.model.base_model(input_ids=input_ids, attention_mask=mask, output_hidden_states=True)
                hidden = output.hidden_states[layer]
        return gather_words(hidden, put_on(device, batch.first_piece)).float()

    return states


def require_layer(layer: int, *, available: int) -> None:
    """Raises: RecipeError for a layer of the representation loss that a teacher does not have."""
    if not 0 <= layer <= available:
        raise RecipeError(f"train.teacher_layer {layer}: the teacher has layers 0 to {available}.")


def gather_words(values: Tensor, first_piece: Tensor) -> Tensor:
    """Values at the first pieces of words.

    Shapes: values (batch, pieces, n); first_piece (batch, words) int64; result (batch, words, n).
    """
    return values.gather(1, first_piece.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


def piece_embeddings(teacher: Teacher) -> Tensor:
    """The teacher's piece embeddings. Shapes: (vocabulary, width) float32."""
    return _embedding_weight(teacher.model).detach().float().cpu()


def move(model: nn.Module, device: torch.device) -> None:
    """Move a model's weights to a device, in place."""
    model.to(device)


def _without_layers_above(model: nn.Module, layer: int) -> nn.Module | None:
    """A view of a BERT or RoBERTa encoder that ends at a layer and shares its weights; None for other families.

    The middle layer's states then cost half an encoder. In these families nothing follows the last layer.
    """
    encoder = getattr(model, "encoder", None)
    layers = getattr(encoder, "layer", None)
    known = getattr(getattr(model, "config", None), "model_type", "") in ("bert", "roberta", "xlm-roberta")
    if not known or not isinstance(encoder, nn.Module) or not isinstance(layers, nn.ModuleList):
        return None
    short, view = copy.copy(encoder), copy.copy(model)
    short._modules = {**encoder._modules, "layer": layers[:layer]}
    view._modules = {**model._modules, "encoder": short}
    return view


def _belongs_to_encoder(weight: str, model: PreTrainedModel) -> bool:
    """Whether a weight is the encoder's and not a head's; an encoder by itself is saved without its prefix."""
    parts = {name.partition(".")[0] for name in model.base_model.state_dict()}
    return weight.removeprefix(f"{model.base_model_prefix}.").partition(".")[0] in parts


def _embedding_weight(model: PreTrainedModel) -> Tensor:
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    return weight


def _draw_label_layer(model: PreTrainedModel, *, already_new: tuple[str, ...]) -> None:
    """Random weights for a label layer that came with the checkpoint, whose rows mean other tags."""
    for name, layer in model.named_modules():
        if name in _LABEL_LAYERS and isinstance(layer, nn.Linear) and f"{name}.weight" not in already_new:
            with torch.no_grad():
                layer.weight.normal_(std=model.config.initializer_range)
                if layer.bias is not None:
                    layer.bias.zero_()

"""The teacher: any encoder or token classifier of `transformers`, by folder or Hub id.

Labels are matched by name, never by position. An encoder may lack the classifier and bring pooler or
masked-language-model heads; a fine-tuned teacher must have every weight and no other. No code from a checkpoint is
ever run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from xtremedistil_ner.errors import ModelError, RecipeError
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.pieces import PieceBatch, PieceEncoder, Scorer
from xtremedistil_ner.training.processes import autocast

_ENCODER_MAY_LACK = ("classifier.", "score.", "head.")
_ENCODER_MAY_BRING = ("pooler.", "cls.", "lm_head.", "classifier.", "qa_outputs.", "score.", "head.", "decoder.")


@dataclass(frozen=True, slots=True)
class Teacher:
    """A token classifier ready to label.

    Shapes: `columns` lists for every tag of the scheme the outputs of the model that mean it.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    encoder: PieceEncoder
    scheme: LabelScheme
    columns: tuple[tuple[int, ...], ...]

    @property
    def width(self) -> int:
        """Width of its states."""
        return int(self.model.config.hidden_size)

    @property
    def layers(self) -> int:
        """Number of its layers."""
        return int(self.model.config.num_hidden_layers)


def load_teacher(
    source: str | Path,
    scheme: LabelScheme,
    *,
    labels: Mapping[str, str],
    max_pieces: int,
    revision: str | None = None,
    device: torch.device | None = None,
) -> Teacher:
    """Load a fine-tuned token classifier.

    Raises: ModelError for a missing or unexpected weight, or for labels that do not match the scheme's by name.
    """
    model, info = _from_pretrained(AutoModelForTokenClassification, source, revision=revision)
    bad = [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]
    if bad:
        raise ModelError(
            f"{source}: not a whole token classifier; missing, unexpected or misshapen weights: "
            f"{', '.join(sorted(map(_weight_name, bad))[:8])}. Set finetune.epochs above 0 to train it as an encoder."
        )
    columns = match_labels(output_names(model), scheme, labels, origin=str(source))
    return assemble_teacher(
        model, load_tokenizer(source, revision=revision), scheme, columns=columns, max_pieces=max_pieces, device=device
    )


def adopt_teacher(
    source: str | Path,
    scheme: LabelScheme,
    *,
    labels: Mapping[str, str],
    max_pieces: int,
    revision: str | None = None,
) -> Teacher:
    """Load a fine-tuned token classifier and give its outputs the names that the scheme has for them."""
    teacher = load_teacher(source, scheme, labels=labels, max_pieces=max_pieces, revision=revision)
    names = output_names(teacher.model)
    teacher.model.config.id2label = {index: labels.get(name, name) for index, name in names.items()}
    return teacher


def start_teacher(
    source: str | Path, scheme: LabelScheme, *, max_pieces: int, seed: int, revision: str | None = None
) -> Teacher:
    """An encoder's weights under a new classifier for `scheme`, to be fine-tuned.

    Raises: ModelError when a weight of the encoder itself is missing or unexpected.
    """
    torch.manual_seed(seed)
    names = dict(enumerate(scheme.tags))
    model, info = _from_pretrained(
        AutoModelForTokenClassification,
        source,
        revision=revision,
        num_labels=len(names),
        id2label=names,
        label2id={tag: index for index, tag in names.items()},
    )
    missing = [key for key in info["missing_keys"] if not key.startswith(_ENCODER_MAY_LACK)]
    unexpected = [key for key in info["unexpected_keys"] if not any(part in key for part in _ENCODER_MAY_BRING)]
    misshapen = sorted(map(_weight_name, info["mismatched_keys"]))
    mismatched = [key for key in misshapen if not key.startswith(_ENCODER_MAY_LACK)]
    if missing or unexpected or mismatched:
        raise ModelError(
            f"{source}: these weights do not fit {type(model).__name__}: missing {missing[:5]}, "
            f"unexpected {unexpected[:5]}, misshapen {mismatched[:5]}. Give a checkpoint with its own config.json."
        )
    columns = tuple((index,) for index in names)
    return assemble_teacher(
        model, load_tokenizer(source, revision=revision), scheme, columns=columns, max_pieces=max_pieces
    )


def assemble_teacher(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    scheme: LabelScheme,
    *,
    columns: tuple[tuple[int, ...], ...],
    max_pieces: int,
    device: torch.device | None = None,
) -> Teacher:
    """A model and its tokenizer as a teacher, in float32 and evaluation mode.

    Raises: RecipeError for windows that the model cannot take; ModelError for a tokenizer of another model.
    """
    config = model.config
    # RoBERTa's positions start behind its padding index
    offset = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    limit = config.max_position_embeddings - offset
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


def output_names(model: PreTrainedModel) -> dict[int, str]:
    """What a classifier's outputs mean, by number."""
    return {int(index): str(name) for index, name in (model.config.id2label or {}).items()}


def save_teacher(folder: Path, teacher: Teacher) -> None:
    """Write a teacher in transformers' layout."""
    with silent_transformers():
        teacher.model.save_pretrained(folder)
        teacher.tokenizer.save_pretrained(folder)


def load_tokenizer(source: str | Path, *, revision: str | None = None) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a checkpoint, WordPiece or SentencePiece.

    Raises: ModelError when there is none.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source), revision=revision or "main")
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"{source}: no tokenizer that transformers can load ({_first_line(error)}).") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(f"{source}: its tokenizer has no fast version. Add a tokenizer.json to the checkpoint.")
    return tokenizer


def match_labels(
    id2label: Mapping[int, str], scheme: LabelScheme, mapping: Mapping[str, str], *, origin: str
) -> tuple[tuple[int, ...], ...]:
    """For every tag of the scheme, the outputs of a checkpoint that mean it, by name.

    Raises: ModelError that prints both sets and the mapping option when one does not cover the other.
    """
    meaning = {index: mapping.get(name, name) for index, name in id2label.items()}
    columns = tuple(tuple(index for index, name in sorted(meaning.items()) if name == tag) for tag in scheme.tags)
    foreign = sorted({name for name in meaning.values() if name not in scheme.tags})
    missing = [tag for tag, found in zip(scheme.tags, columns, strict=True) if not found]
    if foreign or missing:
        raise ModelError(
            f"{origin}: labels do not match the corpus. Checkpoint: {', '.join(id2label.values())}. "
            f"Corpus: {', '.join(scheme.tags)}. Without a match: {', '.join([*foreign, *missing])}. "
            "Say which means which with teacher.labels, for example {LABEL_0: O, B-MISC: O}, or fine-tune "
            "with finetune.epochs above 0."
        )
    return columns


def classify_words(teacher: Teacher, batch: PieceBatch, dtype: torch.dtype) -> Tensor:
    """Logits of the words of a batch, in the scheme's order.

    Shapes: result (batch, words, tags) float32.
    """
    device = teacher.model.device
    with autocast(dtype, device):
        logits = teacher.model(
            input_ids=torch.from_numpy(batch.input_ids).to(device),
            attention_mask=torch.from_numpy(batch.attention_mask).to(device),
        ).logits
    words = gather_words(logits, torch.from_numpy(batch.first_piece).to(device)).float()
    if teacher.columns == tuple((index,) for index in range(words.shape[-1])):
        return words
    return torch.stack([words[..., list(found)].logsumexp(dim=-1) for found in teacher.columns], dim=-1)


def teacher_scorer(teacher: Teacher, dtype: torch.dtype) -> Scorer:
    """The teacher as a scorer; see `pieces.Scorer`."""

    @torch.inference_mode()
    def score(batch: PieceBatch) -> NDArray[np.float32]:
        return classify_words(teacher, batch, dtype).cpu().numpy()

    return score


def teacher_states(teacher: Teacher, layer: int, dtype: torch.dtype) -> Callable[[PieceBatch], Tensor]:
    """A function that gives the states of one layer at the words of a batch: (batch, words, width) float32.

    Layer 0 is the embeddings' output, `layers` the last layer's.
    """
    if not 0 <= layer <= teacher.layers:
        raise RecipeError(f"train.teacher_layer {layer}: the teacher has layers 0 to {teacher.layers}.")

    short = _without_layers_above(teacher.model.base_model, layer)

    def states(batch: PieceBatch) -> Tensor:
        device = teacher.model.device
        with torch.no_grad(), autocast(dtype, device):
            input_ids = torch.from_numpy(batch.input_ids).to(device)
            attention_mask = torch.from_numpy(batch.attention_mask).to(device)
            if short is not None:
                hidden = short(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            else:
                output = teacher.model.base_model(
                    input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True
                )
                hidden = output.hidden_states[layer]
        return gather_words(hidden, torch.from_numpy(batch.first_piece).to(device)).float()

    return states


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


def _embedding_weight(model: PreTrainedModel) -> Tensor:
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    return weight


def _from_pretrained(
    factory: Any,  # noqa: ANN401 - one of transformers' Auto classes
    source: str | Path,
    *,
    revision: str | None,
    **options: Any,  # noqa: ANN401
) -> tuple[PreTrainedModel, dict[str, Sequence[Any]]]:
    try:
        config = AutoConfig.from_pretrained(str(source), revision=revision or "main")
        if "num_labels" in options:
            config.num_labels = options.pop("num_labels")
            config.id2label, config.label2id = options.pop("id2label"), options.pop("label2id")
        with silent_transformers():
            model, info = factory.from_pretrained(
                str(source),
                config=config,
                revision=revision or "main",
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # the caller names them
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{source}: not a checkpoint that transformers can load ({_first_line(error)}). "
            "Give a folder with config.json and model.safetensors, or a Hub id that is reachable or in the cache."
        ) from error
    return model, info


@contextmanager
def silent_transformers() -> Iterator[None]:
    """Keep transformers' bars and its load report off the terminal inside the block: loading is checked here."""
    verbosity = transformers_logging.get_verbosity()
    hook = transformers_logging.set_tqdm_hook(
        lambda factory, arguments, options: transformers_logging.EmptyTqdm(*arguments, **options)
    )
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        transformers_logging.set_tqdm_hook(hook)


def _weight_name(key: str | Sequence[Any]) -> str:
    """The name of a weight; transformers lists a misshapen one with its shapes."""
    return key if isinstance(key, str) else str(key[0])


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

"""Checkpoints of `transformers`, by folder or Hub id: configuration, weights and fast tokenizer.

Errors name the checkpoint and say what to give instead. Nothing is printed, no code from a checkpoint is run, and
weights are read from safetensors alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, normalizers
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from xtremedistil_ner.errors import ModelError, first_line

_ENGLISH = "en_XX"
_COUNTS_FROM_PADDING = ("roberta", "camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "xmod")
"""Families whose positions begin after the id of the padding piece, as RoBERTa's do."""


@dataclass(frozen=True, slots=True)
class UnfitWeights:
    """Names of the weights that a checkpoint lacks, that it has too many, and those of another shape."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]


def as_transformers_tokenizer(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer with BERT's special pieces, as transformers saves it."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def counts_from_padding(config: PreTrainedConfig) -> bool:
    """Whether positions begin after the id of the padding piece, as RoBERTa's do."""
    return any(name in config.model_type for name in _COUNTS_FROM_PADDING)


def load_config(source: str | Path, *, revision: str | None) -> PreTrainedConfig:
    """The configuration of a checkpoint.

    Raises: ModelError when there is none.
    """
    with _named_in_errors(source):
        config: PreTrainedConfig = AutoConfig.from_pretrained(str(source), revision=revision or "main")
        return config


def load_model(
    factory: Any,  # noqa: ANN401 - one of transformers' Auto classes
    source: str | Path,
    *,
    revision: str | None,
    config: PreTrainedConfig | None = None,
) -> tuple[PreTrainedModel, UnfitWeights]:
    """The model of a checkpoint in float32, and which weights do not fit: that is the caller's to judge.

    `config`, if given, replaces the checkpoint's own.
    Raises: ModelError when there is nothing that `factory` can make a model of, or a weight is not finite.
    """
    with _named_in_errors(source), silent_transformers():
        model, info = factory.from_pretrained(
            str(source),
            config=config,
            revision=revision or "main",
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    if model.config.model_type == "xmod":
        _prepare_adapters(model)
    if broken := [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]:
        raise ModelError(f"{source}: weights that are not finite: {', '.join(broken[:8])}. Give a sound checkpoint.")
    kinds = ("missing_keys", "unexpected_keys", "mismatched_keys")
    return model, UnfitWeights(*(tuple(sorted(map(_weight_name, info[kind]))) for kind in kinds))


def _prepare_adapters(model: PreTrainedModel) -> None:
    """Let an X-MOD, whose adapters are one per language, run without a named language, and in bf16."""
    languages = model.config.languages
    if model.config.default_language is None:
        model.config.default_language = _ENGLISH if _ENGLISH in languages else languages[0]
    for name, module in model.named_modules():
        if name.rpartition(".")[0].endswith("adapter_modules"):  # their sum is written into a tensor of float32
            module.register_forward_hook(lambda _, inputs, output: output.to(inputs[0].dtype))


def load_tokenizer(source: str | Path, *, revision: str | None = None) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a checkpoint, WordPiece or SentencePiece.

    Raises: ModelError when there is none.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source), revision=revision or "main")
    except Exception as error:  # of tokenizers, which raises it bare, and of all that transformers tries
        raise ModelError(f"{source}: no tokenizer that transformers can load ({first_line(error)}).") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(f"{source}: its tokenizer has no fast version. Add a tokenizer.json to the checkpoint.")
    _put_spaces_before_words(tokenizer.backend_tokenizer)
    return tokenizer


def longest_window(config: PreTrainedConfig) -> int:
    """How many pieces a checkpoint takes at most, special pieces included."""
    offset = config.pad_token_id + 1 if counts_from_padding(config) else 0
    return int(getattr(config, "max_position_embeddings", sys.maxsize) - offset)


def embedding_width(config: PreTrainedConfig) -> int:
    """Width of a checkpoint's piece embeddings; in ALBERT, ELECTRA and RemBERT it is not that of the states."""
    names = ("input_embedding_size", "embedding_size", "hidden_size")
    return int(next(getattr(config, name) for name in names if hasattr(config, name)))


def _put_spaces_before_words(tokenizer: Tokenizer) -> None:
    """Give byte-level tokenizers words as running text has them: `Ġword` and `word` are different pieces.

    `add_prefix_space`, which does it in transformers, would do it to every part of a word that is split further.
    """
    if "ByteLevel" not in _state(tokenizer.pre_tokenizer) or "Prepend" in _state(tokenizer.normalizer):
        return
    if '"add_prefix_space":true' not in _state(tokenizer.pre_tokenizer):
        before = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
        tokenizer.normalizer = normalizers.Sequence([*before, normalizers.Prepend(" ")])


def _state(part: object) -> str:
    return part.__getstate__().decode() if part is not None else ""  # type: ignore[attr-defined]


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


@contextmanager
def _named_in_errors(source: str | Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # a configuration's fields, the Hub, safetensors and torch have errors of their own
        raise ModelError(
            f"{source}: not a checkpoint that transformers can load ({first_line(error)}). "
            "Give a folder with config.json and model.safetensors, or a Hub id that is reachable or in the cache."
        ) from error

"""A trained student on disk, in transformers' layout, and as a scorer.

The folder has `config.json`, `model.safetensors`, `tokenizer.json` and `tokenizer_config.json`, so that
`xtremedistil_ner.hf` loads it with transformers' own classes. Loading here is stricter than there: one missing,
unexpected, misshapen or half-precision weight is an error that names it, where `from_pretrained` only warns.
Equal weights give equal bytes; no file has a time or a library version in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from xtremedistil_ner.errors import ModelError, UsageError
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.bilstm import BiLstm, BiLstmShape
from xtremedistil_ner.pieces import PieceBatch, PieceEncoder, Scorer, load_encoder

MODEL_TYPE = "xner-bilstm"
ARCHITECTURE = "BiLstmForTokenClassification"
STUDENT_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
_PREFIX = "network."  # the attribute of the transformers class that holds the network
_NO_LENGTH_LIMIT = 10**30  # transformers' sign for it: a BiLSTM reads rows of any length, nothing is truncated


@dataclass(frozen=True, slots=True)
class LoadedStudent:
    """A student read from its folder; the network is in evaluation mode."""

    network: BiLstm
    encoder: PieceEncoder
    scheme: LabelScheme
    config: dict[str, Any]


def save_student(
    folder: Path,
    network: BiLstm,
    tokenizer: Tokenizer,
    scheme: LabelScheme,
    *,
    lowercase: bool,
    max_pieces: int,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a student's folder; `extra` are further keys of `config.json`.

    The projection of a student with a direct head is left out: it only serves the representation loss.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    shape = network.shape.to_dict()
    del shape["tags"]  # transformers counts them in id2label
    config = {
        **(extra or {}),
        "model_type": MODEL_TYPE,
        "architectures": [ARCHITECTURE],
        **shape,
        "id2label": {str(index): tag for index, tag in enumerate(scheme.tags)},
        "label2id": {tag: index for index, tag in enumerate(scheme.tags)},
        "max_pieces": max_pieces,
        "pad_token_id": tokenizer.token_to_id("[PAD]"),
        "dtype": "float32",
    }
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": _NO_LENGTH_LIMIT,
        "padding_side": "right",
        "do_lower_case": lowercase,
        "clean_up_tokenization_spaces": False,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
    }
    _write_json(folder / "config.json", config)
    _write_json(folder / "tokenizer_config.json", tokenizer_config)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    weights = {
        _PREFIX + name: tensor.detach().to("cpu", torch.float32).contiguous()
        for name, tensor in network.state_dict().items()
        if network.shape.head == "projected" or not name.startswith("projection.")
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def load_student(folder: Path) -> LoadedStudent:
    """Read a student's folder.

    Raises: ModelError naming everything that is missing, left over or of another shape.
    """
    config = _read_config(folder / "config.json")
    scheme = _read_scheme(config, folder / "config.json")
    shape = _read_shape(config, len(scheme.tags), folder / "config.json")
    network = BiLstm(shape)
    network.load_state_dict(_read_weights(folder / "model.safetensors", network))
    max_pieces = config.get("max_pieces")
    if not isinstance(max_pieces, int) or max_pieces < 1:
        raise ModelError(f"{folder / 'config.json'}: max_pieces is {max_pieces!r}, not a positive number.")
    encoder = load_encoder(folder, max_pieces=max_pieces)
    n_pieces = encoder.tokenizer.get_vocab_size(with_added_tokens=True)
    if n_pieces > shape.vocabulary_size:
        raise ModelError(
            f"{folder}: the tokenizer has {n_pieces} pieces, the model {shape.vocabulary_size} embeddings. "
            "Put the tokenizer of this model beside it."
        )
    return LoadedStudent(network.eval(), encoder, scheme, config)


def student_scorer(network: BiLstm, *, device: torch.device | str = "cpu") -> Scorer:
    """Word logits by a torch student, which moves to `device` and keeps its training or evaluation mode.

    Only first pieces are classified: projection and classifier cost as much as the LSTM.
    """
    network.to(device)

    def score(batch: PieceBatch) -> NDArray[np.float32]:
        if batch.input_ids.shape[1] == 0:  # only words without a piece
            return np.zeros((*batch.first_piece.shape, network.shape.tags), dtype=np.float32)
        was_training = network.training
        network.eval()
        try:
            with torch.inference_mode():
                hidden = network.hidden(
                    torch.from_numpy(batch.input_ids).to(device), torch.from_numpy(batch.attention_mask).to(device)
                )
                first_piece = torch.from_numpy(batch.first_piece).to(device).unsqueeze(-1)
                words = hidden.gather(1, first_piece.expand(-1, -1, hidden.shape[-1]))
                logits: NDArray[np.float32] = network.classify(words).float().cpu().numpy()
                return logits
        finally:
            network.train(was_training)

    return score


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: missing or broken ({error}). Give the folder of a student.") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != MODEL_TYPE:
        raise ModelError(f"{path}: model_type is {kind!r}, not {MODEL_TYPE!r}. Give the folder of a BiLSTM student.")
    return dict(config)


def _read_scheme(config: Mapping[str, Any], path: Path) -> LabelScheme:
    try:
        names = {int(index): str(tag) for index, tag in config["id2label"].items()}
        tags = tuple(names[index] for index in range(len(names)))
        scheme = LabelScheme(tuple(tag[2:] for tag in tags[1::2]))
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise ModelError(f"{path}: id2label is no numbered list of tags ({error}).") from error
    if scheme.tags != tags:
        raise ModelError(f"{path}: the tags are {', '.join(tags)}. Expected {', '.join(scheme.tags)}.")
    return scheme


def _read_shape(config: Mapping[str, Any], n_tags: int, path: Path) -> BiLstmShape:
    values: dict[str, Any] = {"tags": n_tags}
    problems = []
    for field in fields(BiLstmShape):
        value = values[field.name] = values.get(field.name, config.get(field.name))
        if field.name == "head":
            valid = value in ("projected", "direct")
        elif field.name == "dropout":
            valid = isinstance(value, int | float) and 0 <= value < 1
        else:
            valid = isinstance(value, int) and value > 0
        if not valid:
            problems.append(f"{field.name} is {value!r}")
    if problems:
        raise ModelError(f"{path}: no shape of a student: {', '.join(problems)}.")
    return BiLstmShape(**values)


def _read_weights(path: Path, network: BiLstm) -> dict[str, torch.Tensor]:
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: missing or broken ({error}). Train or export the student again.") from error
    expected = {_PREFIX + name: tensor for name, tensor in network.state_dict().items()}
    problems = [f"{name} is missing" for name in expected if name not in weights]
    problems += [f"{name} is unexpected" for name in sorted(weights) if name not in expected]
    for name, tensor in weights.items():
        if name in expected and tensor.shape != expected[name].shape:
            problems.append(f"{name} is {_format_shape(tensor.shape)}, expected {_format_shape(expected[name].shape)}")
        elif name in expected and tensor.dtype != torch.float32:
            problems.append(f"{name} is {tensor.dtype}, expected torch.float32")
    if problems:
        raise ModelError(f"{path}: does not fit its config.json: {'; '.join(problems)}.")
    return {name.removeprefix(_PREFIX): tensor for name, tensor in weights.items()}


def _format_shape(shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, shape))})"


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")

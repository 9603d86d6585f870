"""A trained student on disk, in transformers' layout, and as a predictor.

The folder has `config.json`, `model.safetensors`, `tokenizer.json` and `tokenizer_config.json`. A BiLSTM or a
convolutional student loads with transformers' own classes after `import xtremedistil_ner.hf`; a transformer is a stock
BERT, needs nothing of ours, and has a `vocab.txt` beside the rest for what reads no `tokenizer.json`. Loading here is
stricter than there: one missing, unexpected, misshapen or half-precision weight is an error that names it, where
`from_pretrained` only warns. Equal weights give equal bytes; no file has a time or a library version in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from xtremedistil_ner.errors import ModelError
from xtremedistil_ner.labels import LabelScheme, Transitions
from xtremedistil_ner.models.kinds import StudentNetwork, kind_of
from xtremedistil_ner.models.student_config import (
    read_config,
    read_max_pieces,
    read_network,
    read_scheme,
    read_transitions,
    student_config,
)
from xtremedistil_ner.pieces.encoder import PieceBatch, PieceEncoder, load_encoder
from xtremedistil_ner.pieces.predictor import Predictor

WEIGHTS_FILE = "model.safetensors"
STUDENT_FILES = ("config.json", WEIGHTS_FILE, "tokenizer.json", "tokenizer_config.json")
_VOCABULARY_FILE = "vocab.txt"
_PREFIX = "network."  # the attribute of the transformers class that holds the network
_STOCK_PREFIX = "model."  # the attribute of a stock student that holds the transformers class
_NO_LENGTH_LIMIT = 10**30  # transformers' sign for it: our own students read rows of any length, nothing is truncated


@dataclass(frozen=True, slots=True)
class LoadedStudent:
    """A student read from its folder; the network is in evaluation mode, and a CRF is no part of it.

    Shapes: transitions (tags + 1, tags) float32, what decoding adds.
    """

    network: StudentNetwork
    encoder: PieceEncoder
    scheme: LabelScheme
    config: dict[str, Any]
    transitions: Transitions | None = None

    @property
    def max_pieces(self) -> int:
        """Longest row, special pieces included."""
        return int(self.config["max_pieces"])

    @property
    def parameters(self) -> int:
        """Number of weights, embeddings and the scores of a CRF included."""
        scores = 0 if self.transitions is None else self.transitions.size
        return count_parameters(self.network) + scores


def count_parameters(network: torch.nn.Module) -> int:
    """All weights of a network, embeddings included."""
    return sum(weight.numel() for weight in network.parameters())


def save_student(
    folder: Path,
    network: StudentNetwork,
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
    config = student_config(network, scheme, max_pieces=max_pieces, pad_id=tokenizer.get_vocab()["[PAD]"])
    _write_json(folder / "config.json", {**(extra or {}), **config})
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(network, lowercase, max_pieces))
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    if not kind_of(network).is_own:
        ids = tokenizer.get_vocab()
        (folder / _VOCABULARY_FILE).write_text("\n".join(sorted(ids, key=ids.__getitem__)) + "\n", encoding="utf-8")
    weights = {
        name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in _stored_weights(network).items()
    }
    save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def student_files(network: StudentNetwork) -> tuple[str, ...]:
    """The files of a student's folder."""
    return STUDENT_FILES if kind_of(network).is_own else (*STUDENT_FILES, _VOCABULARY_FILE)


def is_for_transformers(name: str) -> bool:
    """Whether a student's file serves transformers alone: an ONNX graph needs the other ones."""
    return name in (WEIGHTS_FILE, _VOCABULARY_FILE)


def load_student(folder: Path) -> LoadedStudent:
    """Read a student's folder; `config.json` says which kind it is.

    Raises: ModelError naming everything that is missing, left over, of another shape or not finite.
    """
    path = folder / "config.json"
    config = read_config(path)
    scheme = read_scheme(config, path)
    network = read_network(config, len(scheme.tags), path)
    _load_weights(folder / WEIGHTS_FILE, network)
    encoder = load_encoder(folder, max_pieces=read_max_pieces(config, network, path))
    n_pieces = encoder.tokenizer.get_vocab_size(with_added_tokens=True)
    if n_pieces > network.shape.vocabulary_size:
        raise ModelError(
            f"{folder}: the tokenizer has {n_pieces} pieces, the model {network.shape.vocabulary_size} embeddings. "
            "Put the tokenizer of this model beside it."
        )
    return LoadedStudent(network.eval(), encoder, scheme, config, read_transitions(config, scheme, path))


def student_predictor(network: StudentNetwork, *, device: torch.device | str = "cpu") -> Predictor:
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


def _tokenizer_config(network: StudentNetwork, lowercase: bool, max_pieces: int) -> dict[str, Any]:
    stock = not kind_of(network).is_own
    return {
        "tokenizer_class": "BertTokenizer" if stock else "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": max_pieces if stock else _NO_LENGTH_LIMIT,
        "padding_side": "right",
        "do_lower_case": lowercase,
        "clean_up_tokenization_spaces": False,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        **({"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"} if stock else {}),
    }


def _stored_weights(network: StudentNetwork) -> dict[str, torch.Tensor]:
    """What is saved of a network, under transformers' names; the tensors are the network's own.

    The scores of a CRF are in `config.json` instead: they have no part in the logits.
    """
    is_own = kind_of(network).is_own
    return {
        _PREFIX + name if is_own else name.removeprefix(_STOCK_PREFIX): tensor
        for name, tensor in network.state_dict().items()
        if not name.startswith("crf.") and (network.shape.head == "projected" or not name.startswith("projection."))
    }


def _load_weights(path: Path, network: StudentNetwork) -> None:
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: missing or broken ({error}). Train or export the student again.") from error
    expected = _stored_weights(network)
    problems = [f"{name} is missing" for name in expected if name not in weights]
    problems += [f"{name} is unexpected" for name in sorted(weights) if name not in expected]
    for name, tensor in weights.items():
        if name in expected and tensor.shape != expected[name].shape:
            problems.append(f"{name} is {_format_shape(tensor.shape)}, expected {_format_shape(expected[name].shape)}")
        elif name in expected and tensor.dtype != torch.float32:
            problems.append(f"{name} is {tensor.dtype}, expected torch.float32")
    if problems:
        raise ModelError(f"{path}: does not fit its config.json: {'; '.join(problems)}.")
    if broken := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise ModelError(
            f"{path}: weights that are not finite: {', '.join(broken)}. Train or export the student again."
        )
    for name, tensor in expected.items():
        tensor.copy_(weights[name])


def _format_shape(shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, shape))})"


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")

"""`config.json` of a student: what kind it is, its sizes, its tags and its window.

A BiLSTM is `xner-bilstm`, a convolutional student `xner-cnn`. A transformer is a stock `bert`, which a teacher may be
as well: a student says in `max_pieces` how long the windows are that it was trained on, a key that no other model has.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xtremedistil_ner.errors import ModelError, UsageError
from xtremedistil_ner.labels import LabelScheme, Transitions
from xtremedistil_ner.models.kinds import KIND_OF_MODEL_TYPE, StudentNetwork, kind_of
from xtremedistil_ner.models.shape import read_shape, shape_values
from xtremedistil_ner.run_folder.whole_files import read_json


def is_student(config: Mapping[str, Any]) -> bool:
    """Whether a `config.json` is a student's."""
    model_type = config.get("model_type")
    kind = KIND_OF_MODEL_TYPE.get(model_type) if isinstance(model_type, str) else None
    return kind is not None and (kind.is_own or "max_pieces" in config)


def student_config(network: StudentNetwork, scheme: LabelScheme, *, max_pieces: int, pad_id: int) -> dict[str, Any]:
    """The entries of `config.json` by which transformers and `load_student` build the network again."""
    kind = kind_of(network)
    shape = shape_values(network.shape)
    del shape["tags"]  # transformers counts them in id2label
    return {
        "model_type": kind.model_type,
        "architectures": [kind.architecture],
        **shape,
        "id2label": {str(index): tag for index, tag in enumerate(scheme.tags)},
        "label2id": {tag: index for index, tag in enumerate(scheme.tags)},
        "max_pieces": max_pieces,
        "pad_token_id": pad_id,
        **({} if network.crf is None else {"transitions": network.crf.transitions().tolist()}),
        "dtype": "float32",
    }


def read_config(path: Path) -> dict[str, Any]:
    """A student's `config.json`.

    Raises: ModelError for a broken file or another kind of model.
    """
    config = read_json(path, remedy="Give the folder of a student.", complaint=ModelError)
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in KIND_OF_MODEL_TYPE:
        known = ", ".join(map(repr, KIND_OF_MODEL_TYPE))
        raise ModelError(f"{path}: model_type is {model_type!r}, none of {known}. Give the folder of a student.")
    return config


def read_scheme(config: Mapping[str, Any], path: Path) -> LabelScheme:
    """The tags of a `config.json`, in their order.

    Raises: ModelError.
    """
    try:
        names = {int(index): str(tag) for index, tag in config["id2label"].items()}
        return LabelScheme.from_ordered_tags(names[index] for index in range(len(names)))
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise ModelError(f"{path}: id2label is no numbered list of tags ({error}).") from error


def read_transitions(config: Mapping[str, Any], scheme: LabelScheme, path: Path) -> Transitions | None:
    """What decoding adds to the logits of a student with a CRF; none for other students.

    Shapes: result (tags + 1, tags) float32.
    Raises: ModelError.
    """
    value = config.get("transitions")
    if value is None:
        return None
    shape = (len(scheme.tags) + 1, len(scheme.tags))
    try:
        transitions = np.array(value, dtype=np.float32)
    except (TypeError, ValueError):
        transitions = np.zeros(0, dtype=np.float32)
    if transitions.shape != shape or not np.isfinite(transitions).all():
        raise ModelError(f"{path}: transitions are no {shape[0]} rows of {shape[1]} numbers. Train the student again.")
    return transitions


def read_network(config: Mapping[str, Any], n_tags: int, path: Path) -> StudentNetwork:
    """A network of the sizes that a `config.json` gives, with random weights.

    Raises: ModelError naming every size that is missing or wrong.
    """
    kind = KIND_OF_MODEL_TYPE[config["model_type"]]
    return kind.network(read_shape(kind.shape, {**config, "tags": n_tags}, path))


def read_max_pieces(config: Mapping[str, Any], network: StudentNetwork, path: Path) -> int:
    """The longest window of a student.

    Raises: ModelError when there is none, or one that the network cannot read.
    """
    limit = getattr(network.shape, "positions", None)
    value = config.get("max_pieces")
    if not isinstance(value, int) or value < 1 or (limit is not None and value > limit):
        expected = "a positive number" if limit is None else f"a number from 1 to {limit}"
        raise ModelError(f"{path}: max_pieces is {value!r}, not {expected}.")
    return value

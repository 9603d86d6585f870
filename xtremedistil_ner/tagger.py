"""Text in, entities out, from an export folder: numpy, `tokenizers` and ONNX Runtime, no torch.

A service imports this in a fraction of the time that torch takes. Nothing of a folder is used before its sha256 was
compared with the manifest. Texts of any length are tagged whole, in overlapping windows; offsets always count code
points of the text as it was given, so that `text[entity.start : entity.end] == entity.text`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from xtremedistil_ner.corpus.words import split_words
from xtremedistil_ner.errors import ModelError, UsageError
from xtremedistil_ner.labels import LabelScheme, Transitions, decode_tags, spans_of
from xtremedistil_ner.pieces import PieceBatch, PieceEncoder, load_encoder
from xtremedistil_ner.rundir import MANIFEST, sha256_file
from xtremedistil_ner.word_logits import Scorer, score_words

ONNX_FILE = "onnx/model.onnx"
EXPORT_SCHEMA = 1
_NEEDED_FILES = (ONNX_FILE, "tokenizer.json", "tokenizer_config.json")
_BATCH_PIECES = 1024  # fits the second-level cache; larger budgets were not faster on CPU
_CHUNK_SENTENCES = 2048  # bounds memory, however many texts one call brings


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity of a text. Units: start and end in code points; score is a probability, the mean over its words."""

    text: str
    type: str
    start: int
    end: int
    score: float


class Tagger:
    """A student that tags raw text or sentences of words; safe to share between threads."""

    def __init__(
        self, scorer: Scorer, encoder: PieceEncoder, scheme: LabelScheme, transitions: Transitions | None = None
    ) -> None:
        self.scorer = scorer
        self.encoder = encoder
        self.scheme = scheme
        self.transitions = transitions

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, threads: int = 1) -> Tagger:
        """Load an export folder; `threads` is for one call of the model.

        Raises: ModelError when a file is missing, foreign, or not what the manifest says.
        """
        path = Path(folder)
        verify_export(path)
        session = _open_session(path / ONNX_FILE, threads)
        scheme, max_pieces, transitions = _read_metadata(session, path / ONNX_FILE)
        encoder = load_encoder(path, max_pieces=max_pieces)
        return cls(session_scorer(session, n_tags=len(scheme.tags)), encoder, scheme, transitions)

    def tag(self, texts: Sequence[str]) -> list[list[Entity]]:
        """Entities of each text, in the order they stand there."""
        _demand_many(texts, "tag([text])")
        return list(self.tag_stream(texts, batch=_CHUNK_SENTENCES))

    def tag_words(self, sentences: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
        """One IOB2 tag per word, for sentences that are words already."""
        for words in (sentences, *sentences):
            _demand_many(words, "tag_words([[word, word, …], …])")
        result: list[tuple[str, ...]] = []
        for start in range(0, len(sentences), _CHUNK_SENTENCES):
            chunk = sentences[start : start + _CHUNK_SENTENCES]
            result += [self.scheme.decode(ids) for ids, _ in self._tag_words(chunk)]
        return result

    def tag_stream(self, lines: Iterable[str], batch: int = 256) -> Iterator[list[Entity]]:
        """Entities of each line, in order; at most `batch` lines are held at a time."""
        if batch < 1:
            raise UsageError(f"batch is {batch}. Give a positive number.")
        rest = iter(lines)
        while texts := list(islice(rest, batch)):
            places = [split_words(text) for text in texts]
            tagged = self._tag_words([[word for word, _, _ in words] for words in places])
            for text, words, (ids, scores) in zip(texts, places, tagged, strict=True):
                yield self._entities(text, words, ids, scores)

    def _entities(
        self, text: str, words: Sequence[tuple[str, int, int]], ids: NDArray[np.int16], scores: NDArray[np.float64]
    ) -> list[Entity]:
        entities = []
        for span in spans_of(ids, self.scheme):
            start, end = words[span.start][1], words[span.stop - 1][2]
            score = float(scores[span.start : span.stop].mean())
            entities.append(Entity(text[start:end], span.type, start, end, score))
        return entities

    def _tag_words(self, sentences: Sequence[Sequence[str]]) -> Iterator[tuple[NDArray[np.int16], NDArray[np.float64]]]:
        """Tags of each sentence and their probabilities.

        Shapes: tag ids (words,) int16, probabilities (words,) float64.
        """
        logits, _, offsets = score_words(
            self.scorer, self.encoder, sentences, n_tags=len(self.scheme.tags), batch_pieces=_BATCH_PIECES
        )
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        for start, stop in pairwise(offsets):
            ids = decode_tags(logits[start:stop], self.scheme, self.transitions)
            yield ids, probabilities[np.arange(start, stop), ids]


def session_scorer(session: onnxruntime.InferenceSession, *, n_tags: int) -> Scorer:
    """Word logits by an ONNX graph with the inputs and the output of an export."""

    def score(batch: PieceBatch) -> NDArray[np.float32]:
        if batch.input_ids.shape[1] == 0:  # only words without a piece
            return np.zeros((*batch.first_piece.shape, n_tags), dtype=np.float32)
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        logits: NDArray[np.float32] = session.run(["logits"], inputs)[0]
        return np.take_along_axis(logits, batch.first_piece[:, :, None], axis=1)

    return score


def verify_export(folder: Path) -> dict[str, Any]:
    """Compare an export folder with its manifest; the manifest.

    Hidden files, such as those that downloads from the Hub leave, are nobody's business: nothing reads them.

    Raises: ModelError listing every file that is missing, foreign, changed or named outside the folder.
    """
    each = sorted(path.relative_to(folder).parts[0] for path in folder.glob(f"*/{ONNX_FILE}"))
    if each and not (folder / ONNX_FILE).exists():
        raise ModelError(f"{folder}: an export for each language. Give one of them: {', '.join(each)}.")
    manifest = _read_manifest(folder / MANIFEST)
    files = manifest["files"]
    problems = [f"{name!r} is not a path inside the folder" for name in files if not _is_inside(name)]
    if not problems:
        problems = [f"{name} is missing from {MANIFEST}" for name in _NEEDED_FILES if name not in files]
        for name, entry in files.items():
            path = folder / name
            if not path.is_file():
                problems.append(f"{name} is missing")
            elif path.stat().st_size != entry["bytes"] or sha256_file(path) != entry["sha256"]:
                problems.append(f"{name} is not the file that was exported")
        present = {path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()}
        foreign = sorted(path.as_posix() for path in present if not any(part.startswith(".") for part in path.parts))
        problems += [f"{name} is foreign" for name in foreign if name not in files and name != MANIFEST]
    if problems:
        raise ModelError(f"{folder}: {'; '.join(problems)}. Export again, or copy the whole folder again.")
    return manifest


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found = manifest["schema"], manifest.get("kind")
        complete = all(isinstance(file["bytes"], int) and file["sha256"] for file in manifest["files"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: missing or broken ({error!r}). Give a folder that `xner export` wrote.") from error
    if found != (EXPORT_SCHEMA, "export") or not complete:
        raise ModelError(
            f"{path}: kind {found[1]!r}, schema {found[0]!r}; this version reads kind 'export', schema "
            f"{EXPORT_SCHEMA}. Give a folder that `xner export` of this version wrote."
        )
    return dict(manifest)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    canonical = path.as_posix() == name and name not in ("", ".")
    return canonical and not path.is_absolute() and ".." not in path.parts and not set("\\\0:") & set(name)


def _open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    if threads < 1:
        raise UsageError(f"threads is {threads}. Give a positive number.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; they are raised as well
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exception classes have no common parent but this
        raise ModelError(f"{path}: ONNX Runtime cannot load it ({error}). Export again.") from error


def _read_metadata(
    session: onnxruntime.InferenceSession, path: Path
) -> tuple[LabelScheme, int, NDArray[np.float32] | None]:
    metadata = session.get_modelmeta().custom_metadata_map
    try:
        tags = tuple(json.loads(metadata["tags"]))
        max_pieces = int(metadata["max_pieces"])
        scheme = LabelScheme(tuple(tag[2:] for tag in tags[1::2]))
        transitions = None
        if "transitions" in metadata:
            shape = len(tags) + 1, len(tags)
            transitions = np.array(json.loads(metadata["transitions"]), dtype=np.float32).reshape(shape)
    except (LookupError, TypeError, ValueError, UsageError) as error:
        raise ModelError(
            f"{path}: no metadata `tags` and `max_pieces`, or broken transitions ({error!r}). Export again."
        ) from error
    if scheme.tags != tags:
        raise ModelError(f"{path}: its tags are {', '.join(tags)}, expected {', '.join(scheme.tags)}. Export again.")
    return scheme, max_pieces, transitions


def _demand_many(values: object, use: str) -> None:
    if isinstance(values, str):  # a sequence of strings as well, and never what was meant
        raise UsageError(f"one string where several are expected. Call {use}.")

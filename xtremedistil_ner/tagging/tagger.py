"""Text in, entities out, from an export folder: numpy, `tokenizers` and ONNX Runtime, no torch.

A service imports this in a fraction of the time that torch takes. Nothing of a folder is used before its sha256 was
compared with the manifest. Texts of any length are tagged whole, in overlapping windows; offsets always count code
points of the text as it was given, so that `text[entity.start : entity.end] == entity.text`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from xtremedistil_ner.corpus.words import split_words
from xtremedistil_ner.errors import ModelError, UsageError, quoted
from xtremedistil_ner.labels import LabelScheme, TagIds, Transitions, decode_sentences, legal_spans
from xtremedistil_ner.pieces.encoder import PieceBatch, PieceEncoder, load_encoder
from xtremedistil_ner.pieces.predictor import Predictor, compute_word_logits
from xtremedistil_ner.tagging.entity_scores import entity_scores, type_probabilities
from xtremedistil_ner.tagging.export_reader import GraphPrecision, choose_graph, find_export, verify_export

_Value = TypeVar("_Value")
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
BATCH_PIECES = 384  # of 256 to 1,024: a batch of a (50, 200) student then stays in 1 MB of second-level cache
_CHUNK_SENTENCES = 2048  # bounds memory, however many texts one call brings
MOST_THREADS = 1024  # ONNX Runtime ends the process where the system refuses it a thread
MOST_HELD = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity of a text.

    Units: start and end in code points; score is the probability of its type, `B-` and `I-` together, the mean over its
    words.
    """

    text: str
    type: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class WordTags:
    """Tags of the words of some sentences, one after the other.

    Shapes: ids (all words,) int16, legal in each sentence; scores (all words,) float64, how likely their types or
    `O` are; offsets (sentences + 1,) int64.
    """

    ids: TagIds
    scores: NDArray[np.float64]
    offsets: NDArray[np.int64]

    def names(self, scheme: LabelScheme) -> list[tuple[str, ...]]:
        """The tags of each sentence."""
        names = scheme.decode(self.ids)
        return [names[start:stop] for start, stop in pairwise(self.offsets.tolist())]


class Tagger:
    """A student that tags raw text or sentences of words; safe to share between threads."""

    def __init__(
        self, predictor: Predictor, encoder: PieceEncoder, scheme: LabelScheme, transitions: Transitions | None = None
    ) -> None:
        self.predictor = predictor
        self.encoder = encoder
        self.scheme = scheme
        self.transitions = transitions

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        precision: GraphPrecision | None = None,
        threads: int = 1,
        device: Literal["cpu", "cuda"] = "cpu",
    ) -> Tagger:
        """Load an export folder, or that of a run folder; `threads` is for one call of the model on a CPU.

        Without a `precision` it is the float32 graph, or the int8 one where there is no other. In float32 a text has
        the same entities in any batch; int8 kernels scale each batch by its largest value, so that logits near a
        border may differ from batch to batch.

        Raises: ModelError when a file is missing, foreign, or not what the manifest says; UsageError for any other
        `device` or number of `threads`, and for CUDA without an ONNX Runtime that has it.
        """
        path = find_export(Path(folder))
        graph = choose_graph(path, verify_export(path), precision)
        return cls.from_graph(graph, path, threads=threads, device=device)

    @classmethod
    def from_graph(
        cls, graph: Path, tokenizer: Path, *, threads: int = 1, device: Literal["cpu", "cuda"] = "cpu"
    ) -> Tagger:
        """A tagger from an ONNX file and the folder of its tokenizer, before there is a manifest to check them by."""
        session = open_session(graph, threads=threads, device=device)
        scheme, max_pieces, transitions = _read_metadata(session, graph)
        encoder = load_encoder(tokenizer, max_pieces=max_pieces)
        tagger = cls(session_predictor(session, n_tags=len(scheme.tags)), encoder, scheme, transitions)
        try:
            tagger.tag_ids([["."]])  # weights that are not finite show now, not in a service's first request
        except ModelError as error:
            raise ModelError(f"{graph}: {error}") from error
        return tagger

    def tag(self, texts: Sequence[str]) -> list[list[Entity]]:
        """Entities of each text, from left to right. Raises: UsageError for what is no text."""
        return list(self.tag_stream(_many(texts, "tag([text])"), batch=_CHUNK_SENTENCES))

    def tag_words(self, sentences: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
        """One IOB2 tag per word, for sentences that are words already. Raises: UsageError for what is no word."""
        use = "tag_words([[word, word, …], …])"
        checked = [
            [
                _text(word, f"word {position} of sentence {number}")
                for position, word in enumerate(_many(words, use, number))
            ]
            for number, words in enumerate(_many(sentences, use))
        ]
        result: list[tuple[str, ...]] = []
        for start in range(0, len(checked), _CHUNK_SENTENCES):
            result += self.tag_ids(checked[start : start + _CHUNK_SENTENCES]).names(self.scheme)
        return result

    def tag_stream(self, lines: Iterable[str], batch: int = 1024) -> Iterator[list[Entity]]:
        """Entities of each line, in order; at most `batch` lines are held at a time.

        Raises: UsageError for a `batch` that is no such number, and for what is no text, when its batch is read.
        """
        require_count(batch, "batch", MOST_HELD)
        return self._tag_batches(enumerate(_many(lines, "tag_stream([text])")), batch)

    def _tag_batches(self, lines: Iterator[tuple[int, str]], batch: int) -> Iterator[list[Entity]]:
        while texts := [_text(text, f"text {number}") for number, text in islice(lines, batch)]:
            places = [split_words(text) for text in texts]
            word_tags = self.tag_ids([[word for word, _, _ in words] for words in places])
            yield from self.entities(texts, places, word_tags)

    def tag_ids(self, sentences: Sequence[Sequence[str]]) -> WordTags:
        """Tags of every word and the probabilities of their types."""
        words = compute_word_logits(
            self.predictor, self.encoder, sentences, n_tags=len(self.scheme.tags), batch_pieces=BATCH_PIECES
        )
        ids = decode_sentences(words.logits, words.offsets, self.scheme, self.transitions)
        return WordTags(ids, type_probabilities(words.logits, ids), words.offsets)

    def entities(
        self, texts: Sequence[str], places: Sequence[Sequence[tuple[str, int, int]]], word_tags: WordTags
    ) -> list[list[Entity]]:
        """Entities of texts whose words, given with their places, were tagged."""
        result: list[list[Entity]] = [[] for _ in texts]
        begins, ends = legal_spans(word_tags.ids)
        if not len(begins):
            return result
        owners = np.searchsorted(word_tags.offsets, begins, side="right") - 1
        first = word_tags.offsets[owners]
        scores = entity_scores(word_tags.scores, begins, ends)
        kinds = (word_tags.ids[begins] - 1) // 2
        for owner, begin, last, kind, score in zip(
            *(array.tolist() for array in (owners, begins - first, ends - first - 1, kinds, scores)), strict=True
        ):
            words = places[owner]
            start, end = words[begin][1], words[last][2]
            result[owner].append(Entity(texts[owner][start:end], self.scheme.types[kind], start, end, score))
        return result


def session_predictor(session: onnxruntime.InferenceSession, *, n_tags: int) -> Predictor:
    """Word logits by an ONNX graph with the inputs and the output of an export."""

    def score(batch: PieceBatch) -> NDArray[np.float32]:
        if batch.input_ids.size == 0:  # only words without a piece; no rows would crash ONNX Runtime's recurrent nodes
            return np.zeros((*batch.first_piece.shape, n_tags), dtype=np.float32)
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        logits: NDArray[np.float32] = session.run(["logits"], inputs)[0]
        return np.take_along_axis(logits, batch.first_piece[:, :, None], axis=1)

    return score


def open_session(
    graph: Path | bytes, *, threads: int, device: Literal["cpu", "cuda"] = "cpu"
) -> onnxruntime.InferenceSession:
    """A graph, from its file or as bytes, ready to run on a device.

    Raises: ModelError for what ONNX Runtime cannot load; UsageError for any other device or number of threads, and for
    CUDA without an ONNX Runtime that has it.
    """
    require_count(threads, "threads", MOST_THREADS)
    if device not in list(_PROVIDERS):
        raise UsageError(f"device is {quoted(device)}. Give {' or '.join(_PROVIDERS)}.")
    provider = _PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise UsageError(
            f"device {device}: this ONNX Runtime has no {provider}. Install onnxruntime-gpu instead of it."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; they are raised as well
    source = graph if isinstance(graph, bytes) else str(graph)
    try:
        session = onnxruntime.InferenceSession(source, options, providers=[provider])
    except Exception as error:  # its exception classes have no common parent but this
        name = "a graph in memory" if isinstance(graph, bytes) else graph
        raise ModelError(f"{name}: ONNX Runtime cannot load it ({error}). Export again.") from error
    if provider not in session.get_providers():  # it falls back to the CPU, and only a log line says so
        raise UsageError(f"device {device}: ONNX Runtime cannot start {provider}. Check driver, CUDA and cuDNN.")
    return session


def _read_metadata(
    session: onnxruntime.InferenceSession, path: Path
) -> tuple[LabelScheme, int, NDArray[np.float32] | None]:
    metadata = session.get_modelmeta().custom_metadata_map
    try:
        scheme = LabelScheme.from_ordered_tags(json.loads(metadata["tags"]))
        max_pieces = int(metadata["max_pieces"])
        transitions = None
        if "transitions" in metadata:
            shape = len(scheme.tags) + 1, len(scheme.tags)
            transitions = np.array(json.loads(metadata["transitions"]), dtype=np.float32).reshape(shape)
    except (LookupError, TypeError, ValueError, UsageError) as error:
        raise ModelError(
            f"{path}: no metadata `tags` and `max_pieces`, or broken transitions ({error!r}). Export again."
        ) from error
    return scheme, max_pieces, transitions


def require_count(value: object, name: str, most: int) -> None:
    """Refuse what is no whole number from 1 to `most`. Raises: UsageError."""
    if not isinstance(value, int | np.integer) or not 1 <= value <= most:
        raise UsageError(f"{name} is {quoted(value)}. Give a whole number from 1 to {most:,}.")


def _many(values: Iterable[_Value], use: str, sentence: int | None = None) -> Iterator[_Value]:
    """The values, unless they are one text, which has characters, a mapping, which has keys, or nothing to go over."""
    try:
        if not isinstance(values, str | bytes | bytearray | Mapping):
            return iter(values)
    except TypeError:
        pass
    where = "" if sentence is None else f"sentence {sentence} (counted from 0): "
    raise UsageError(f"{where}{quoted(values)} where several texts are expected. Call {use}.")


def _text(value: str, name: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name} (counted from 0) is {quoted(value)}, not a text. Give each as a str.")
    return value

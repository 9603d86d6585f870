"""Stage `pseudolabel`: teacher + transfer set → soft-label store.

Every process reads the whole transfer set, which is cheap, and labels its share of the shards, which is not. A shard's
batches depend on its sentences alone, and on CPU one thread computes them, so the bytes of a store do not depend on
the number of processes. A shard that is there with the right fingerprint is left alone. A killed run therefore
continues at the first missing shard, and a new language labels its own text only.

On CPU a batch's states should stay in the processor's cache: 512 pieces at a time took 10 % less time than 4,096 in
float32, 28 % less in int8, and the same time in bf16. The same thread also tokenises, batches and writes: 1.4 % of the
time at most. A GPU is faster than all that, so there threads read and tokenise the next shards and write the last ones
while the device computes. At most seven shards are in memory.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from xtremedistil_ner.corpus.labelled import LabelledCorpus, open_corpus
from xtremedistil_ner.corpus.transfer import TransferCounts, held_out_keys, iter_transfer, transfer_languages
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.export.teacher_graph import int8_predictor, measure_int8, require_bearable
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.packed_layers import pack_layers
from xtremedistil_ner.models.voting import Vote, encode_for, load_votes, predictors_of, vote_on_rows
from xtremedistil_ner.pieces.encoder import EncodedCorpus
from xtremedistil_ner.pieces.predictor import GPU_BATCH_PIECES, Predictor, WordLogits
from xtremedistil_ner.processes.precision import begin_stage, dtype_of, note_precision
from xtremedistil_ner.processes.world import Processes, cpu_threads, current_processes
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.recipe.schema import Recipe
from xtremedistil_ner.run_folder.artefacts import published_fingerprint, remove, verify
from xtremedistil_ner.run_folder.files import MANIFEST, RunFolder
from xtremedistil_ner.run_folder.soft_labels import (
    LanguageCounts,
    count_lost_words,
    seal_store,
    shard_name,
    shard_place,
    write_shard,
)
from xtremedistil_ner.run_folder.whole_files import make_fingerprint, write_json

STAGE: Final = "pseudolabel"
CPU_BATCH_PIECES = 512
"""At most; `pseudolabel.batch_pieces` may ask for less."""
_SHARDS_AHEAD = 3
"""Shards that threads read and tokenise ahead of a GPU, and as many that wait to be written."""
_CHECKED_SENTENCES = 1280
"""The first ones of each language, this number in all: some 10,000 words, which are labelled twice."""


@dataclass(frozen=True, slots=True)
class _Labeller:
    """The teachers and how they compute: `predictors` are their models, or what replaces them."""

    votes: Sequence[Vote]
    dtype: torch.dtype
    batch_pieces: int
    predictors: Sequence[Predictor]
    on_gpu: bool


@dataclass(frozen=True, slots=True)
class _Part:
    """A shard to label: its name, its sentences and its fingerprint; `encoded` is empty if it is there already."""

    name: str
    language: str
    sentences: tuple[tuple[str, ...], ...]
    fingerprint: str = ""
    encoded: tuple[EncodedCorpus, ...] = ()


def pseudolabel_transfer_set(recipe: Recipe, run: RunFolder, fingerprint: str, tell: Reporter) -> None:
    """Make `run.soft_labels`, shard by shard. Every process of the job calls it."""
    processes = current_processes()
    corpus = open_corpus(recipe.corpus)
    teacher = verify(run.teacher)
    if processes.is_main:
        run.soft_labels.mkdir(parents=True, exist_ok=True)
        (run.soft_labels / MANIFEST).unlink(missing_ok=True)  # unsealed while shards change
        run.int8_cost.unlink(missing_ok=True)
    processes.barrier()
    device = processes.device if recipe.pseudolabel.runtime == "torch" else torch.device("cpu")
    threads = 1 if device.type == "cpu" else torch.get_num_threads()
    dtype = _begin(recipe, run, str(teacher["fingerprint"]), processes, tell)
    with cpu_threads(threads):
        labeller = _prepare(recipe, corpus, run, device, dtype, processes, tell)
    labelled_with: list[object] = [
        {name: entry["sha256"] for name, entry in teacher["files"].items() if name != "training.json"},
        corpus.scheme.tags,
        str(labeller.dtype),
        labeller.batch_pieces,
        *recipe.teacher.model_dump(include={"max_pieces"}, exclude_defaults=True).values(),
        *recipe.pseudolabel.model_dump(include={"runtime"}, exclude_defaults=True).values(),
    ]
    counts = {name: TransferCounts() for name in transfer_languages(corpus, recipe.transfer)}
    names: list[str] = []

    def mine() -> Iterator[_Part]:
        for index, part in enumerate(_parts(recipe, corpus, counts)):
            names.append(part.name)
            if index % processes.count == processes.rank:
                yield part

    with cpu_threads(threads):
        _label_parts(mine(), labelled_with, run.soft_labels, labeller, tell)
    if not names:
        raise CorpusError("The transfer set is empty: every sentence is in dev or test too. Add text at transfer.path.")
    processes.barrier()
    if processes.is_main:
        _seal(run.soft_labels, names, counts, corpus.scheme, fingerprint, tell)
    processes.barrier()


def _begin(recipe: Recipe, run: RunFolder, teacher: str, processes: Processes, tell: Reporter) -> torch.dtype:
    """Note the precision of a teacher's labels; the result is the dtype of its own model."""
    if recipe.pseudolabel.runtime == "torch":
        return dtype_of(begin_stage(recipe, run, STAGE, teacher, processes=processes, tell=tell))
    if processes.is_main:
        note_precision(run, STAGE, teacher, "int8")
    return torch.float32


def _prepare(
    recipe: Recipe,
    corpus: LabelledCorpus,
    run: RunFolder,
    device: torch.device,
    dtype: torch.dtype,
    processes: Processes,
    tell: Reporter,
) -> _Labeller:
    """Load the teachers and make them ready.

    Raises: ModelError for teachers that have no int8 graph, or whose labels in int8 are too far from float32.
    """
    section = recipe.pseudolabel
    votes = load_votes(run.teacher, corpus.scheme, max_pieces=recipe.teacher.max_pieces, device=device)
    on_gpu = device.type == "cuda"
    most = GPU_BATCH_PIECES if on_gpu else CPU_BATCH_PIECES
    batch_pieces = section.batch_pieces or most
    if not on_gpu:
        batch_pieces = min(batch_pieces, most)
    if section.runtime == "torch":
        for vote in votes:
            pack_layers(vote.teacher.model, dtype)
        own = predictors_of(votes, dtype, say=lambda message: tell(Event(STAGE, message)))
        return _Labeller(votes, dtype, batch_pieces, own, on_gpu)
    predictors = [int8_predictor(vote.teacher) for vote in votes]
    costs, sample = {}, _first_sentences(recipe, corpus)
    for number, (vote, predictor) in enumerate(zip(votes, predictors, strict=True)):
        pack_layers(vote.teacher.model, dtype)
        name = f"{run.teacher / f'voter-{number}' if number else run.teacher}"
        cost = measure_int8(vote.teacher, predictor, sample, batch_pieces=batch_pieces)
        measured = {"nats/word": cost.divergence, "other tag": cost.other_tag}
        tell(Event(STAGE, f"{name} in int8 against float32, {cost.words} words", metrics=measured))
        require_bearable(cost, name=name)
        costs[f"voter-{number}" if number else "teacher"] = cost.to_json()
    if processes.is_main:
        write_json(run.int8_cost, costs)
    return _Labeller(votes, dtype, batch_pieces, predictors, on_gpu)


def _first_sentences(recipe: Recipe, corpus: LabelledCorpus) -> list[tuple[str, ...]]:
    """The first sentences of each language of the transfer set."""
    languages, held_out = transfer_languages(corpus, recipe.transfer), held_out_keys(corpus)
    each = max(1, _CHECKED_SENTENCES // max(1, len(languages)))
    transfer_sets = [
        iter_transfer(corpus, recipe.transfer, language, held_out=held_out, counts=TransferCounts())
        for language in languages
    ]
    return [sentence.words for sentences in transfer_sets for sentence in islice(sentences, each)]


def _parts(recipe: Recipe, corpus: LabelledCorpus, counts: dict[str, TransferCounts]) -> Iterator[_Part]:
    held_out = held_out_keys(corpus)
    for language, count in counts.items():
        transfer = iter_transfer(corpus, recipe.transfer, language, held_out=held_out, counts=count)
        number = 0
        while sentences := tuple(s.words for s in islice(transfer, recipe.pseudolabel.shard_sentences)):
            yield _Part(shard_name(language, number), language, sentences)
            number += 1


def _label_parts(
    parts: Iterator[_Part], labelled_with: Sequence[object], folder: Path, labeller: _Labeller, tell: Reporter
) -> None:
    """Label shards one after the other; on a GPU, threads prepare the next ones and write the last ones meanwhile."""
    reading = threading.Lock()

    def prepare() -> _Part | None:
        with reading:
            part = next(parts, None)
        if part is None:
            return None
        shard_fingerprint = make_fingerprint("shard", labelled_with, part.language, part.sentences)
        is_there = published_fingerprint(shard_place(folder, part.name)) == shard_fingerprint
        encoded = () if is_there else encode_for(labeller.votes, part.sentences)
        return replace(part, fingerprint=shard_fingerprint, encoded=encoded)

    n_ahead = _SHARDS_AHEAD if labeller.on_gpu else 0
    with _workers(n_ahead) as (readers, writer):
        prepared = deque(readers.submit(prepare) for _ in range(1 + n_ahead))
        written: deque[Future[None]] = deque()
        start = time.monotonic()
        while prepared:
            part = prepared.popleft().result()
            if part is None:
                continue
            if part.encoded:
                words = vote_on_rows(
                    labeller.votes, part.encoded, predictors=labeller.predictors, batch_pieces=labeller.batch_pieces
                )
                written.append(writer.submit(partial(_write_part, part, words, folder)))
                while len(written) > n_ahead:
                    written.popleft().result()
                speed = len(part.sentences) / (time.monotonic() - start)
                tell(Event(STAGE, f"{part.name}: {len(part.sentences)} sentences", metrics={"sentences/s": speed}))
            else:
                tell(Event(STAGE, f"{part.name}: there already"))
            start = time.monotonic()
            prepared.append(readers.submit(prepare))
        for last in written:
            last.result()


class _AtOnce(Executor):
    """Calls what is submitted at once: on a CPU, a thread beside the model's would take its core."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401
        done: Future[Any] = Future()
        done.set_result(call(*args, **kwargs))
        return done


@contextmanager
def _workers(n_ahead: int) -> Iterator[tuple[Executor, Executor]]:
    """Threads that prepare shards, and one that writes them: what was labelled is written, whatever ends the block."""
    if not n_ahead:
        yield _AtOnce(), _AtOnce()
        return
    with ThreadPoolExecutor(1) as writer:
        readers = ThreadPoolExecutor(n_ahead)
        try:
            yield readers, writer
        finally:
            readers.shutdown(cancel_futures=True)


def _write_part(part: _Part, words: WordLogits, folder: Path) -> None:
    write_shard(
        shard_place(folder, part.name),
        part.sentences,
        words.logits,
        words.covered,
        language=part.language,
        fingerprint=part.fingerprint,
    )


def _seal(
    folder: Path,
    names: list[str],
    counts: dict[str, TransferCounts],
    scheme: LabelScheme,
    fingerprint: str,
    tell: Reporter,
) -> None:
    for path in folder.iterdir():
        if path.is_dir() and path.name not in names:
            remove(path)
    languages = {}
    for language, count in counts.items():
        shards = [folder / name for name in names if name.rpartition("-")[0] == language]
        words, lost = (int(total) for total in np.sum([count_lost_words(path) for path in shards] or [(0, 0)], axis=0))
        languages[language] = LanguageCounts(
            count.read, count.duplicates, count.held_out, count.kept, words=words, lost_words=lost
        )
    seal_store(folder, names, fingerprint=fingerprint, tags=scheme.tags, counts=languages)
    kept = sum(count.kept for count in counts.values())
    dropped = sum(count.duplicates + count.held_out for count in counts.values())
    tell(Event(STAGE, f"{kept} sentences labelled; {dropped} duplicates and held-out sentences left out"))

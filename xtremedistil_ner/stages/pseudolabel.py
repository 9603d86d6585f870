"""Stage `pseudolabel`: teacher + transfer set → soft-label store.

Every process reads the whole transfer set, and labels its share of the shards. Unless memory runs out, a shard's
batches depend on its sentences alone, and on CPU one thread computes them, so the bytes of a store do not depend on the
number of processes. A shard that is there with the right fingerprint is left alone. A killed run therefore labels only
what is missing, and a new language its own text only.

On CPU a batch's states should stay in the processor's cache: 512 pieces at a time took 10 % less time than 4,096 in
float32, 28 % less in int8, and the same time in bf16. The same thread also tokenises, batches and writes: 1.4 % of the
time at most. A GPU is faster than all that: processes read and tokenise for it (`shard_readers.py`), a thread writes.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch

from xtremedistil_ner.corpus.labelled import LabelledCorpus, open_corpus
from xtremedistil_ner.corpus.transfer import TransferCounts, held_out_keys, iter_transfer, transfer_languages
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.export.teacher_graph import int8_predictor, measure_int8, require_bearable
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.packed_layers import pack_layers
from xtremedistil_ner.models.voting import Vote, load_votes, predictors_of, vote_on_rows
from xtremedistil_ner.pieces.predictor import GPU_BATCH_PIECES, Predictor, WordLogits, counting_words
from xtremedistil_ner.processes.cores import available_cores
from xtremedistil_ner.processes.precision import begin_stage, dtype_of, note_precision
from xtremedistil_ner.processes.world import Processes, cpu_threads, current_processes
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.recipe.schema import Recipe
from xtremedistil_ner.run_folder.artefacts import remove, verify
from xtremedistil_ner.run_folder.files import MANIFEST, RunFolder
from xtremedistil_ner.run_folder.soft_labels import (
    LanguageCounts,
    count_lost_words,
    seal_store,
    shard_name,
    shard_place,
    write_shard,
)
from xtremedistil_ner.run_folder.whole_files import write_json
from xtremedistil_ner.stages.shard_readers import (
    ReadingJob,
    ReadyShard,
    Share,
    WholeLanguage,
    read_in_processes,
    read_shards,
)

STAGE: Final = "pseudolabel"
CPU_BATCH_PIECES = 512
"""At most; `pseudolabel.batch_pieces` may ask for less."""
_MOST_READERS = 15
"""Processes that read for one GPU. Each holds a shard, a tokenizer, and 90 bytes for each sentence of its language and
of dev and test (estimated)."""
_MOST_UNWRITTEN = 3
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
    labelled_with = (
        {name: entry["sha256"] for name, entry in teacher["files"].items() if name != "training.json"},
        corpus.scheme.tags,
        str(labeller.dtype),
        labeller.batch_pieces,
        *recipe.teacher.model_dump(include={"max_pieces"}, exclude_defaults=True).values(),
        *recipe.pseudolabel.model_dump(include={"runtime"}, exclude_defaults=True).values(),
    )
    languages = transfer_languages(corpus, recipe.transfer)
    job = ReadingJob(
        recipe,
        corpus.scheme,
        held_out=frozenset(held_out_keys(corpus)),
        encoders=tuple(vote.teacher.encoder for vote in labeller.votes),
        labelled_with=labelled_with,
        folder=run.soft_labels,
    )
    shares = [
        Share(language, (processes.rank - place) % processes.count, processes.count)
        for place, language in enumerate(languages)
    ]
    with cpu_threads(threads):
        whole = _label_shards(job, shares, labeller, tell)
    names = [shard_name(language, number) for language in languages for number in range(whole[language].n_shards)]
    counts = {language: whole[language].counts for language in languages}
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


def _label_shards(
    job: ReadingJob, shares: Sequence[Share], labeller: _Labeller, tell: Reporter
) -> dict[str, WholeLanguage]:
    """Label shards as they come; what the text of each language came to."""
    whole: dict[str, WholeLanguage] = {}
    progress = _Progress(tell)
    predictors = [counting_words(predictor, progress.add) for predictor in labeller.predictors]
    with closing(_read(job, shares, labeller)) as found, _writer(labeller) as write:
        start = time.monotonic()
        for read in found:
            if isinstance(read, WholeLanguage):
                whole[read.language] = read
                continue
            if read.encoded:
                progress.begin(read)
                words = vote_on_rows(
                    labeller.votes,
                    read.encoded,
                    predictors=predictors,
                    batch_pieces=labeller.batch_pieces,
                    may_halve=not job.recipe.deterministic,  # a shard's batches must depend on its sentences alone
                )
                write(partial(_write, job.folder, read, words))
                speed = len(read.sentences) / (time.monotonic() - start)
                message = f"{read.name}: {len(read.sentences)} sentences"
                tell(Event(STAGE, message, metrics={"sentences/s": speed}, words=read.encoded[0].n_words))
            else:
                tell(Event(STAGE, f"{read.name}: there already"))
            start = time.monotonic()
    return whole


@dataclass(slots=True)
class _Progress:
    """Tells the words of a shard that were labelled, by each teacher."""

    tell: Reporter
    name: str = ""
    done: int = 0
    total: int = 0

    def begin(self, shard: ReadyShard) -> None:
        """Go on to a shard."""
        self.name, self.done, self.total = shard.name, 0, sum(encoded.n_words for encoded in shard.encoded)

    def add(self, words: int) -> None:
        """Tell what is done before a batch, and count its words."""
        self.tell(Event(STAGE, self.name, done=self.done, total=self.total, unit="words"))
        self.done += words


def _read(
    job: ReadingJob, shares: Sequence[Share], labeller: _Labeller
) -> Generator[ReadyShard | WholeLanguage, None, None]:
    if labeller.on_gpu:
        own_cores = available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        yield from read_in_processes(job, shares, count=min(max(own_cores - 1, 1), _MOST_READERS))
    else:
        yield from read_shards(job, shares)


@contextmanager
def _writer(labeller: _Labeller) -> Iterator[Callable[[Callable[[], None]], None]]:
    """A function that writes: at once, or in a thread, with at most `_MOST_UNWRITTEN` shards that wait for it.

    What was labelled is written, whatever ends the block.
    """
    if not labeller.on_gpu:
        yield lambda task: task()
        return
    waiting: deque[Future[None]] = deque()

    def write(task: Callable[[], None]) -> None:
        waiting.append(thread.submit(task))
        while len(waiting) > _MOST_UNWRITTEN:
            waiting.popleft().result()

    with ThreadPoolExecutor(1) as thread:
        yield write
        for last in waiting:
            last.result()


def _write(folder: Path, shard: ReadyShard, words: WordLogits) -> None:
    write_shard(
        shard_place(folder, shard.name),
        shard.sentences,
        words.logits,
        words.covered,
        language=shard.language,
        fingerprint=shard.fingerprint,
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

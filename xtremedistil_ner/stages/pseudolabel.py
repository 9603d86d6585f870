"""Stage `pseudolabel`: teacher + transfer set → soft-label store.

Every process reads the whole transfer set, which is cheap, and labels the shards whose number is its own, which is
not. A shard's batches depend on its sentences alone and on CPU one thread computes them, so the bytes of a store do
not depend on the number of processes. A shard that is there with the right fingerprint is left alone: that is how a
killed run goes on, and how one language more labels that one only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from xtremedistil_ner.corpus.labelled import LabelledCorpus, open_corpus
from xtremedistil_ner.corpus.transfer import TransferCounts, held_out_keys, iter_transfer, transfer_languages
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.voting import Vote, load_votes, vote_on_words
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.rundir import (
    MANIFEST,
    RunFolder,
    fingerprint,
    published_fingerprint,
    remove,
    verify,
)
from xtremedistil_ner.schema import Recipe
from xtremedistil_ner.soft_labels import LanguageCounts, count_lost_words, seal_store, write_shard
from xtremedistil_ner.training.processes import autocast_dtype, cpu_threads, current_processes

STAGE = "pseudolabel"


@dataclass(frozen=True, slots=True)
class _Part:
    """A shard to be: its name and its sentences."""

    name: str
    language: str
    sentences: tuple[tuple[str, ...], ...]


def pseudolabel_transfer_set(recipe: Recipe, run: RunFolder, wanted: str, report: Reporter) -> None:
    """Make `run.soft_labels`, shard by shard. Every process of the job calls it."""
    processes = current_processes()
    corpus = open_corpus(recipe.corpus)
    teacher_files = verify(run.teacher)["files"]
    votes = load_votes(run.teacher, corpus.scheme, max_pieces=recipe.teacher.max_pieces, device=processes.device)
    dtype = autocast_dtype(recipe.pseudolabel.precision, processes.device)
    if processes.is_main:
        run.soft_labels.mkdir(parents=True, exist_ok=True)
        (run.soft_labels / MANIFEST).unlink(missing_ok=True)  # unsealed while shards change
    processes.barrier()
    labelled_with: list[object] = [
        {name: entry["sha256"] for name, entry in teacher_files.items() if name != "training.json"},
        corpus.scheme.tags,
        str(dtype),
        recipe.pseudolabel.batch_pieces,
        *recipe.teacher.model_dump(include={"max_pieces"}, exclude_defaults=True).values(),
    ]
    counts = {name: TransferCounts() for name in transfer_languages(corpus, recipe.transfer)}
    names: list[str] = []
    threads = 1 if processes.device.type == "cpu" else torch.get_num_threads()
    with cpu_threads(threads):
        for index, part in enumerate(_parts(recipe, corpus, counts)):
            names.append(part.name)
            if index % processes.count == processes.rank:
                shard_fingerprint = fingerprint("shard", labelled_with, part.language, part.sentences)
                _label_part(part, run.soft_labels, shard_fingerprint, votes, dtype, recipe, report)
    if not names:
        raise CorpusError("The transfer set is empty: every sentence is in dev or test too. Add text at transfer.path.")
    processes.barrier()
    if processes.is_main:
        _seal(run.soft_labels, names, counts, corpus.scheme, wanted, report)
    processes.barrier()


def _parts(recipe: Recipe, corpus: LabelledCorpus, counts: dict[str, TransferCounts]) -> Iterator[_Part]:
    held_out = held_out_keys(corpus)
    for language, count in counts.items():
        found = iter_transfer(corpus, recipe.transfer, language, held_out=held_out, counts=count)
        number = 0
        while sentences := tuple(s.words for s in islice(found, recipe.pseudolabel.shard_sentences)):
            yield _Part(f"{language}-{number:05d}", language, sentences)
            number += 1


def _label_part(
    part: _Part,
    folder: Path,
    shard_fingerprint: str,
    votes: Sequence[Vote],
    dtype: torch.dtype,
    recipe: Recipe,
    report: Reporter,
) -> None:
    place = folder / part.name
    if published_fingerprint(place) == shard_fingerprint:
        report(Event(STAGE, f"{part.name}: there already"))
        return
    start = time.monotonic()
    logits, covered, _ = vote_on_words(votes, part.sentences, dtype=dtype, batch_pieces=recipe.pseudolabel.batch_pieces)
    write_shard(place, part.sentences, logits, covered, language=part.language, fingerprint=shard_fingerprint)
    speed = len(part.sentences) / (time.monotonic() - start)
    report(Event(STAGE, f"{part.name}: {len(part.sentences)} sentences", metrics={"sentences/s": speed}))


def _seal(
    folder: Path,
    names: list[str],
    counts: dict[str, TransferCounts],
    scheme: LabelScheme,
    wanted: str,
    report: Reporter,
) -> None:
    for path in folder.iterdir():
        if path.is_dir() and path.name not in names:
            remove(path)
    languages = {}
    for language, count in counts.items():
        own = [folder / name for name in names if name.rpartition("-")[0] == language]
        words, lost = (int(total) for total in np.sum([count_lost_words(path) for path in own] or [(0, 0)], axis=0))
        languages[language] = LanguageCounts(
            count.read, count.duplicates, count.held_out, count.kept, words=words, lost_words=lost
        )
    seal_store(folder, names, fingerprint=wanted, tags=scheme.tags, counts=languages)
    kept = sum(count.kept for count in counts.values())
    dropped = sum(count.duplicates + count.held_out for count in counts.values())
    report(Event(STAGE, f"{kept} sentences labelled; {dropped} duplicates and held-out sentences left out"))

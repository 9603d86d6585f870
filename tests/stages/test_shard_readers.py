"""Shards read in processes of their own: those that one process reads, and the errors of every one of them."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.tiny_run import write_corpus, write_recipe
from support.tiny_student import VOCABULARY

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.errors import CorpusError, ResourceError, lack_of_resource
from xtremedistil_ner.pieces.encoder import PieceEncoder
from xtremedistil_ner.pieces.vocabulary import wordpiece_tokenizer
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.run_folder.soft_labels import write_shard
from xtremedistil_ner.stages.shard_readers import (
    ReadingJob,
    Share,
    WholeLanguage,
    divide,
    read_in_processes,
    read_shards,
)

LANGUAGES = ("en", "no", "sv")


@pytest.fixture
def job(tmp_path):
    folder = tmp_path
    corpus = write_corpus(folder / "corpus", languages=LANGUAGES)
    recipe = load_recipe(write_recipe(folder / "tiny.yaml", corpus), overrides=["pseudolabel.shard_sentences=5"])
    encoders = tuple(
        PieceEncoder(wordpiece_tokenizer(VOCABULARY, lowercase=False, special_rows=True), max_pieces=size, pad_id=0)
        for size in (12, 20)
    )
    scheme = open_corpus(recipe.corpus).scheme
    return ReadingJob(
        recipe, scheme, held_out=frozenset(), encoders=encoders, labelled_with=("teacher",), folder=folder
    )


def all_of(count=1):
    return [Share(language, 0, count) for language in LANGUAGES]


def told(found):
    """What was read, by name, in a form that can be compared; the arrays as bytes."""
    shards = {one.name: one for one in found if not isinstance(one, WholeLanguage)}
    rows = {name: [{k: v.tobytes() for k, v in asdict(e).items()} for e in s.encoded] for name, s in shards.items()}
    texts = {name: (shard.language, shard.sentences, shard.fingerprint) for name, shard in shards.items()}
    return texts, rows, {one.language: one for one in found if isinstance(one, WholeLanguage)}


@pytest.mark.parametrize("count", [1, 2, 7])
def test_readers_give_the_shards_of_one_process(job, count):
    expected = list(read_shards(job, all_of()))
    texts, rows, whole = told(expected)
    assert list(texts) == [f"{language}-{number:05d}" for language in LANGUAGES for number in range(5)]
    assert whole["no"].n_shards == 5 and whole["no"].counts.kept == 24
    assert all(len(of_shard) == 2 for of_shard in rows.values())
    assert told(list(read_in_processes(job, all_of(), count=count))) == (texts, rows, whole)


@pytest.mark.parametrize("n_processes", [1, 2, 3])
@pytest.mark.parametrize("n_readers", [1, 3, 4, 11])
def test_every_shard_has_one_reader(n_processes, n_readers):
    found = Counter()
    for rank in range(n_processes):
        shares = [Share(name, (rank - place) % n_processes, n_processes) for place, name in enumerate(LANGUAGES)]
        readers = divide(shares, n_readers)
        assert len(readers) <= n_readers
        for share in (share for reader in readers for share in reader):
            found.update((share.language, number) for number in range(share.first, 60, share.count))
    assert found == Counter((language, number) for language in LANGUAGES for number in range(60))


def test_a_shard_that_is_there_is_not_tokenised(job):
    first = next(read_shards(job, all_of()))
    n_words = sum(map(len, first.sentences))
    write_shard(
        job.folder / first.name,
        first.sentences,
        np.zeros((n_words, 7), dtype=np.float32),
        np.ones(n_words, dtype=np.bool_),
        language="en",
        fingerprint=first.fingerprint,
    )
    shards = [one for one in read_in_processes(job, all_of(), count=2) if not isinstance(one, WholeLanguage)]
    assert [shard.name for shard in shards if not shard.encoded] == [first.name]


def test_an_error_of_a_reader_is_the_error_of_all(job):
    with (Path(job.recipe.corpus.path) / "no" / "train.tsv").open("ab") as stream:
        stream.write(b"\xff\tO\n")
    with pytest.raises(CorpusError, match=r"no/train\.tsv:\d+:1: byte 0xff"):
        list(read_in_processes(job, all_of(), count=3))


class Failing:
    """An encoder of a reader that runs out of something."""

    def __init__(self, error):
        self.error = error

    def encode(self, sentences):
        raise self.error


class Ending:
    """An encoder whose process ends while it encodes, as some libraries do."""

    def encode(self, sentences):
        os._exit(3)


@pytest.mark.parametrize("error", [MemoryError("8 TiB"), OSError(errno.ENOSPC, "No space left", "cache/en.txt")])
def test_a_lack_of_memory_or_disk_of_a_reader_is_told_as_the_parents_own(job, error):
    with pytest.raises(ResourceError) as caught:
        list(read_in_processes(replace(job, encoders=(Failing(error),)), all_of(), count=2))
    assert str(caught.value) == str(lack_of_resource(error))


def test_a_defect_of_a_reader_keeps_its_traceback(job):
    with pytest.raises(RuntimeError, match=r"Traceback [\s\S]*in encode[\s\S]*ZeroDivisionError: of its own"):
        list(read_in_processes(replace(job, encoders=(Failing(ZeroDivisionError("of its own")),)), all_of(), count=2))


def test_a_reader_that_ends_by_itself_is_told_with_its_exit_code(job):
    with pytest.raises(ResourceError, match=r"reads the transfer set ended with exit code 3\."):
        list(read_in_processes(replace(job, encoders=(Ending(),)), all_of(), count=2))


def with_large_shards(job):
    """Shards of so many rows that none fits into a pipe: readers wait until they are received."""
    return replace(job, encoders=job.encoders * 200)


def readers_of(process):
    return [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_reader_that_is_killed_is_told_with_the_signal(job, number):
    found = read_in_processes(with_large_shards(job), all_of(), count=3)
    next(found)
    readers = readers_of(psutil.Process())
    assert len(readers) == 3
    readers[0].send_signal(number)
    with pytest.raises(ResourceError, match=rf"reads the transfer set was ended by signal {int(number)}\b"):
        list(found)
    assert not any(map(psutil.Process.is_running, readers))


def test_readers_end_with_the_one_who_asked_and_loaded_no_torch(job):
    with closing(read_in_processes(with_large_shards(job), all_of(), count=3)) as found:
        next(found)
        readers = readers_of(psutil.Process())
        loaded = [Path(f"/proc/{reader.pid}/maps").read_text() for reader in readers]
    assert len(readers) == 3 and not any(map(psutil.Process.is_running, readers))
    assert all("tokenizers" in files and "libtorch" not in files for files in loaded)


def read_a_shard_and_sleep(job, note):
    found = read_in_processes(job, all_of(), count=3)
    next(found)
    note.send([reader.pid for reader in readers_of(psutil.Process())])
    time.sleep(600)


def test_readers_end_with_a_parent_that_is_killed(job):
    """The parent is a process of `multiprocessing` itself, as each of several labelling processes is."""
    context = multiprocessing.get_context("spawn")
    note, sender = context.Pipe(duplex=False)
    parent = context.Process(target=read_a_shard_and_sleep, args=(with_large_shards(job), sender))
    parent.start()
    sender.close()
    readers = [psutil.Process(number) for number in note.recv()]
    assert len(readers) == 3 and all(map(psutil.Process.is_running, readers))
    parent.kill()
    parent.join()
    assert psutil.wait_procs(readers, timeout=60)[1] == []


def test_of_one_language_are_no_more_than_four_readers():
    assert [len(divide([Share("en", 0, 1)], count)) for count in (1, 3, 4, 5, 15)] == [1, 3, 4, 4, 4]
    assert len(divide(all_of(), 15)) == 12

"""Shards read in processes of their own: those that one process reads, and the errors of every one of them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from support.tiny_run import write_corpus, write_recipe
from support.tiny_student import VOCABULARY

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.errors import CorpusError, ResourceError
from xtremedistil_ner.pieces.encoder import PieceEncoder
from xtremedistil_ner.pieces.vocabulary import wordpiece_tokenizer
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.run_folder.soft_labels import write_shard
from xtremedistil_ner.stages import shard_readers
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


def test_a_reader_that_is_killed_is_told(job, monkeypatch):
    started = []
    plain = shard_readers._start

    def start(*arguments):
        started.append(plain(*arguments))
        started[-1].send_signal(signal.SIGKILL)
        return started[-1]

    monkeypatch.setattr(shard_readers, "_start", start)
    with pytest.raises(ResourceError, match="killed, or out of memory"):
        list(read_in_processes(job, all_of(), count=2))
    assert all(reader.poll() is not None for reader in started)


def test_readers_end_with_the_one_who_asked(job, monkeypatch):
    started = []
    plain = shard_readers._start
    monkeypatch.setattr(shard_readers, "_start", lambda *given: started.append(plain(*given)) or started[-1])
    with closing(read_in_processes(job, all_of(), count=3)) as found:
        next(found)
        assert len(started) == 3
    assert all(reader.poll() is not None for reader in started)


def test_a_reader_loads_no_torch():
    code = "import sys, xtremedistil_ner.stages.shard_readers as _; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"

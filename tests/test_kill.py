"""Kills of a whole run: the same command again, until it is done, ends with the bytes of an undisturbed run.

A run is the real command, in a session of its own, on a cut of the demo corpus. A kill hits the main process alone,
as the kernel's does when memory runs out, at a random moment while it labels or trains.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

RECIPE = {
    "corpus.languages": "[de, en]",
    "corpus.train_sentences": 40,
    "transfer.training_text": "false",
    "transfer.sentences": 100,
    "teacher.shape.layers": 1,
    "teacher.shape.hidden_width": 32,
    "teacher.shape.heads": 2,
    "teacher.shape.vocabulary_size": 400,
    "finetune.epochs": 1,
    "finetune.dev_sentences": 20,
    "pseudolabel.shard_sentences": 20,
    "student.embedding_width": 8,
    "student.hidden_width": 8,
    "train.strategy": "D4.2",
    "train.updates": 300,
    "train.batch_sentences": 16,
    "train.evaluate_every": 20,
    "train.dev_sentences": 20,
    "train.checkpoint_every_s": 0.05,
}
N_SHARDS = 10  # 100 sentences of each language, 20 a shard
LATEST_MS = 150
"""A kill comes so long after the last thing that was published, at most: about the time to the next one."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run of one process from teacher to student; the other runs of this module start with its teacher."""
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert wait(start(out)) == 0
    return out


def start(out, *, processes=1, until="train"):
    command = [Path(sys.executable).with_name("xner"), "distil", "demo", "--out", out, "--until", until]
    for field, value in RECIPE.items():
        command += ["--set", f"{field}={value}"]
    command += ["--processes", str(processes)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def wait(process):
    try:
        return process.wait(timeout=600)
    finally:
        process.kill()


def with_teacher_of(run, out):
    """A new run folder that has the teacher of another one."""
    shutil.copytree(run / "teacher", out / "teacher")
    return out


def undisturbed_by(processes, undisturbed, out):
    if processes == 1:
        return undisturbed
    assert wait(start(with_teacher_of(undisturbed, out), processes=processes)) == 0
    return out


def published(out):
    """Names of the shards and checkpoints that are in their places."""
    return {path.name for place in ("soft_labels", "work/train/checkpoints") for path in (out / place).glob("[!.]*-*")}


def kill_at_random(out, random, *, processes):
    """Start the command and kill it some time after it has published one to three things more."""
    before = published(out)
    process = start(out, processes=processes)
    try:
        wanted = int(random.integers(1, 4))
        new = set()
        while len(new) < wanted:
            assert process.poll() is None, f"ended before it could be killed, after {sorted(new)}"
            new |= published(out) - before
            time.sleep(0.002)
        time.sleep(random.random() * LATEST_MS / 1000)
        assert process.poll() is None
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def files_of(out, *folders):
    paths = [path for folder in folders for path in (out / folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def check_kills(undisturbed, killed, *, kills, processes):
    """Kill a run so many times and let it end; whether it was still labelling at the last kill."""
    random = np.random.default_rng(processes)
    for _ in range(kills):
        kill_at_random(killed, random, processes=processes)
    labelling = len(list((killed / "soft_labels").glob("[!.]*-*"))) < N_SHARDS
    assert wait(start(killed, processes=processes)) == 0
    expected = files_of(undisturbed, "soft_labels", "student")
    assert files_of(killed, "soft_labels", "student") == expected
    assert "student/model.safetensors" in expected
    assert {path.name for path in killed.iterdir()} == {path.name for path in undisturbed.iterdir()}
    return labelling


def test_two_kills_change_no_byte(undisturbed, tmp_path):
    check_kills(undisturbed, with_teacher_of(undisturbed, tmp_path / "killed"), kills=2, processes=1)


def test_two_processes_write_the_store_that_one_writes(undisturbed, tmp_path):
    run = with_teacher_of(undisturbed, tmp_path / "run")
    assert wait(start(run, processes=2, until="pseudolabel")) == 0
    found = files_of(run, "soft_labels")
    assert found == files_of(undisturbed, "soft_labels")
    assert sum(name.endswith("logits.npy") for name in found) == N_SHARDS


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_ten_kills_while_labelling_and_training_change_no_byte(undisturbed, tmp_path, processes):
    expected = undisturbed_by(processes, undisturbed, tmp_path / "undisturbed")
    killed = with_teacher_of(undisturbed, tmp_path / "killed")
    assert not check_kills(expected, killed, kills=10, processes=processes)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_stop_signal_while_training_exits_with_130_and_changes_no_byte(undisturbed, tmp_path, processes):
    expected = undisturbed_by(processes, undisturbed, tmp_path / "undisturbed")
    stopped = with_teacher_of(undisturbed, tmp_path / "stopped")
    process = start(stopped, processes=processes)
    while not list((stopped / "work/train/checkpoints").glob("[!.]*-*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    assert wait(process) == 130
    assert wait(start(stopped, processes=processes)) == 0
    assert files_of(stopped, "soft_labels", "student") == files_of(expected, "soft_labels", "student")

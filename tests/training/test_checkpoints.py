"""Training checkpoints: the newest whole one counts, whatever happened while they were written."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import time

import pytest
import torch

from xtremedistil_ner.errors import CheckpointError
from xtremedistil_ner.training.checkpoints import CheckpointFolder, TrainingState


def save(folder, update, *, phase=0, fingerprint="job"):
    state = TrainingState(phase=phase, update=update, total=update, best_score=0.1 + update, looks=[{"score": 1 / 3}])
    CheckpointFolder(folder, fingerprint=fingerprint).save(state, {"model/a": torch.full((3,), update / 7)})
    return folder / f"checkpoint-{phase:03d}-{update:09d}"


def load(folder, *, fingerprint="job"):
    return CheckpointFolder(folder, fingerprint=fingerprint).load_newest()


def save_two(folder):
    """Two checkpoints side by side, as a kill between writing the second and removing the first leaves them."""
    first = save(folder, 1)
    aside = folder.parent / "aside"
    shutil.copytree(first, aside)
    second = save(folder, 2)
    shutil.move(aside, first)
    return first, second


def test_what_is_loaded_is_what_was_saved_bit_for_bit(tmp_path):
    save(tmp_path, 3, phase=1)
    state, tensors = load(tmp_path)
    assert state == TrainingState(phase=1, update=3, total=3, best_score=3.1, looks=[{"score": 1 / 3}])
    assert torch.equal(tensors["model/a"], torch.full((3,), 3 / 7))


def test_tensors_that_share_memory_are_saved(tmp_path):
    shared = torch.arange(6.0)
    CheckpointFolder(tmp_path, fingerprint="job").save(
        TrainingState(update=1), {"a": shared, "b": shared, "c": shared[::2]}
    )
    _, tensors = load(tmp_path)
    assert torch.equal(tensors["a"], tensors["b"])
    assert torch.equal(tensors["c"], torch.tensor([0.0, 2.0, 4.0]))


def test_there_is_nothing_to_go_on_from_at_first(tmp_path):
    assert load(tmp_path / "none") is None


def test_a_new_checkpoint_removes_the_older_ones_and_what_a_kill_left(tmp_path):
    save_two(tmp_path / "job")
    (tmp_path / "job" / ".checkpoint-000-000000007.writing").mkdir()
    newest = save(tmp_path / "job", 3)
    assert list((tmp_path / "job").iterdir()) == [newest]


def test_an_update_is_saved_once_and_again_when_its_passes_shrink(tmp_path):
    checkpoints, state = CheckpointFolder(tmp_path, fingerprint="job"), TrainingState(update=4)
    checkpoints.save(state, {"a": torch.zeros(1)})
    checkpoints.save(state, {"a": torch.ones(1)})
    assert torch.equal(load(tmp_path)[1]["a"], torch.zeros(1)), "an update has one state"
    state.pass_pieces = 512
    checkpoints.save(state, {"a": torch.zeros(1)})
    assert load(tmp_path)[0] == state
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_no_checkpoint_stays_where_checkpoints_go(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "mine.txt").touch()
    newest = save(tmp_path, 2)
    assert set(tmp_path.iterdir()) == {newest, tmp_path / "mine.txt"}


def test_later_phases_are_newer_than_later_updates(tmp_path):
    first, _ = save_two(tmp_path / "job")
    shutil.copytree(first, tmp_path / "aside")
    save(tmp_path / "job", 0, phase=1)
    shutil.copytree(tmp_path / "aside", first)
    assert load(tmp_path / "job")[0].phase == 1


@pytest.mark.parametrize("name", ["state.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "missing"])
def test_a_broken_newest_checkpoint_gives_way_to_the_one_before(tmp_path, name, damage):
    _, newest = save_two(tmp_path / "job")
    content = (newest / name).read_bytes()
    (newest / name).unlink()
    if damage != "missing":
        (newest / name).write_bytes(content[:-9] if damage == "cut" else content[:-9] + b"#" + content[-8:])
    state, tensors = load(tmp_path / "job")
    assert state.update == 1
    assert torch.equal(tensors["model/a"], torch.full((3,), 1 / 7))


def test_a_broken_checkpoint_is_replaced_when_training_comes_past_it_again(tmp_path):
    _, newest = save_two(tmp_path / "job")
    (newest / "state.safetensors").write_bytes(b"")
    checkpoints = CheckpointFolder(tmp_path / "job", fingerprint="job")
    state, tensors = checkpoints.load_newest()
    state.update += 1
    checkpoints.save(state, tensors)
    assert list((tmp_path / "job").iterdir()) == [newest]
    assert load(tmp_path / "job")[0].update == 2


def test_when_none_is_whole_each_is_named_with_what_is_wrong(tmp_path):
    first, second = save_two(tmp_path / "job")
    (first / "state.json").unlink()
    (second / "state.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "job")
    assert f"{first}: state.json is missing" in str(caught.value)
    assert f"{second}: state.safetensors differs" in str(caught.value)
    assert "Remove the folder and run the same command again." in str(caught.value)


def test_another_jobs_checkpoints_are_passed_over_and_go_with_the_first_save(tmp_path):
    save(tmp_path, 9, fingerprint="another")
    assert load(tmp_path) is None
    own = save(tmp_path, 1)
    assert list(tmp_path.iterdir()) == [own]


def test_another_jobs_newer_checkpoint_does_not_hide_an_own_one(tmp_path):
    own = save(tmp_path / "job", 1)
    shutil.copytree(own, tmp_path / "aside")
    save(tmp_path / "job", 5, fingerprint="another")
    shutil.copytree(tmp_path / "aside", own)
    assert load(tmp_path / "job")[0].update == 1


@pytest.mark.parametrize("delay_ms", range(0, 20, 2))
def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path, delay_ms):
    """A child does nothing but save; what it had saved when it was killed is still there, or something newer is."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        save_for_ever(tmp_path, writing)
    assert len(os.read(reading, 1)) == 1  # the first one is saved
    time.sleep(delay_ms / 1000)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        saved = 1 + len(stream.read())
    state, tensors = load(tmp_path)
    assert saved <= state.update <= saved + 1
    assert torch.equal(tensors["model/a"], torch.full((4000,), float(state.update)))


def save_for_ever(folder, writing):
    try:
        checkpoints = CheckpointFolder(folder, fingerprint="job")
        for update in itertools.count(1):
            checkpoints.save(TrainingState(update=update), {"model/a": torch.full((4000,), float(update))})
            os.write(writing, b".")
    finally:
        os._exit(1)

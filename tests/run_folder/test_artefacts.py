"""Artefacts appear whole or not at all, their bytes are vouched for, and one process writes a run."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file

from xtremedistil_ner.errors import ArtefactError, ResourceError, lack_of_resource
from xtremedistil_ner.run_folder.artefacts import publish, published_fingerprint, remove, report_fingerprint, verify
from xtremedistil_ner.run_folder.lock import hold_as_worker, run_lock
from xtremedistil_ner.run_folder.whole_files import write_json, write_text

OTHER_PROCESS = """
import os, signal, sys
from pathlib import Path
from xtremedistil_ner.run_folder.lock import hold_as_worker, run_lock
from xtremedistil_ner.run_folder.artefacts import publish
what, place = sys.argv[1], Path(sys.argv[2])
if what == "lock":
    with run_lock(place):
        print("ready", flush=True)
        sys.stdin.read()
elif what == "worker":
    release = hold_as_worker(place)
    print("ready", flush=True)
    sys.stdin.read()
else:
    with publish(place, {"fingerprint": "new"}) as folder:
        (folder / "weights").write_text("half of the n")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def start_other(what, place):
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS, what, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    if what in ("lock", "worker"):
        assert other.stdout.readline() == "ready\n"
    return other


def end(other):
    other.communicate()


def publish_weights(target, text, *, label="old"):
    with publish(target, {"fingerprint": label}) as folder:
        (folder / "weights").write_text(text)
        (folder / "inner").mkdir()
        (folder / "inner" / "more").write_text(text)


def test_a_published_folder_is_vouched_for_file_by_file(tmp_path):
    publish_weights(tmp_path / "teacher", "abc")
    manifest = verify(tmp_path / "teacher")
    assert set(manifest["files"]) == {"weights", "inner/more"}
    # sha256 of "abc": FIPS 180-2, appendix B.1
    assert manifest["files"]["weights"] == {
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "bytes": 3,
    }
    assert published_fingerprint(tmp_path / "teacher") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["teacher"]


def test_publishing_again_leaves_nothing_of_the_old_artefact(tmp_path):
    publish_weights(tmp_path / "teacher", "abc")
    with publish(tmp_path / "teacher", {"fingerprint": "new"}) as folder:
        (folder / "other").write_text("x")
    assert sorted(path.name for path in (tmp_path / "teacher").iterdir()) == ["manifest.json", "other"]
    assert [path.name for path in tmp_path.iterdir()] == ["teacher"]


def test_an_exception_inside_leaves_the_old_artefact(tmp_path):
    publish_weights(tmp_path / "teacher", "abc")
    with pytest.raises(ZeroDivisionError), publish(tmp_path / "teacher", {"fingerprint": "new"}) as folder:
        (folder / "weights").write_text("half")
        raise ZeroDivisionError
    assert verify(tmp_path / "teacher")["fingerprint"] == "old"


def test_a_kill_inside_leaves_the_old_artefact_and_the_next_run_clears_up(tmp_path):
    publish_weights(tmp_path / "teacher", "abc")
    other = start_other("publish", tmp_path / "teacher")
    end(other)
    assert other.returncode == -signal.SIGKILL
    assert verify(tmp_path / "teacher")["fingerprint"] == "old"
    assert len(list(tmp_path.iterdir())) == 2  # the temporary folder of the killed process
    publish_weights(tmp_path / "teacher", "xyz", label="new")
    assert verify(tmp_path / "teacher")["fingerprint"] == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["teacher"]


@pytest.mark.parametrize("write", [publish_weights, lambda target, text: write_text(target / "file", text)])
def test_what_does_not_fit_leaves_what_is_there_and_no_half_of_the_new(tmp_path, file_size_limit, write):
    publish_weights(tmp_path / "teacher", "abc")
    before = sorted(tmp_path.rglob("*"))
    with file_size_limit(1000), pytest.raises(OSError, match="File too large") as caught:
        write(tmp_path / "teacher", "x" * 2000)
    assert str(lack_of_resource(caught.value)).startswith(f"{tmp_path / 'teacher'}")
    assert sorted(tmp_path.rglob("*")) == before
    assert verify(tmp_path / "teacher")["fingerprint"] == "old"


@pytest.mark.parametrize(
    "save",
    [
        lambda path: save_file({"weights": np.zeros(1000)}, path),  # in Rust, which names no file
        lambda path: np.save(path, np.zeros(1000), allow_pickle=False),  # in C, which tells no number either
    ],
)
def test_a_library_that_finds_no_room_is_told_with_the_artefact(tmp_path, file_size_limit, save):
    with file_size_limit(1000), pytest.raises((OSError, SafetensorError)) as caught:
        with publish(tmp_path / "teacher", {"fingerprint": "f"}) as folder:
            save(folder / "weights")
    assert str(lack_of_resource(caught.value)).startswith(f"{tmp_path / 'teacher'}: ")


def test_a_missing_a_changed_and_a_truncated_file_are_all_named(tmp_path):
    with publish(tmp_path / "teacher", {"fingerprint": "f"}) as folder:
        for name in ("gone", "changed", "cut", "whole"):
            (folder / name).write_text("0123456789")
    (tmp_path / "teacher" / "gone").unlink()
    (tmp_path / "teacher" / "changed").write_text("0123456788")
    (tmp_path / "teacher" / "cut").write_text("01234")
    with pytest.raises(ArtefactError) as caught:
        verify(tmp_path / "teacher")
    message = str(caught.value)
    assert "gone is missing" in message
    assert "changed differs" in message
    assert "cut differs" in message
    assert "whole" not in message


@pytest.mark.parametrize("damage", ["missing", "truncated", "manifest", "list", "empty"])
def test_what_is_not_whole_has_no_fingerprint(tmp_path, damage):
    target = tmp_path / "teacher"
    publish_weights(target, "abc")
    if damage == "missing":
        (target / "weights").unlink()
    elif damage == "truncated":
        (target / "weights").write_text("a")
    else:
        text = {"manifest": '{"fingerprint": "old", ', "list": "[]", "empty": "{}"}[damage]
        (target / "manifest.json").write_text(text)
    assert published_fingerprint(target) is None
    assert published_fingerprint(tmp_path / "nothing") is None


def test_a_broken_manifest_is_named(tmp_path):
    publish_weights(tmp_path / "teacher", "abc")
    (tmp_path / "teacher" / "manifest.json").write_text("{")
    with pytest.raises(ArtefactError, match=r"teacher/manifest\.json: missing or broken"):
        verify(tmp_path / "teacher")


def test_a_report_without_a_fingerprint_counts_as_none(tmp_path):
    path = tmp_path / "report.json"
    assert report_fingerprint(path) is None
    for value in ({}, {"run": None}, {"run": {}}):
        write_json(path, value)
        assert report_fingerprint(path) is None
    write_json(path, {"run": {"fingerprint": "abc"}})
    assert report_fingerprint(path) == "abc"


def test_removing_leaves_nothing_and_removing_nothing_is_fine(tmp_path):
    publish_weights(tmp_path / "teacher", "abc")
    remove(tmp_path / "teacher")
    remove(tmp_path / "teacher")
    assert list(tmp_path.iterdir()) == []


def test_a_second_writer_is_refused_until_the_first_one_ends(tmp_path):
    other = start_other("lock", tmp_path)
    try:
        with pytest.raises(ResourceError, match="another process is writing this run"), run_lock(tmp_path):
            raise AssertionError
    finally:
        other.kill()
        end(other)
    with run_lock(tmp_path):
        pass
    with run_lock(tmp_path):
        pass


def test_workers_that_outlive_their_run_keep_the_folder(tmp_path):
    other = start_other("worker", tmp_path)
    try:
        with (
            pytest.raises(ResourceError, match="worker processes of an earlier run"),
            run_lock(tmp_path, workers_gone_within_s=0.3),
        ):
            raise AssertionError
    finally:
        other.kill()
        end(other)
    with run_lock(tmp_path, workers_gone_within_s=0.0):
        pass


def test_workers_of_the_run_itself_share_the_folder(tmp_path):
    with run_lock(tmp_path):
        releases = [hold_as_worker(tmp_path), hold_as_worker(tmp_path)]
        for release in releases:
            release()

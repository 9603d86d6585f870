"""`--push-to-hub`: the export as it lies, in one repository, by the real command and a Hub on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.hub_upload import serving_uploads


@pytest.fixture(scope="module")
def run(finished_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("upload") / "run"
    shutil.copytree(finished_run / "run", folder)
    return folder


def push(run, hub, tmp_path, *options, token="secret", offline="0"):
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_TOKEN": token, "HF_HUB_OFFLINE": offline}
    command = [Path(sys.executable).with_name("xner"), "export", run, "--push-to-hub", *options]
    return subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=120)


def test_an_export_is_uploaded_whole_into_a_private_repository(run, tmp_path):
    with serving_uploads() as hub:
        done = push(run, hub, tmp_path, "some-org/tiny", "--private")
    assert done.returncode == 0, done.stderr
    assert hub.repositories == {"some-org/tiny": True}
    export = run / "export"
    expected = {path.relative_to(export).as_posix(): path for path in export.rglob("*") if path.is_file()}
    assert hub.files == {name: path.read_bytes() for name, path in expected.items()}
    assert f"uploaded to {hub.url}/some-org/tiny/commit/1" in done.stderr


@pytest.mark.parametrize(
    ("name", "status", "offline", "code", "message"),
    [
        ("some-org/tiny", 403, "0", 2, "not allowed"),
        ("a/b/c", 200, "0", 2, "owner/name"),
        ("some-org/tiny", 500, "0", 5, "cannot be reached"),
        ("some-org/tiny", 200, "1", 5, "HF_HUB_OFFLINE"),
    ],
)
def test_what_keeps_an_export_from_being_uploaded_is_said(run, tmp_path, name, status, offline, code, message):
    with serving_uploads() as hub:
        hub.status = status
        done = push(run, hub, tmp_path, name, offline=offline)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert hub.files == {}

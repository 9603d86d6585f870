"""A command as a process: closed and full streams, signals from the first import to the last line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.processes.process_end import run_as_process

COMMAND = (sys.executable, "-m", "xtremedistil_ner")
WAITS = """
import hashlib
from xtremedistil_ner.processes.process_end import run_as_process
from xtremedistil_ner.processes.stop_signals import deferred

def command():
    with deferred("after this update"):
        print("ready", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # one call, in which Python runs no handler
    raise AssertionError

run_as_process(command)
"""


def run(*arguments, shell="", **options):
    """Run the command, with redirections of a shell; exit code, standard output, standard error."""
    command = " ".join([*COMMAND, *map(str, arguments), shell])
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False, **options)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("shell", "code", "message"),
    [
        (">&-", 5, "xner: Standard output is closed. Give a file, or /dev/null.\n"),
        ("<&- >&-", 5, "xner: Standard output is closed. Give a file, or /dev/null.\n"),
        ("> /dev/full", 5, "xner: standard output: No space left on device. "),
        ("2>&-", 0, ""),
        ("<&-", 0, "Next: xner distil demo --langs "),
        ("2> /dev/full > /dev/full", 5, ""),
        ("| true", 0, ""),
    ],
)
def test_a_stream_that_is_closed_or_full_is_one_message(shell, code, message):
    found, out, err = run("languages", shell=shell)
    assert found == code
    assert err.startswith(message)
    assert err.count("\n") == bool(message)
    assert bool(out) == (code == 0 and "|" not in shell)


def test_tagging_says_that_standard_input_is_closed_and_that_output_is_full(finished_run, tmp_path):
    export = finished_run / "run" / "export"
    (tmp_path / "a.txt").write_text("Ada Byron lives in Paris .\n" * 2000, encoding="utf-8")
    assert run("tag", export, shell="<&-") == (2, "", "xner: Standard input is closed. Give a file.\n")
    code, _, err = run("tag", export, tmp_path / "a.txt", shell="> /dev/full")
    assert (code, err.partition(". ")[0]) == (5, "xner: standard output: No space left on device")
    assert run("tag", export, tmp_path / "a.txt", shell="| head -n 1 > /dev/null") == (0, "", "")


def start(*command):
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_a_long_message_whole_lines_are_said_and_the_others_counted(monkeypatch, capsys):
    def fail():
        raise UsageError("\n".join(f"{number} {'é' * 200}" for number in range(20)))

    with pytest.raises(SystemExit, match="2"):
        run_as_process(fail)
    said = capsys.readouterr().err
    assert len(said.encode()) < 2000
    assert said.splitlines()[3] == f"3 {'é' * 200}"
    assert said.endswith("… and 16 more lines.\n")


def test_a_second_signal_ends_a_process_in_the_middle_of_one_long_call():
    process = start(sys.executable, "-c", WAITS)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "xner: stopping after this update. A second signal ends it at once.\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert process.stderr.read() == "xner: Stopped; what was done is saved. The same command goes on from there.\n"
    process.stdout.close()
    process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_torch_is_imported_is_130_and_one_message(finished_run, number):
    arguments = ("evaluate", finished_run / "run" / "student", "--corpus", finished_run / "corpus")
    process = start(*COMMAND, *map(str, arguments))
    while b"libtorch" not in (maps := open(f"/proc/{process.pid}/maps", "rb")).read():  # noqa: PTH123
        maps.close()
        assert process.poll() is None
        time.sleep(0.005)
    maps.close()
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err.count("\n"), err.startswith("xner: Stopped")) == (130, 1, True), err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_tagging_that_is_stopped_says_that_it_saves_nothing(finished_run, number):
    process = subprocess.Popen(
        (*COMMAND, "tag", str(finished_run / "run" / "export"), "--format", "jsonl"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while b"onnxruntime" not in (maps := open(f"/proc/{process.pid}/maps", "rb")).read():  # noqa: PTH123
        maps.close()
        assert process.poll() is None
        time.sleep(0.005)
    maps.close()
    os.kill(process.pid, number)
    found = (*process.communicate(timeout=120), process.returncode)
    assert found == ("", "xner: Stopped. The same command begins from the start.\n", 130)

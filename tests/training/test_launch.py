"""Stages on two real processes that talk through gloo. Each start costs about three seconds of imports."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.util import Finalize
from pathlib import Path

import numpy as np
import pytest
import torch
from support.waiting import wait_until
from torch import distributed, nn

from xtremedistil_ner.errors import Interrupted, ResourceError, StoreError, lack_of_resource
from xtremedistil_ner.processes.world import Processes, current_processes
from xtremedistil_ner.progress import silent
from xtremedistil_ner.run_folder.lock import run_lock
from xtremedistil_ner.training import launch as launch_module
from xtremedistil_ner.training.checkpoints import CheckpointFolder
from xtremedistil_ner.training.gradient_sum import GradientSum
from xtremedistil_ner.training.launch import default_processes, launch
from xtremedistil_ner.training.loop import step_gradients, train_phases
from xtremedistil_ner.training.phases import LoopSettings, Phase, Source
from xtremedistil_ner.training.sampling import BatchPlan

FEATURES = torch.randn(13, 4, generator=torch.Generator().manual_seed(1))
LENGTHS = np.arange(1, 14)


def gradients(processes):
    """Gradients of one update over 7 of 13 rows: an odd number, so that the shares differ."""
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    model.unused = nn.Parameter(torch.zeros(3))
    source = Source(
        "rows", BatchPlan(LENGTHS, batch=7, seed=2), LENGTHS, lambda rows: model(FEATURES[rows]).pow(2).sum()
    )
    settings = LoopSettings("train", 1, torch.float32, 20, 1e9)
    loss = step_gradients((source,), update=0, settings=settings, processes=processes)
    parameters = [model.weight, model.bias, model.unused]
    GradientSum(model, parameters, processes).add_up(loss)
    return [parameter.grad for parameter in parameters]


def train_from_own_weights(folder, processes):
    """Two updates of a model whose first weights differ from process to process, as they may between machines."""
    torch.manual_seed(processes.rank)
    model = nn.Linear(4, 2)
    plan = BatchPlan(LENGTHS, batch=7, seed=2)
    source = Source("rows", plan, LENGTHS, lambda rows: model(FEATURES[rows]).pow(2).sum())
    names = frozenset(name for name, _ in model.named_parameters())
    phase = Phase("a phase", (source,), names, 2, 0.1, evaluate=None, evaluate_every=2, patience=1)
    train_phases(
        model,
        [phase],
        settings=LoopSettings("train", 1, torch.float32, 20, 1e9),
        processes=processes,
        checkpoints=CheckpointFolder(folder / "checkpoints", fingerprint="job"),
        tell=silent,
    )
    return model.weight.detach()


def train_a_table(folder, processes):
    """Weights after 40 updates of 300 embeddings, of which an update sees a few and each process others."""
    torch.manual_seed(0)
    model = nn.Embedding(300, 2)
    pieces = torch.randint(0, 300, (13, 2), generator=torch.Generator().manual_seed(4))

    def loss(rows):
        first_of_two = model(pieces[rows])[:, 0]  # the others are looked up as well, and have gradients of zero
        return first_of_two.pow(2).sum()

    source = Source("rows", BatchPlan(LENGTHS, batch=3, seed=2), LENGTHS, loss)
    phase = Phase("a phase", (source,), frozenset({"weight"}), 40, 0.1, evaluate=None, evaluate_every=40, patience=1)
    train_phases(
        model,
        [phase],
        settings=LoopSettings("train", 1, torch.float32, 20, 1e9),
        processes=processes,
        checkpoints=CheckpointFolder(folder / "table", fingerprint="job"),
        tell=silent,
    )
    return model.weight.detach()


def write_gradients(folder):
    processes = current_processes()
    torch.save(train_a_table(folder, processes), folder / f"table-{processes.rank}.pt")
    torch.save(train_from_own_weights(folder, processes), folder / f"weights-{processes.rank}.pt")
    torch.save(gradients(processes), folder / f"gradients-{processes.rank}.pt")
    total = processes.sum_array(np.array([processes.rank + 1, 10], dtype=np.int64))
    (folder / f"sum-{processes.rank}").write_text(f"{total.tolist()} of {processes.count}")
    child = multiprocessing.get_context("spawn").Process(target=os.getpid)
    child.start()
    child.join()
    (folder / f"child-{processes.rank}").write_text(str(child.exitcode))
    processes.barrier()
    Finalize(None, note_group, (folder / f"group-{processes.rank}",), exitpriority=0)  # no atexit in these processes


def note_group(path):
    path.write_text("in a group" if distributed.is_initialized() else "in none")


def fail_in_one(folder):
    processes = current_processes()
    if processes.rank == 1:
        raise StoreError(f"{folder}: a shard is missing. Remove the folder and run the same command again.")
    processes.barrier()


def run_out_of_memory():
    raise torch.OutOfMemoryError("tried to allocate 1 PiB")


def wait_for_ever(folder):
    (folder / f"worker-{current_processes().rank}").write_text(str(os.getpid()))
    current_processes().barrier()
    time.sleep(600)


def end_one(folder):
    """What an out-of-memory killer does to one of two, while the other waits for it."""
    processes = current_processes()
    if processes.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    processes.barrier()


def fail_by_a_defect(folder):
    raise ZeroDivisionError(f"in {folder}")


def wait_in_a_launch(folder):
    """What the subprocess of the tests below runs."""
    try:
        launch(wait_for_ever, (folder,), count=2, run_folder=folder)
    except Interrupted as error:
        (folder / "interrupted").write_text(str(error))
        sys.exit(error.exit_code)


def start_waiting(folder):
    """A process with two workers that wait; its own number and theirs."""
    code = (
        f"import pathlib; from training import test_launch; test_launch.wait_in_a_launch(pathlib.Path({str(folder)!r}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    numbers = [folder / f"worker-{rank}" for rank in range(2)]
    wait_until(lambda: process.poll() is not None or all(file.exists() and file.read_text() for file in numbers))
    return process, [int(file.read_text()) for file in numbers]


def lives(number):
    stat = Path(f"/proc/{number}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """What two processes wrote."""
    folder = tmp_path_factory.mktemp("two-processes")
    launch(write_gradients, (folder,), count=2, run_folder=folder)
    return folder


def test_every_process_trains_the_weights_of_the_main_one(two_processes):
    first, second = (torch.load(two_processes / f"weights-{rank}.pt", weights_only=True) for rank in range(2))
    assert torch.equal(first, second)


def test_two_processes_train_a_table_as_one_does(two_processes, tmp_path):
    """Bit by bit the same in both, although each looks up other rows and leaves other rows behind."""
    first, second = (torch.load(two_processes / f"table-{rank}.pt", weights_only=True) for rank in range(2))
    assert torch.equal(first, second)
    assert torch.allclose(first, train_a_table(tmp_path, Processes(0, 1, torch.device("cpu"))), rtol=0, atol=1e-6)


def test_two_processes_add_up_to_the_gradient_of_one(two_processes):
    *expected, unused = gradients(Processes(0, 1, torch.device("cpu")))
    assert unused is None
    found = [torch.load(two_processes / f"gradients-{rank}.pt", weights_only=True) for rank in range(2)]
    assert [gradients.pop() for gradients in found] == [None, None], "what no loss reads has no gradient"
    for first, second, other in zip(*found, expected, strict=True):
        assert torch.equal(first, second)
        assert torch.allclose(first, other, rtol=1e-5)
    assert [(two_processes / f"sum-{rank}").read_text() for rank in range(2)] == ["[3, 20] of 2"] * 2


def test_a_process_may_start_processes(two_processes):
    assert [(two_processes / f"child-{rank}").read_text() for rank in range(2)] == ["0"] * 2


def test_a_process_has_left_its_group_when_it_ends(two_processes):
    assert [(two_processes / f"group-{rank}").read_text() for rank in range(2)] == ["in none"] * 2


def test_a_workers_error_crosses_back_as_itself_and_is_said_once(tmp_path, capfd):
    with pytest.raises(StoreError) as caught:
        launch(fail_in_one, (tmp_path,), count=2, run_folder=tmp_path)
    assert type(caught.value) is StoreError
    assert str(caught.value) == f"{tmp_path}: a shard is missing. Remove the folder and run the same command again."
    assert capfd.readouterr() == ("", "")


def test_a_killed_process_is_named_with_its_signal_and_nothing_else_is_said(tmp_path, capfd):
    with pytest.raises(ResourceError) as caught:
        launch(end_one, (tmp_path,), count=2, run_folder=tmp_path)
    assert str(caught.value).startswith("Process 1 of 2 was ended by signal 9, perhaps because memory ran out.")
    assert "The same command goes on" in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_workers_defect_keeps_its_traceback(tmp_path):
    with pytest.raises(RuntimeError, match=r"Process [01]:\nTraceback [\s\S]*ZeroDivisionError: in "):
        launch(fail_by_a_defect, (tmp_path,), count=2, run_folder=tmp_path)


def test_a_stopped_launch_ends_its_workers_and_is_interrupted(tmp_path):
    process, workers = start_waiting(tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == Interrupted.exit_code
    assert "The same command goes on from there." in (tmp_path / "interrupted").read_text()
    assert not any(map(lives, workers))


def test_workers_hold_the_run_folder_and_end_with_a_launcher_that_is_killed(tmp_path):
    """They sleep in the middle of a stage and would for ten minutes."""
    process, workers = start_waiting(tmp_path)
    try:
        alive = pytest.raises(ResourceError, match="worker processes of an earlier run are still alive")
        with alive, run_lock(tmp_path, workers_gone_within_s=0.1):
            pass
        assert all(map(lives, workers))
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not any(map(lives, workers)), timeout_s=5)
    with run_lock(tmp_path, workers_gone_within_s=5):
        pass


def test_one_process_runs_here(tmp_path):
    seen = []
    launch(seen.append, (os.getpid(),), count=1, run_folder=tmp_path)
    assert seen == [os.getpid()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_interrupts_a_single_process_and_the_handlers_come_back(tmp_path, number):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="The same command goes on from there"):
        launch(os.kill, (os.getpid(), number), count=1, run_folder=tmp_path)
    assert signal.getsignal(number) is before


def test_a_lack_of_memory_of_a_gpu_is_told_by_its_words():
    """The driver, cuBLAS and cuDNN have no class of their own for it."""
    for words in ("CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"):
        assert isinstance(lack_of_resource(RuntimeError(words)), ResourceError)
    assert lack_of_resource(RuntimeError("CUDA error: device-side assert triggered")) is None


def test_a_lack_of_memory_is_a_lack_of_resources(tmp_path):
    with pytest.raises(ResourceError, match=r"Out of memory: tried to allocate 1 PiB\. Lower the batch sizes"):
        launch(run_out_of_memory, (), count=1, run_folder=tmp_path)


def test_processes_by_default_are_gpus_that_pay_or_cores(monkeypatch):
    monkeypatch.setattr(launch_module, "available_cores", lambda: 6)
    assert [default_processes(independent=independent) for independent in (True, False)] == [6, 1]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert default_processes(independent=True) == default_processes(independent=False) == 4
    assert [default_processes(independent=False, most_gpus=most) for most in (1, 3, 16)] == [1, 3, 4]
    assert default_processes(independent=True, on_cpu=True) == 6

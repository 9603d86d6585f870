"""What `xner doctor` finds: on this machine nothing that keeps runs from working, and each lack when there is one."""

from __future__ import annotations

import json
import sys
from collections import namedtuple
from importlib.metadata import PackageNotFoundError

import pytest
import torch
from huggingface_hub import constants

from xtremedistil_ner import __main__ as command_line
from xtremedistil_ner.commands import doctor
from xtremedistil_ner.errors import ResourceError

NAMES = {"python", "numpy", "torch", "transformers", "gpu", "cores", "memory", "disk", "hub", "cache", "packaged data"}


def found(tmp_path, *, recipes=3):
    return {finding.name: finding for finding in doctor.examine(tmp_path / "runs", recipes)}


def test_this_machine_has_what_runs_need(tmp_path):
    findings = found(tmp_path)
    assert set(findings) >= NAMES
    assert [finding for finding in findings.values() if finding.state == "problem"] == []
    assert findings["torch"].text == torch.__version__
    assert findings["hub"].text.startswith("not asked: HF_HUB_OFFLINE")
    assert "3 recipes" in findings["packaged data"].text
    assert not (tmp_path / "runs").exists(), "looking makes nothing"


def no_package(name):
    raise PackageNotFoundError(name)


def no_demo():
    raise ResourceError("the demo corpus is missing. Install the package again.")


BREAKAGES = {
    "python": ("_PYTHON", (3, 99)),
    "numpy": ("version", no_package),
    "packaged data": ("demo_path", no_demo),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_what_is_missing_is_a_problem_with_a_remedy(tmp_path, monkeypatch, name):
    monkeypatch.setattr(doctor, *BREAKAGES[name])
    finding = found(tmp_path)[name]
    assert finding.state == "problem"
    assert any(word in finding.text for word in ("Make", "Run", "Install"))


def test_a_package_that_is_too_old_is_a_problem_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "version", lambda name: "0.0.1" if name == "torch" else "9999")
    findings = found(tmp_path)
    assert findings["torch"].state == "problem"
    assert findings["torch"].text.startswith("0.0.1 is too old. Run: pip install 'torch>=")
    assert findings["numpy"].state == "ok"


DECLARED = [
    "numpy>=2.0",
    "torch>=2.8; extra == 'distil'",
    "nothing-1>=1; extra == 'serve'",
    "xtremedistil-ner[distil]; extra == 'bench'",
    "nothing-2>=1; extra == 'bench'",
    "nothing-3>=1; extra == 'dev'",
]


def test_each_extra_is_installed_or_absent_with_its_pip_line(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "requires", lambda name: DECLARED)
    findings = found(tmp_path)
    assert findings["numpy"].state == findings["torch"].state == findings["[distil]"].state == "ok"
    assert findings["[serve]"].state == findings["[bench]"].state == "absent"
    assert findings["[serve]"].text.startswith("lacks nothing-1. ")
    assert findings["[bench]"].text.startswith("lacks nothing-2. "), "torch, of the extra that it names, is here"
    assert findings["[bench]"].text.endswith("run: pip install 'xtremedistil-ner[bench]'")
    assert not any("nothing-3" in finding.text for finding in findings.values())


def test_a_package_of_an_extra_that_is_too_old_is_a_problem_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "requires", lambda name: ["torch>=9999; extra == 'distil'"])
    finding = found(tmp_path)["torch"]
    assert finding.state == "problem"
    assert finding.text.endswith("is too old. Run: pip install 'torch>=9999'")


def test_a_look_that_fails_is_a_problem_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: torch.ops.load_library("/nowhere.so"))
    findings = found(tmp_path)
    assert findings["torch"].state == "ok", "its version"
    assert findings["devices"].state == "problem"
    assert "nowhere.so" in findings["devices"].text
    assert findings["packaged data"].state == "ok"


def test_a_newer_python_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 12, 1))
    assert found(tmp_path)["python"] == doctor.Finding("python", "warning", "3.12.1; only 3.11 is tested.")


def test_a_source_tree_that_is_not_installed_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "requires", no_package)
    finding = found(tmp_path)["packages"]
    assert (finding.state, "not installed" in finding.text) == ("warning", True)


def test_an_installation_without_recipes_is_a_problem(tmp_path):
    assert found(tmp_path, recipes=0)["packaged data"].state == "problem"


def test_a_full_disk_is_a_warning(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**12, 10**12, 10**9)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: usage)
    assert found(tmp_path)["disk"].state == "warning"


def test_a_hub_out_of_reach_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # discard: nothing listens
    finding = found(tmp_path)["hub"]
    assert finding.state == "warning"
    assert "127.0.0.1:9 cannot be reached" in finding.text


def doctor_command(monkeypatch, capfd, *arguments):
    monkeypatch.setattr(sys, "argv", ["xner", "doctor", *arguments])
    with pytest.raises(SystemExit) as ending:
        command_line.main()
    output = capfd.readouterr()
    return ending.value.code, output.out, output.err


def test_the_command_ends_with_0_where_nothing_is_wrong(monkeypatch, capfd, tmp_path):
    code, out, err = doctor_command(monkeypatch, capfd, "--out", str(tmp_path))
    assert (code, err) == (0, "Next: xner distil demo   or   xner init DIR --corpus PATH\n")
    assert "packaged data" in out


def test_the_command_ends_with_5_and_names_what_is_wrong(monkeypatch, capfd, tmp_path):
    monkeypatch.setattr(doctor, "demo_path", no_demo)
    code, out, err = doctor_command(monkeypatch, capfd, "--json", "--out", str(tmp_path))
    assert code == 5
    assert {row["name"]: row["state"] for row in json.loads(out)}["packaged data"] == "problem"
    assert err.startswith("xner: packaged data: ")

"""The command line, run in the process of the test."""

from __future__ import annotations

import sys

import pytest

from xtremedistil_ner import __main__ as command_line


def run_xner(monkeypatch, capfd, *arguments):
    """Run the command line; give its exit code, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["xner", *map(str, arguments)])
    with pytest.raises(SystemExit) as ending:
        command_line.main()
    output = capfd.readouterr()
    return ending.value.code or 0, output.out, output.err

"""The command line without a pipeline: usage, exit codes, recipes, formats."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from support.command_line import run_xner

import xtremedistil_ner.corpus.check
from xtremedistil_ner import __main__ as command_line
from xtremedistil_ner import errors
from xtremedistil_ner.commands import runs
from xtremedistil_ner.languages import WIKIANN_LANGUAGES

RECIPE = "# A tiny one.\nname: tiny\ncorpus: {languages: [fr]}\nteacher: {checkpoint: somewhere}\n"


@pytest.fixture
def xner(monkeypatch, capfd):
    """Run the command line; give its exit code, standard output and standard error."""
    return partial(run_xner, monkeypatch, capfd)


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


COMMANDS = (
    *("init", "distil", "finetune", "pseudolabel", "train", "export", "report", "compare", "recipes"),
    *("tag", "serve", "bench", "evaluate", "languages", "doctor", "corpus"),
)


def test_help_lists_every_command_with_a_whole_sentence(xner):
    code, out, _ = xner("--help")
    lines = [line.strip() for line in out.partition("Commands:")[2].splitlines() if line.strip()]
    assert code == 0
    assert [line.split()[0] for line in lines] == list(COMMANDS)
    assert [line for line in lines if not line.endswith(".") or line.endswith("...")] == []


def test_the_shell_completes_a_command(tmp_path):
    """As bash asks for it; the words to choose from come back."""
    asked = {"_XNER_COMPLETE": "complete_bash", "COMP_WORDS": "xner pse", "COMP_CWORD": "1"}
    command = [Path(sys.executable).with_name("xner")]
    done = subprocess.run(
        command, env={**os.environ, **asked}, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["pseudolabel"], "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(xner, command):
    code, out, _ = xner(command, "--help")
    assert code == 0
    assert out.startswith(f"Usage: xner {command}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["train"],
        ["train", "demo", "--until", "train"],
        ["compare"],
        ["compare", "nowhere", "neither"],
        ["report", "nowhere"],
        ["distil", "demo", "--processes", "0"],
        ["distil", "demo", "--protocol", "lenient"],
        ["distil", "demo", "--only", "nothing"],
        ["distil", "no-such-recipe"],
        ["evaluate", "somewhere"],
        ["evaluate", "somewhere", "--corpus", "demo", "--split", "tset"],
        ["evaluate", "somewhere", "--corpus", "demo", "--langs", "en,,de"],
        ["tag", "somewhere", "--format", "xml"],
    ],
)
def test_wrong_use_ends_with_2_and_without_a_traceback(xner, arguments):
    code, out, err = xner(*arguments)
    assert (code, out) == (2, "")
    assert err
    assert "Traceback" not in err


def every_error():
    kinds = [errors.XnerError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    return kinds[1:]


@pytest.mark.parametrize("kind", every_error())
def test_an_error_becomes_one_message_and_its_exit_code(xner, monkeypatch, kind):
    def fail(path, *, types):
        raise kind(f"{path}: broken. Mend it.")

    monkeypatch.setattr(xtremedistil_ner.corpus.check, "check_corpus", fail)
    assert xner("corpus", "check", "here") == (kind.exit_code, "", "xner: here: broken. Mend it.\n")


def test_a_defect_keeps_its_traceback(monkeypatch):
    def fail(path, *, types):
        raise ZeroDivisionError

    monkeypatch.setattr(xtremedistil_ner.corpus.check, "check_corpus", fail)
    monkeypatch.setattr(sys, "argv", ["xner", "corpus", "check", "here"])
    with pytest.raises(ZeroDivisionError):
        command_line.main()


def test_ctrl_c_ends_with_130(xner, monkeypatch):
    def interrupt(path, *, types):
        raise KeyboardInterrupt

    monkeypatch.setattr(xtremedistil_ner.corpus.check, "check_corpus", interrupt)
    code, out, _ = xner("corpus", "check", "here")
    assert (code, out) == (130, "")


def test_a_broken_corpus_ends_with_3_and_names_the_line(xner, tmp_path):
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "dev.tsv").write_text("Paris\tB-LOC\nis\n", encoding="utf-8")
    code, _, err = xner("corpus", "check", tmp_path)
    assert code == 3
    assert f"{tmp_path / 'en' / 'dev.tsv'}:2:" in err


def test_a_sound_corpus_is_counted(xner, tmp_path):
    (tmp_path / "no").mkdir()
    (tmp_path / "no" / "dev.tsv").write_text("Ola\tB-PER\nNordmann\tI-PER\n\nOslo\tB-LOC\n", encoding="utf-8")
    assert xner("corpus", "check", tmp_path)[0] == 0
    code, out, _ = xner("corpus", "stats", tmp_path)
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["language", "split", "sentences", "words", "LOC", "PER", "tags"],
        ["no", "dev", "2", "3", "1", "1", "IOB2"],
    ]


def test_languages_are_the_41(xner):
    code, out, _ = xner("languages")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(WIKIANN_LANGUAGES)


def options_of(xner, command):
    _, out, _ = xner(command, "--help")
    return {line.split()[0] for line in out.splitlines() if line.strip().startswith("--")}


@pytest.mark.parametrize("command", ["finetune", "pseudolabel", "train", "export"])
def test_a_stage_has_the_options_of_distil_that_make_sense_for_one_stage(xner, command):
    assert options_of(xner, "distil") - options_of(xner, command) == {"--only", "--until", "--protocol"}
    own = options_of(xner, command) - options_of(xner, "distil")
    assert own == (
        {"--format", "--onnxruntime-web", "--force", "--push-to-hub", "--private"} if command == "export" else set()
    )


def test_distil_without_a_recipe_is_the_papers_student_on_wikiann(xner):
    code, out, err = xner("distil", "--langs", "all", "--dry-run")
    assert (code, out) == (5, ""), "the corpus is the Hub's, and the hub is offline"
    assert "unimelb-nlp/wikiann" in err
    assert (
        "Without network, `xner distil demo` uses the built-in corpus; for a folder of yours, give corpus.path" in err
    )


@pytest.fixture
def run_copy(finished_run, tmp_path):
    shutil.copytree(finished_run / "run", tmp_path / "run")
    return tmp_path / "run"


def succeed(monkeypatch, capfd, *arguments):
    monkeypatch.setattr(sys, "argv", ["xner", *map(str, arguments)])
    with pytest.raises(SystemExit) as ending:
        command_line.main()
    assert ending.value.code == 0
    return capfd.readouterr().out


def test_the_papers_protocol_is_scored_when_asked_for(monkeypatch, capfd, run_copy):
    result = json.loads(
        succeed(monkeypatch, capfd, "distil", run_copy, "--protocol", "paper", "--only", "evaluate", "--json")
    )
    for name in ("teacher", "student"):
        means = {"macro_f1", "std_f1", "languages_without_entities"}
        assert set(result["report"]["models"][name]["paper_protocol"]) == {*means, "languages"}
    corpus = result["report"]["data"]["corpus"]["path"]
    arguments = ("evaluate", run_copy / "student", "--corpus", corpus, "--protocol", "paper")
    entry = json.loads(succeed(monkeypatch, capfd, *arguments, "--json"))
    assert entry["paper_protocol"] == result["report"]["models"]["student"]["paper_protocol"]
    assert "papers' protocol" in succeed(monkeypatch, capfd, *arguments)


def test_a_report_is_written_again_from_its_json(monkeypatch, capfd, run_copy):
    before = {name: (run_copy / name).read_text(encoding="utf-8") for name in ("report.md", "report.html")}
    for name in before:
        (run_copy / name).unlink()
    assert succeed(monkeypatch, capfd, "report", run_copy) == before["report.md"] + "\n"
    assert {name: (run_copy / name).read_text(encoding="utf-8") for name in before} == before


def test_runs_are_compared_as_text_and_as_json(monkeypatch, capfd, run_copy, finished_run):
    shutil.copytree(run_copy, run_copy.parent / "other")
    runs = (run_copy, run_copy.parent / "other")
    text = succeed(monkeypatch, capfd, "compare", *runs)
    assert text.splitlines()[0].split() == ["teacher", "run", "other"]
    assert "paired bootstrap" in text
    assert list(json.loads(succeed(monkeypatch, capfd, "compare", *runs, "--json"))["runs"]) == ["run", "other"]


def test_a_comparison_is_written_as_a_page_and_over_nothing_else(xner, monkeypatch, capfd, run_copy, tmp_path):
    shutil.copytree(run_copy, run_copy.parent / "other")
    runs = (run_copy, run_copy.parent / "other")
    text = succeed(monkeypatch, capfd, "compare", *runs)
    assert succeed(monkeypatch, capfd, "compare", *runs, "--html", tmp_path / "page.html") == text
    assert "<title>run, other: students compared</title>" in (tmp_path / "page.html").read_text(encoding="utf-8")
    before = (run_copy / "report.json").read_bytes()
    code, _, error = xner("compare", *runs, "--html", run_copy / "report.json")
    assert (code, "ends in .html" in error) == (2, True)
    assert (run_copy / "report.json").read_bytes() == before


def test_a_recipe_in_a_folder_is_found_by_folder_and_name():
    assert "strategies/d1" in runs.packaged_recipes()
    assert runs.read_recipe("strategies/d1", None, None, None)[0].train.strategy == "D1"


def test_packaged_recipes_are_listed_with_their_first_line(xner, monkeypatch, recipe):
    monkeypatch.setattr(runs, "packaged_recipes", lambda: {"tiny": recipe})
    code, out, _ = xner("recipes")
    assert code == 0
    assert out.splitlines()[1] == "tiny    A tiny one."


def test_every_packaged_recipe_can_be_read_and_is_named_like_its_file():
    assert "demo" in runs.packaged_recipes()
    for name in runs.packaged_recipes():
        assert runs.read_recipe(name, None, None, None)[0].name == name.rpartition("/")[2]


def test_a_recipes_own_languages_stand_unless_langs_is_given(recipe):
    assert runs.read_recipe(str(recipe), None, None, None)[0].corpus.languages == ("fr",)
    assert runs.read_recipe(str(recipe), "all", None, None)[0].corpus.languages == ()
    assert runs.read_recipe(str(recipe), "no, de", None, None)[0].corpus.languages == ("no", "de")


@pytest.mark.parametrize("code", ["no", "1e3", "on", "null", "zh-min-nan"])
def test_any_language_code_stays_text(recipe, code):
    assert runs.read_recipe(str(recipe), code, None, None)[0].corpus.languages == (code,)


def test_settings_of_the_command_line_change_the_recipe(recipe):
    read, _ = runs.read_recipe(str(recipe), None, ["train.learning_rate=3e-4", "train.strategy=D1"], None)
    assert (read.train.learning_rate, read.train.strategy) == (3e-4, "D1")


def test_the_run_folder_is_named_after_the_recipe_unless_out_is_given(recipe):
    assert runs.read_recipe(str(recipe), None, None, None)[1] == Path("runs/tiny")
    assert runs.read_recipe(str(recipe), None, None, Path("there"))[1] == Path("there")


def test_a_run_folder_serves_as_its_own_recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    read, out = runs.read_recipe(str(tmp_path), None, None, None)
    assert (read.name, out) == ("tiny", tmp_path)


def test_a_packaged_name_wins_over_a_folder_of_that_name(tmp_path, monkeypatch, recipe):
    monkeypatch.setattr(runs, "packaged_recipes", lambda: {"tiny": recipe})
    monkeypatch.chdir(tmp_path)
    Path("tiny").mkdir()
    Path("tiny", "recipe.yaml").write_text(RECIPE.replace("fr", "sv"), encoding="utf-8")
    assert runs.read_recipe("tiny", None, None, None)[0].corpus.languages == ("fr",)
    assert runs.read_recipe("./tiny", None, None, None)[0].corpus.languages == ("sv",)


def next_of(monkeypatch, capfd, *arguments):
    monkeypatch.setattr(sys, "argv", ["xner", *map(str, arguments)])
    with pytest.raises(SystemExit) as ending:
        command_line.main()
    assert ending.value.code == 0
    return [line for line in capfd.readouterr().err.splitlines() if line.startswith(("Next: ", "Look at: "))]


def test_a_finished_run_names_its_report_and_the_commands_that_use_it(monkeypatch, capfd, run_copy):
    use = f"xner tag {run_copy / 'export'} FILE   or   xner serve {run_copy / 'export'}"
    look_at = f"Look at: {run_copy / 'report.html'}"
    assert next_of(monkeypatch, capfd, "distil", run_copy) == [look_at, f"Next: {use}   or   xner report {run_copy}"]
    compare = f"xner compare {run_copy} OTHER_RUN"
    assert next_of(monkeypatch, capfd, "report", run_copy) == [look_at, f"Next: {compare}   or   {use}"]
    change = ("--set", "train.learning_rate=5e-2")
    dry = next_of(monkeypatch, capfd, "distil", run_copy, *change, "--dry-run")
    assert dry == ["Next: the same command without --dry-run"]
    assert next_of(monkeypatch, capfd, "train", run_copy, *change) == [f"Next: xner distil {run_copy}"]


def test_a_command_that_looks_at_a_corpus_or_the_machine_says_what_comes_next(monkeypatch, capfd, finished_run):
    corpus = finished_run / "corpus"
    start = f"xner init DIR --corpus {corpus}"
    assert next_of(monkeypatch, capfd, "corpus", "check", corpus) == [
        f"Next: xner corpus stats {corpus}   or   {start}"
    ]
    assert next_of(monkeypatch, capfd, "corpus", "stats", corpus) == [f"Next: {start}"]
    for command in ("languages", "doctor", "recipes"):
        assert len(next_of(monkeypatch, capfd, command)) == 1
    model = finished_run / "run" / "student"
    (line,) = next_of(monkeypatch, capfd, "evaluate", model, "--corpus", corpus)
    assert line == f"Next: xner evaluate OTHER_MODEL --corpus {corpus}"


def test_json_comes_without_a_word_about_what_is_next(monkeypatch, capfd, run_copy):
    for command in ("distil", "report"):
        assert next_of(monkeypatch, capfd, command, run_copy, "--json") == []

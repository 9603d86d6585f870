"""Entity types that are mapped or left out, in corpora and in evaluation; languages without any entity."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
from support.command_line import run_xner
from support.hub_mirror import write_mirror, write_table
from support.tiny_report import build, entry

from xtremedistil_ner import __main__ as command_line
from xtremedistil_ner.commands.terminal import format_models, format_tables
from xtremedistil_ner.corpus.check import corpus_stats
from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.errors import CorpusError, RecipeError, UsageError
from xtremedistil_ner.evaluation.bootstrap import retention_intervals
from xtremedistil_ner.evaluation.score_split import scored_scheme
from xtremedistil_ner.evaluation.scoring import macro_f1
from xtremedistil_ner.labels import LabelScheme, map_types, spans_of
from xtremedistil_ner.pipeline.preflight import read_every_split
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.data_sections import CorpusSection, HubCorpusSection
from xtremedistil_ner.recipe.reader import format_recipe, read_recipe
from xtremedistil_ner.report.html import format_page
from xtremedistil_ner.report.markdown import format_report
from xtremedistil_ner.report.model_tables import model_tables
from xtremedistil_ner.stages.evaluate_model import evaluate_model

WORDS = ["Ada", "Byron", "in", "London", "Soho", "on", "Easter"]
TAGS = ["B-PERSON", "I-PERSON", "O", "B-LOC", "B-GPE", "O", "B-MISC"]
MAPPING = {"PERSON": "PER", "GPE": "LOC", "MISC": None}
MAPPED = ("B-PER", "I-PER", "O", "B-LOC", "B-LOC", "O", "O")
RECIPE = "name: tiny\nteacher: {checkpoint: somewhere}\n"


def write_tsv(folder, **splits):
    (folder / "en").mkdir(parents=True, exist_ok=True)
    for split, tags in splits.items():
        text = "".join(f"{word}\t{tag}\n" for word, tag in zip(WORDS, tags, strict=False))
        (folder / "en" / f"{split}.tsv").write_text(text, encoding="utf-8")
    return folder


def opened(folder, types=MAPPING, **options):
    return open_corpus(CorpusSection(path=str(folder), types=types), **options)


def test_entities_side_by_side_whose_types_become_one_stay_two():
    assert map_types(TAGS, MAPPING) == MAPPED
    assert [(span.start, span.stop, span.type) for span in spans_of(MAPPED)] == [
        (0, 2, "PER"), (3, 4, "LOC"), (4, 5, "LOC"),
    ]  # fmt: skip


def test_a_mapping_is_applied_once():
    assert map_types(["B-A", "I-B"], {"A": "B", "B": "A"}) == ("B-B", "I-A")


def test_types_are_mapped_in_corpora_of_every_kind(tmp_path):
    write_tsv(tmp_path / "tsv", train=TAGS)
    (tmp_path / "jsonl" / "en").mkdir(parents=True)
    (tmp_path / "jsonl" / "en" / "train.jsonl").write_text(json.dumps({"words": WORDS, "tags": TAGS}) + "\n")
    (tmp_path / "parquet" / "en").mkdir(parents=True)
    write_table(tmp_path / "parquet" / "en" / "train.parquet", [(WORDS, TAGS)], names=None)
    hub = write_mirror(
        tmp_path / "hub", {"en": {"train": [(WORDS[:3], ["B-PER", "I-PER", "O"])], "dev": [], "test": []}}
    )
    for kind in ("tsv", "jsonl", "parquet"):
        corpus = opened(tmp_path / kind)
        assert corpus.scheme.types == ("LOC", "PER")
        assert corpus.sentences("en", "train")[0].tags == MAPPED
        assert corpus.mapped_entities(("train", "dev")) == {"PERSON": 1, "GPE": 1, "MISC": 1}
    section = CorpusSection(hub=HubCorpusSection(id=str(hub)), types={"PER": "PERSON"}, languages=("en",))
    assert open_corpus(section).sentences("en", "train")[0].tags == ("B-PERSON", "I-PERSON", "O")


def test_a_list_of_types_admits_no_other_and_the_message_names_every_way_out(tmp_path):
    folder = write_tsv(tmp_path, train=TAGS)
    with pytest.raises(CorpusError) as caught:
        opened(folder, ("PERSON", "LOC", "GPE")).sentences("en", "train")
    message = str(caught.value)
    assert "train.tsv:7: tag 'B-MISC': the types are PERSON, LOC, GPE." in message
    assert "corpus.types: {MISC: null}" in message and "--types MISC=" in message
    assert "\n" not in message


def test_a_corpus_whose_types_are_all_left_out_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"every tag is O, mapped by corpus\.types"):
        opened(write_tsv(tmp_path, train=TAGS), {"PERSON": None, "GPE": None, "MISC": None, "LOC": None})


def test_what_a_mapping_changes_changes_the_hashes_and_nothing_else_does(tmp_path):
    folder = write_tsv(tmp_path, train=TAGS, test=TAGS[:3])
    plain, mapped = opened(folder, ()), opened(folder, {"GPE": "LOC", "LOC": "LOC", "NOWHERE": None})
    assert mapped.content_hash("en", "train") != plain.content_hash("en", "train")
    assert mapped.content_hash("en", "test") == plain.content_hash("en", "test"), "it has no GPE"
    assert mapped.training_text_hash("en") == plain.training_text_hash("en")
    left_out = opened(folder, {"GPE": None})
    assert left_out.content_hash("en", "train") != mapped.content_hash("en", "train")


def test_a_recipe_has_types_as_a_list_or_as_a_mapping_and_keeps_them():
    for text, types in (("[B, A]", ("B", "A")), ("{A: B, no: null}", {"A": "B", "no": None}), ("[]", ())):
        recipe = read_recipe(f"{RECIPE}corpus: {{types: {text}}}\n")
        assert recipe.corpus.types == types
        assert read_recipe(format_recipe(recipe)) == recipe
    recipe = read_recipe(RECIPE, overrides=["corpus.types.MISC=null", "corpus.types.GPE=LOC"])
    assert recipe.corpus.types == {"MISC": None, "GPE": "LOC"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{A: 1}", r"<recipe>:4: corpus\.types\.A: .*string, got 1"),
        ("{A: O}", r"corpus\.types: 'A': 'O' maps no type to a type\. Write null to leave a type out"),
        ("{A: ''}", r"corpus\.types\.A: give a value, or leave it out"),
        ("{A: 'a b'}", r"<recipe>:4: corpus\.types: 'a b' is no type\. An entity type is a printable word"),
        ("{'a b': A}", r"<recipe>:4: corpus\.types: 'a b' is no type\."),
        ("[A, 'a b']", r"<recipe>:4: corpus\.types: 'a b' is no type\."),
        ("[1]", r"<recipe>:4: corpus\.types\.0: .*string, got 1"),
        ("PER", r"corpus\.types: Input should be a list such as \[a, b\], got 'PER'"),
    ],
)
def test_other_forms_of_types_are_refused_with_their_place(text, named):
    with pytest.raises(RecipeError, match=named):
        read_recipe(f"{RECIPE}corpus:\n  types: {text}\n")


@pytest.fixture
def xner(monkeypatch, capfd):
    """Run the command line; give its standard output."""

    def run(*arguments):
        code, output, errors = run_xner(monkeypatch, capfd, *arguments)
        assert code == 0, errors
        return output

    return run


def test_statistics_and_checks_take_a_mapping_and_count_what_it_did(tmp_path, xner):
    folder = write_tsv(tmp_path, train=TAGS, test=TAGS[:3])
    assert [row.entities for row in corpus_stats(folder, types=MAPPING)] == [{"LOC": 2, "PER": 1}, {"PER": 1}]
    line = "Entities of mapped types: PERSON as PER: 2, GPE as LOC: 1, MISC left out: 1, NONE left out: 0."
    for command in ("stats", "check"):
        out = xner("corpus", command, folder, "--types", "PERSON=PER,GPE=LOC,MISC=,NONE=null")
        assert out.splitlines()[-1] == line


@pytest.mark.parametrize("text", ["MISC", "=LOC", "A=B,A=C", "A=O", "A B=C", "A=B=C"])
def test_a_mapping_that_is_none_is_wrong_use(tmp_path, monkeypatch, capfd, text):
    monkeypatch.setattr(sys, "argv", ["xner", "corpus", "stats", str(tmp_path), "--types", text])
    with pytest.raises(SystemExit) as ending:
        command_line.main()
    assert ending.value.code == 2
    assert "write OLD=NEW, or OLD= to leave a type out" in capfd.readouterr().err


@pytest.fixture
def other_types(finished_run, tmp_path):
    """The corpus of the finished run with PER called PERSON and its sentence with ORG taken as MISC."""
    shutil.copytree(finished_run / "corpus", tmp_path / "corpus")
    for file in tmp_path.glob("corpus/*/test.tsv"):
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("-PER", "-PERSON").replace("-ORG", "-MISC"), encoding="utf-8")
    return tmp_path / "corpus"


def scores_of(finished_run, corpus, **options):
    events = []
    found = evaluate_model(
        finished_run / "run" / "teacher",
        corpus=str(corpus),
        split="test",
        languages=(),
        tell=events.append,
        **options,
    )
    return found, [event.message for event in events]


def test_a_corpus_with_other_types_is_scored_by_a_mapping(finished_run, other_types):
    with pytest.raises(CorpusError, match="--types PERSON="):
        scores_of(finished_run, other_types)
    found, messages = scores_of(finished_run, other_types, types={"PERSON": "PER", "MISC": "ORG"})
    plain, _ = scores_of(finished_run, finished_run / "corpus")
    assert found["languages"] == plain["languages"]
    assert found["types"]["MISC"] == {
        "becomes": "ORG",
        "entities": plain["languages"]["en"]["types"]["ORG"]["support"] * 2,
    }
    assert any("PERSON as PER" in message for message in messages)


def test_a_type_that_is_left_out_is_left_out_of_what_the_model_finds_too(finished_run, other_types):
    found, _ = scores_of(finished_run, other_types, types={"PERSON": "PER", "MISC": None, "ORG": None})
    plain, _ = scores_of(finished_run, finished_run / "corpus")
    for language, scores in found["languages"].items():
        assert set(scores["types"]) == {"LOC", "PER"}
        assert scores["types"] == {kind: plain["languages"][language]["types"][kind] for kind in ("LOC", "PER")}
    _, messages = scores_of(finished_run, other_types, types={"PERSON": "PER", "MISC": None})
    assert any(message.endswith("To leave them out: --types ORG=") for message in messages)
    with pytest.raises(UsageError, match="leaves out all of its types"):
        scores_of(finished_run, other_types, types=dict.fromkeys(("PER", "ORG", "LOC")))


def test_a_models_type_that_others_become_stays():
    scheme = LabelScheme(("PER", "LOC", "GPE"))
    assert scored_scheme(scheme, {"LOC": "GPE", "GPE": None}).types == ("PER", "GPE")
    assert scored_scheme(scheme, {"PER": "LOC", "LOC": "PER"}) == scheme


NOTE = "Without an entity to find, and so left out of every mean: is."


def test_a_language_without_an_entity_counts_in_no_mean_and_every_form_of_the_report_says_so():
    teacher = entry(1000, en=[(1, 1, 1), (1, 1, 1)], no=[(1, 2, 2), (0, 0, 0)], **{"is": [(0, 3, 0), (0, 0, 0)]})
    student = entry(50, en=[(1, 2, 2), (0, 0, 0)], no=[(0, 0, 2), (0, 0, 0)], **{"is": [(0, 0, 0), (0, 0, 0)]})
    report = build(teacher, student)
    assert (teacher["macro_f1"], student["macro_f1"]) == (0.75, 0.25)
    assert (teacher["std_f1"], student["std_f1"]) == (0.25, 0.25)
    assert teacher["languages_without_entities"] == ["is"]
    assert report["retention"]["macro"] == 0.25 / 0.75
    assert set(report["retention"]["languages"]) == {"en", "no"}
    json.dumps(report, allow_nan=False)
    shown = (format_report(report), format_page(report), format_models(report), format_tables(model_tables(teacher)))
    assert all(NOTE in text for text in shown)
    assert [line.split()[2:] for line in format_models(report).splitlines() if "(is)" in line] == [["–"] * 3]


def test_without_any_entity_there_is_no_mean():
    none = entry(50, en=[(0, 3, 0), (0, 0, 0)])
    report = build(none, none)
    assert (none["macro_f1"], none["std_f1"], report["retention"]["macro"]) == (None, None, None)
    json.dumps(report, allow_nan=False)
    assert [line.split()[1:] for line in format_models(report).splitlines() if line.startswith("macro")] == [["–"] * 3]
    for text in (format_report(report), format_page(report), format_tables(model_tables(none))):
        assert "–" in text
        assert "0.00" not in text
        assert "Weak student" not in text


def test_selection_and_intervals_leave_such_a_language_out_too():
    """Resamples of a language without entities are 0/0 for both models."""
    right, none = np.array([[[1, 1, 1]]]), np.array([[[0, 2, 0]]])
    assert macro_f1({"en": right, "is": none}) == 1.0
    assert macro_f1({"is": none}) == macro_f1({}) == 0.0
    counts = {"en": right[0], "is": none[0]}
    (low, high), languages = retention_intervals(counts, counts, resamples=20, seed=0)
    assert (low, high, set(languages)) == (1.0, 1.0, {"en"})


def test_a_dev_set_without_an_entity_is_found_before_anything_runs(tmp_path):
    folder = write_tsv(tmp_path, train=TAGS, dev=["O"] * 3 + ["B-MISC"], test=["O"] * 3)
    recipe = read_recipe(RECIPE, overrides=[f"corpus.path={folder}"])
    read_every_split(recipe, opened(folder, ()), silent)
    with pytest.raises(CorpusError, match="no language has an entity in its dev split"):
        read_every_split(recipe, opened(folder, {"MISC": None}), silent)

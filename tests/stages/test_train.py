"""The train stage on a tiny corpus: every strategy, the CRF, students per language, and restarts, which change nothing.

Teacher and soft labels are those of one finished run; a student takes a fraction of a second.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.distillation.strategies import STRATEGIES, plan_phases
from xtremedistil_ner.errors import ModelError, UsageError
from xtremedistil_ner.models.student import load_student
from xtremedistil_ner.pipeline.run import run_pipeline
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.run_folder.files import RunFolder, student_folders
from xtremedistil_ner.stages.evaluate import evaluate_run
from xtremedistil_ner.stages.evaluate_model import evaluate_model
from xtremedistil_ner.stages.export import export_student
from xtremedistil_ner.stages.train import train_student
from xtremedistil_ner.tagging.tagger import Tagger

BILSTM = ("classifier", "projection", "lstm", "embeddings")
LEARNING = ("train.updates=80", "train.learning_rate=3e-2", "train.evaluate_every=20", "student.hidden_width=12")
"""Enough that a tiny student finds entities."""


@pytest.fixture(scope="module")
def no_dev(finished_run, tmp_path_factory):
    """The recipe field of a corpus without dev: nothing selects, and the weights are those after the last update."""
    folder = tmp_path_factory.mktemp("no-dev")
    copy_splits(finished_run, folder, {"en": ("train", "test"), "no": ("train", "test")})
    return f"corpus.path={folder}"


def copy_splits(finished_run, folder, splits_of):
    for language, splits in splits_of.items():
        (folder / language).mkdir(parents=True)
        for split in splits:
            name = f"{language}/{split}.tsv"
            (folder / name).write_bytes((finished_run / "corpus" / name).read_bytes())


def run_with(finished_run, folder):
    """A run folder that has the finished run's teacher and soft labels."""
    folder.mkdir()
    for name in ("teacher", "soft_labels"):
        (folder / name).symlink_to(finished_run / "run" / name, target_is_directory=True)
    return RunFolder(folder)


def train(finished_run, folder, *overrides, tell=silent):
    """The run folder of a student trained by the recipe with some fields changed, and the recipe."""
    recipe = load_recipe(finished_run / "tiny.yaml", overrides=overrides)
    run = RunFolder(folder) if folder.exists() else run_with(finished_run, folder)
    train_student(recipe, run, "wanted", tell)
    return run, recipe


def looks_of(folder):
    return json.loads((folder / "training.json").read_text(encoding="utf-8"))["looks"]


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "D0"])
@pytest.mark.parametrize("head", ["projected", "direct"])
def test_every_strategy_goes_through_its_phases_and_leaves_a_student(finished_run, tmp_path, strategy, head):
    overrides = (f"train.strategy={strategy}", f"student.head={head}", "train.updates=12")
    run, _ = train(finished_run, tmp_path / "run", *overrides)
    student = load_student(run.student)
    assert all(torch.isfinite(weight).all() for weight in student.network.parameters())
    plans = plan_phases(strategy, updates=12, layers=BILSTM, head=head)
    looks = looks_of(run.student)
    assert list(dict.fromkeys(look["phase"] for look in looks)) == [plan.name for plan in plans]
    assert looks[-1]["total"] <= 12
    assert sorted(path.name for path in run.path.iterdir() if path.name != "work") == [
        "soft_labels",
        "student",
        "teacher",
    ]


@pytest.mark.parametrize("strategy", ["D4.2", "D4.2-control", "D2"])
def test_a_transformer_student_goes_through_its_own_layers(finished_run, no_dev, tmp_path, strategy):
    shape = "student.transformer={layers: 2, hidden_width: 8, heads: 2}"
    events = []
    fields = ("student.kind=transformer", shape, f"train.strategy={strategy}", no_dev)
    train(finished_run, tmp_path / "run", *fields, tell=events.append)
    layers = ("classifier", "projection", "layer 2", "layer 1", "embeddings")
    plans = plan_phases(strategy, updates=12, layers=layers, head="direct")
    done = list(dict.fromkeys(event.message for event in events if event.unit == "updates"))
    assert done == [plan.name for plan in plans]


def test_a_convolutional_student_unfreezes_layer_by_layer(finished_run, no_dev, tmp_path):
    events = []
    fields = ("student.kind=cnn", "student.cnn={layers: 2, kernel: 3}", "student.crf=true", "train.strategy=D4.2")
    run, _ = train(finished_run, tmp_path / "run", *fields, no_dev, tell=events.append)
    layers = ("classifier", "projection", "layer 2", "layer 1", "embeddings")
    plans = plan_phases("D4.2", updates=12, layers=layers, head="projected")
    done = list(dict.fromkeys(event.message for event in events if event.unit == "updates"))
    assert done == [plan.name for plan in plans]
    student = load_student(run.student)
    assert (student.network.shape.layers, student.network.shape.kernel) == (2, 3)
    assert student.transitions is not None


@pytest.mark.parametrize(
    "losses",
    [
        ("train.strategy=D4.2", "train.logit_loss=posterior", "train.representation_loss=kld", "train.temperature=2.0"),
        ("train.strategy=D2", "train.logit_loss=soft_cross_entropy", "train.representation_loss=cosine"),
    ],
)
@pytest.mark.parametrize("crf", ["true", "false"])
def test_every_loss_trains_students_with_and_without_a_crf(finished_run, no_dev, tmp_path, losses, crf):
    run, _ = train(finished_run, tmp_path / "run", *losses, f"student.crf={crf}", no_dev)
    student = load_student(run.student)
    assert (student.transitions is not None) == (crf == "true")
    if student.transitions is not None:
        legal = np.concatenate([student.scheme.may_start[None], student.scheme.may_follow])
        assert (student.transitions[legal] != 0).all(), "every legal pair of tags has a gradient"
    assert all(torch.isfinite(weight).all() for weight in student.network.parameters())


def test_a_joint_loss_is_weighted_and_a_loss_alone_is_not(finished_run, no_dev, tmp_path):
    """A weight of a loss alone would be a learning rate by another name; between two losses it decides."""

    def weights(name, *overrides):
        run, _ = train(finished_run, tmp_path / name, "train.updates=3", no_dev, *overrides)
        return (run.student / "model.safetensors").read_bytes()

    heavier = "train.loss_weights.labels=7.0"
    assert weights("a", "train.strategy=D0-S") == weights("b", "train.strategy=D0-S", heavier)
    assert weights("c", "train.strategy=D1") != weights("d", "train.strategy=D1", heavier)


@pytest.fixture(scope="module")
def crf_run(finished_run, tmp_path_factory):
    run, recipe = train(
        finished_run, tmp_path_factory.mktemp("crf") / "run", "train.strategy=D1", "student.crf=true", *LEARNING
    )
    evaluate_run(recipe, run, "wanted", silent)
    export_student(recipe, run, "wanted", silent)
    return run


def test_selection_evaluation_and_tagging_of_a_crf_student_decode_alike(finished_run, crf_run):
    """The best look at dev is the report's score on dev, of the student and of its export."""
    selected = max(look["score"] for look in looks_of(crf_run.student))
    assert selected > 0.2, "a student that finds nothing shows nothing"
    report = json.loads(crf_run.report.read_text(encoding="utf-8"))
    assert report["models"]["student"]["dev"]["macro_f1"] == pytest.approx(selected)
    options = {"corpus": str(finished_run / "corpus"), "split": "dev", "languages": (), "tell": silent}
    assert evaluate_model(crf_run.export, **options)["macro_f1"] == pytest.approx(selected)


def test_without_its_transitions_a_crf_student_would_tag_otherwise(finished_run, crf_run):
    """What the test above rests on."""
    tagger = Tagger.from_pretrained(crf_run.export)
    assert np.array_equal(tagger.transitions, load_student(crf_run.student).transitions)
    corpus = open_corpus(load_recipe(finished_run / "tiny.yaml").corpus)
    sentences = [sentence.words for name in ("en", "no") for sentence in corpus.sentences(name, "train")]
    with_transitions = tagger.tag_words(sentences)
    tagger.transitions = None
    assert tagger.tag_words(sentences) != with_transitions


def test_a_run_that_stopped_goes_on_with_its_crf(finished_run, no_dev, tmp_path):
    overrides = ("train.strategy=D1", "student.crf=true", "train.checkpoint_every_s=0", "train.updates=6", no_dev)
    run, _ = train(finished_run, tmp_path / "undisturbed", *overrides)
    with pytest.raises(Killed):
        train(finished_run, tmp_path / "killed", *overrides, tell=kill_at("labels+logits", update=4))
    killed, _ = train(finished_run, tmp_path / "killed", *overrides)
    assert files_of(killed.student) == files_of(run.student)


@pytest.mark.parametrize("crf", ["true", "false"])
def test_a_student_is_saved_with_calibrated_scores_and_the_tags_that_selection_saw(finished_run, tmp_path, crf):
    run, _ = train(finished_run, tmp_path / "run", *LEARNING, "train.strategy=D0-S", f"student.crf={crf}")
    student = load_student(run.student)
    temperature = student.config["score_temperature"]
    assert 0.25 <= temperature <= 8
    entry = evaluate_model(run.student, corpus=str(finished_run / "corpus"), split="dev", languages=(), tell=silent)
    assert entry["macro_f1"] == pytest.approx(max(look["score"] for look in looks_of(run.student)), abs=1e-12)
    assert sum(part["entities"] for part in entry["calibration"]["bins"]) > 0


def test_a_seed_of_its_own_makes_the_student_of_that_seed(finished_run, no_dev, tmp_path):
    weights = [
        files_of(train(finished_run, tmp_path / name, no_dev, "train.strategy=D1", *overrides)[0].student)
        for name, overrides in (("a", ()), ("b", ("train.seed=5",)), ("c", ("seed=5",)))
    ]
    assert weights[1]["model.safetensors"] == weights[2]["model.safetensors"] != weights[0]["model.safetensors"]


class Killed(BaseException):
    """A kill, as far as files can tell: nothing runs after it."""


def kill_at(message, *, update=0):
    def tell(event):
        if event.message.startswith(message) and event.done == update:
            raise Killed

    return tell


D0 = ("train.strategy=D0", *LEARNING, "train.updates=120")


@pytest.fixture(scope="module")
def d0_run(finished_run, tmp_path_factory):
    run, recipe = train(finished_run, tmp_path_factory.mktemp("d0") / "run", *D0)
    evaluate_run(recipe, run, "wanted", silent)
    export_student(recipe, run, "wanted", silent)
    return run


def test_d0_has_a_student_per_language_and_none_above_them(d0_run):
    assert {path.name for path in d0_run.student.iterdir()} == {"en", "no", "manifest.json"}
    assert student_folders(d0_run.student) == {name: d0_run.student / name for name in ("en", "no")}
    assert student_folders(d0_run.student / "en") == {"": d0_run.student / "en"}
    assert not (d0_run.path / "work" / "train").exists()


def test_a_student_per_language_knows_the_pieces_of_its_language_alone(d0_run):
    """Sentences of `en` and `no` differ by the numbered word at their end: by its letters."""
    vocabularies = {
        name: set(load_student(folder).encoder.tokenizer.get_vocab())
        for name, folder in student_folders(d0_run.student).items()
    }
    assert vocabularies["en"] != vocabularies["no"]


def test_a_finished_d0_run_is_reused(finished_run, tmp_path):
    recipe = load_recipe(finished_run / "tiny.yaml", overrides=("train.strategy=D0", "train.updates=2"))
    options = {"take_from": finished_run / "run", "tell": silent}
    first, second = (run_pipeline(recipe, tmp_path / "run", **options) for _ in range(2))
    assert [step.state for step in first.steps] == ["taken", "taken", "done", "done", "done"]
    assert [step.state for step in second.steps] == ["reused"] * 5


@pytest.mark.parametrize("language", ["en", "no"])
def test_a_student_of_d0_is_a_joint_student_of_its_language_with_half_of_the_updates(
    finished_run, no_dev, tmp_path, language
):
    """With the whole vocabulary, where the language decides no piece, down to the last bit."""
    whole = "student.prune_vocabulary=false"
    d0, _ = train(finished_run, tmp_path / "d0", "train.strategy=D0", "train.updates=7", whole, no_dev)
    updates = {"en": 4, "no": 3}[language]
    joint, _ = train(
        finished_run,
        tmp_path / "joint",
        "train.strategy=D0-S",
        f"corpus.languages=[{language}]",
        f"train.updates={updates}",
        whole,
        no_dev,
    )
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (d0.student / language / name).read_bytes() == (joint.student / name).read_bytes()


def test_the_report_scores_every_language_by_its_own_student(d0_run):
    """A student was selected on its own dev split, so the best look at it is the report's F1 of the language there."""
    student = json.loads(d0_run.report.read_text(encoding="utf-8"))["models"]["student"]
    assert list(student["languages"]) == ["en", "no"]
    best = {name: max(look["score"] for look in looks_of(d0_run.student / name)) for name in ("en", "no")}
    assert {name: scores["f1"] for name, scores in student["dev"]["languages"].items()} == pytest.approx(best)
    assert max(best.values()) > 0.2, "students that find nothing show nothing"
    networks = [load_student(folder).network for folder in student_folders(d0_run.student).values()]
    assert student["parameters"] == sum(weight.numel() for network in networks for weight in network.parameters())


def test_every_student_of_d0_is_exported_whole_with_its_own_scores(finished_run, d0_run):
    exports = student_folders(d0_run.export)
    assert list(exports) == ["en", "no"]
    report = json.loads(d0_run.report.read_text(encoding="utf-8"))
    for language, folder in exports.items():
        tagger = Tagger.from_pretrained(folder)
        assert tagger.tag(["Ada lives in Paris ."])
        scores = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["scores"]
        assert scores["languages"] == {language: report["models"]["student"]["languages"][language]["f1"]}
        assert f"({language})" in (folder / "README.md").read_text(encoding="utf-8")
    options = {"corpus": str(finished_run / "corpus"), "split": "test", "languages": (), "tell": silent}
    entry = evaluate_model(d0_run.export, **options)
    assert entry["macro_f1"] == pytest.approx(report["models"]["student"]["macro_f1"])
    assert evaluate_model(d0_run.student, **options)["parameters"] == report["models"]["student"]["parameters"]
    with pytest.raises(
        ModelError, match=r"export: an export for each language\. Give one of them: \S*export/en, \S*export/no\."
    ):
        Tagger.from_pretrained(d0_run.export)


def test_a_language_without_a_student_of_its_own_is_refused_by_name_and_left_out_of_all(finished_run, d0_run, tmp_path):
    copy_splits(finished_run, tmp_path / "corpus", {"en": ("test",)})
    shutil.copytree(tmp_path / "corpus" / "en", tmp_path / "corpus" / "xx")
    said = []
    options = {"corpus": str(tmp_path / "corpus"), "split": "test", "tell": said.append}
    assert list(evaluate_model(d0_run.export, languages=(), **options)["languages"]) == ["en"]
    assert said[0].message == "left out, having no test split or no model: xx"
    with pytest.raises(UsageError, match=r"export: a model each of en, no, and none of xx\."):
        evaluate_model(d0_run.export, languages=("en", "xx"), **options)
    shutil.rmtree(tmp_path / "corpus" / "en")
    with pytest.raises(UsageError, match=r"none of xx\."):
        evaluate_model(d0_run.export, languages=(), **options)


KILLED_D0 = ("train.strategy=D0", "train.updates=8", "train.checkpoint_every_s=0")


@pytest.fixture(scope="module")
def undisturbed(finished_run, no_dev, tmp_path_factory):
    return train(finished_run, tmp_path_factory.mktemp("d0-undisturbed") / "run", *KILLED_D0, no_dev)[0]


@pytest.mark.parametrize(
    "moment",
    [("no: student of", 0), ("no: labels", 2), ("en: labels", 3)],
    ids=["between two languages", "in the second one", "in the first one"],
)
def test_a_d0_run_killed_at_any_moment_ends_with_the_same_bytes(finished_run, undisturbed, no_dev, tmp_path, moment):
    overrides = (*KILLED_D0, no_dev)
    message, update = moment
    with pytest.raises(Killed):
        train(finished_run, tmp_path / "killed", *overrides, tell=kill_at(message, update=update))
    events = []
    killed, _ = train(finished_run, tmp_path / "killed", *overrides, tell=events.append)
    assert files_of(killed.student) == files_of(undisturbed.student)
    trained = {event.message.partition(":")[0] for event in events if event.unit == "updates"}
    assert trained == ({"en", "no"} if message.startswith("en") else {"no"}), "what was done is not done again"


def test_languages_without_training_sentences_get_no_student(finished_run, tmp_path):
    overrides = ("train.strategy=D0", "train.updates=4", f"corpus.path={tmp_path / 'corpus'}")
    copy_splits(finished_run, tmp_path / "corpus", {"en": ("train", "dev", "test"), "no": ("dev", "test")})
    run, recipe = train(finished_run, tmp_path / "run", *overrides)
    assert list(student_folders(run.student)) == ["en"]
    evaluate_run(recipe, run, "wanted", silent)
    report = json.loads(run.report.read_text(encoding="utf-8"))
    assert list(report["models"]["student"]["languages"]) == ["en"]
    assert list(report["models"]["teacher"]["languages"]) == ["en", "no"]


def test_a_language_without_dev_trains_to_its_last_update(finished_run, no_dev, tmp_path):
    """Nothing can select, so nothing ends early."""
    events = []
    overrides = ("train.strategy=D0", "train.updates=10", "train.patience=1", "train.evaluate_every=1", no_dev)
    run, _ = train(finished_run, tmp_path / "run", *overrides, tell=events.append)
    done = [(event.message, event.done) for event in events if event.unit == "updates"]
    assert done == [(f"{language}: labels", update) for language in ("en", "no") for update in range(1, 6)]
    assert [(look["update"], "score" in look) for look in looks_of(run.student / "en")] == [
        (update, False) for update in range(1, 6)
    ]


def test_a_stage_begun_with_two_processes_goes_on_with_their_batches(finished_run, no_dev, tmp_path):
    """400 updates of 8 sentences are 200 of 16, at a higher rate; the process that goes on is alone."""

    def train_begun_with(processes):
        run = run_with(finished_run, tmp_path / f"{processes}")
        run.work("train").mkdir(parents=True)
        note = {"wanted": processes}
        run.begun_with("train").write_text(json.dumps(note), encoding="utf-8")
        events = []
        train(finished_run, run.path, "train.updates=400", "train.scale_batch=true", no_dev, tell=events.append)
        done = [event for event in events if event.unit == "updates"]
        said = [event.message for event in events if "learning rate" in event.message]
        return len(done), said, json.loads((run.student / "manifest.json").read_text(encoding="utf-8"))

    updates, said, manifest = train_begun_with(2)
    assert updates == 200
    assert said == ["begun with 2 processes: 2 x 8 sentences per update, 200 updates, learning rate 0.00141"]
    assert manifest["begun_with_processes"] == 2
    updates, said, manifest = train_begun_with(1)
    assert (updates, said) == (400, [])
    assert "begun_with_processes" not in manifest

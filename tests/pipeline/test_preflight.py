"""What a run refuses in its first minute: settings without effect, and students that do not fit."""

from __future__ import annotations

import pytest
from support.tiny_teacher import save_bert, save_xlm_roberta

from xtremedistil_ner.errors import CorpusError, ModelError, RecipeError
from xtremedistil_ner.pipeline.fitting import require_fitting_student
from xtremedistil_ner.pipeline.preflight import require_read_settings
from xtremedistil_ner.pipeline.run import run_pipeline
from xtremedistil_ner.progress import Event, silent
from xtremedistil_ner.recipe.reader import load_recipe

CHECKPOINT = "teacher={checkpoint: some-org/some-encoder}"
TRANSFORMER, CNN = "student.kind=transformer", "student.kind=cnn"
HAS_EFFECT = [
    ("train.temperature=2.0", (), ("train.logit_loss=mse",)),
    ("train.temperature=2.0", ("train.logit_loss=posterior",), ("train.logit_loss=posterior", "train.strategy=hard")),
    ("train.logit_loss=posterior", (), ("train.strategy=D0-S",)),
    ("train.teacher_layer=1", (), ("train.strategy=D1",)),
    ("train.representation_loss=kld", ("train.strategy=D2",), ("train.strategy=hard",)),
    ("train.loss_weights.logits=3.0", (), ("train.strategy=D4.2",)),
    ("train.loss_weights.representation=3.0", ("train.strategy=D2",), ("train.strategy=D1",)),
    ("student.embedding_width=9", (), (TRANSFORMER,)),
    ("student.hidden_width=9", (), (TRANSFORMER,)),
    ("student.head=direct", (), (TRANSFORMER,)),
    ("student.head=direct", (CNN,), (TRANSFORMER,)),
    ("student.cnn.layers=2", (CNN,), ()),
    ("student.cnn.kernel=3", (CNN,), (TRANSFORMER,)),
    ("student.transformer.layers=3", (TRANSFORMER,), ()),
    ("student.transformer.layers=3", (TRANSFORMER,), (CNN,)),
    ("student.transformer.layers=3", (TRANSFORMER, "student.transformer.start=teacher"), ()),
    ("student.transformer.layers=3", (TRANSFORMER,), (TRANSFORMER, "student.transformer.teacher_layers=[1]")),
    ("student.transformer.hidden_width=8", (TRANSFORMER,), (TRANSFORMER, "student.transformer.start=teacher")),
    ("student.transformer.revision=v1", (TRANSFORMER, "student.transformer.checkpoint=an-org/a-bert"), (TRANSFORMER,)),
    ("student.embeddings=random", (TRANSFORMER,), (TRANSFORMER, "student.transformer.checkpoint=an-org/a-bert")),
    ("student.vocabulary_size=99", ("student.vocabulary=trained",), ("student.vocabulary=some-org/some-encoder",)),
    ("student.min_piece_count=2", (), ("student.prune_vocabulary=false",)),
    ("teacher.revision=v1", (CHECKPOINT,), ()),
    ("teacher.labels={X: O}", (CHECKPOINT, "finetune.epochs=0"), (CHECKPOINT,)),
    ("teacher.weight=2.0", ("teacher.voters=[{checkpoint: some-org/other}]",), ()),
    ("finetune.masked_language_model.updates=5", (), (CHECKPOINT, "finetune.epochs=0")),
    ("transfer.text=body", ("transfer.path=text",), ("transfer.hub={id: some-org/text}",)),
    ("transfer.sentences=5", ("transfer.hub={id: some-org/text}",), ()),
]
"""A setting, what it takes to have an effect, and what takes that away."""


def recipe_with(finished_run, *overrides):
    """The tiny recipe without the sizes of a BiLSTM, and with what its transformer start needs."""
    changes = list(overrides)
    for change in overrides:
        if change.startswith("student.transformer.checkpoint="):
            changes.append("student.transformer.start=checkpoint")
        if change.startswith("student.transformer.teacher_layers="):
            changes.append("student.transformer.start=teacher")
    origin = [change for change in changes if change == CHECKPOINT]
    text = (finished_run / "tiny.yaml").read_text(encoding="utf-8")
    if TRANSFORMER in changes:
        text = text.replace("  embedding_width: 8\n  hidden_width: 6\n", "")
    path = finished_run / "without-sizes.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, overrides=[*origin, *(change for change in changes if change != CHECKPOINT)])


@pytest.mark.parametrize(("setting", "reader", "no_reader"), HAS_EFFECT)
def test_a_setting_without_effect_is_refused_and_one_with_effect_is_not(finished_run, setting, reader, no_reader):
    require_read_settings(recipe_with(finished_run, *reader, setting))
    with pytest.raises(RecipeError) as caught:
        require_read_settings(recipe_with(finished_run, *no_reader, setting))
    assert setting.partition("=")[0] in str(caught.value)
    assert "would have no effect. It takes " in str(caught.value)


def test_all_settings_without_effect_are_named_at_once(finished_run):
    overrides = ("train.strategy=D0-S", "train.temperature=2.0", "train.loss_weights.labels=2.0")
    recipe = load_recipe(finished_run / "tiny.yaml", overrides=overrides)
    with pytest.raises(RecipeError) as caught:
        require_read_settings(recipe)
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "train.temperature",
        "train.loss_weights.labels",
    ]


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_run_with_hours_ahead_refuses_them_and_a_finished_one_goes_on(finished_run, tmp_path, dry_run):
    overrides = ("train.logit_loss=mse", "train.temperature=2.0")
    recipe = load_recipe(finished_run / "tiny.yaml", overrides=overrides)
    with pytest.raises(RecipeError, match=r"train\.temperature: 2\.0 would have no effect"):
        run_pipeline(recipe, tmp_path / "run", dry_run=dry_run, tell=silent)
    done = load_recipe(finished_run / "tiny.yaml", overrides=("export.licence=mit",))
    assert run_pipeline(done, finished_run / "run", dry_run=True, tell=silent).steps[-1].state == "stale"


@pytest.mark.parametrize(
    ("name", "content", "settings", "message"),
    [
        ("en.jsonl", b'{"text": "a"}\n', ("transfer.text=body",), r"en\.jsonl:1: no column 'body' among text\. Name"),
        ("no.txt.gz", b"plain", (), r"no\.txt\.gz: "),
        ("qq.txt", b"\n\xff", (), r"qq\.txt:2:1: byte 0xff is not UTF-8"),
        ("", b'{"text": "a", "language": "en"}\n', ("transfer.text=body",), r"text\.jsonl:1: no column 'body'"),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_transfer_text_is_looked_at_before_anything_runs(
    finished_run, tmp_path, name, content, settings, message, dry_run
):
    text = tmp_path / ("text" if name else "text.jsonl")
    if name:
        text.mkdir()
    (text / name).write_bytes(content)
    recipe = load_recipe(finished_run / "tiny.yaml", overrides=(f"transfer.path={text}", *settings))
    with pytest.raises(CorpusError, match=message):
        run_pipeline(recipe, tmp_path / "run", dry_run=dry_run, tell=silent)
    assert not (tmp_path / "run" / "teacher").exists()


def test_a_run_names_the_languages_that_came_with_the_text_alone(finished_run, tmp_path):
    for name in ("en.txt", "qq.txt", "README.txt"):
        (tmp_path / name).write_text("x\n", encoding="utf-8")
    place, told = f"transfer.path={tmp_path}", []
    for overrides in ((place,), (place, "transfer.languages=[qq]")):
        recipe = load_recipe(finished_run / "tiny.yaml", overrides=overrides)
        run_pipeline(recipe, tmp_path / "run", dry_run=True, tell=told.append)
    message = "also takes text of qq, which the corpus lacks; transfer.languages chooses"
    assert told == [Event("transfer", message)]


@pytest.mark.parametrize("types", ["{NOPE: null}", "{per: LOC}", "{'B-PER': LOC, X: null}"])
def test_a_mapping_of_types_that_do_not_occur_is_refused(finished_run, tmp_path, types):
    recipe = load_recipe(finished_run / "tiny.yaml", overrides=(f"corpus.types={types}",))
    with pytest.raises(CorpusError, match=r"corpus\.types: no entity has the type .*The corpus has LOC, ORG, PER\."):
        run_pipeline(recipe, tmp_path / "run", dry_run=True, tell=silent)


@pytest.mark.parametrize("types", ["{NOPE: null, ORG: LOC}", "[LOC, NOPE, ORG, PER]"])
def test_a_type_that_does_not_occur_is_told(finished_run, tmp_path, types):
    told = []
    recipe = load_recipe(finished_run / "tiny.yaml", overrides=(f"corpus.types={types}",))
    run_pipeline(recipe, tmp_path / "run", dry_run=True, tell=told.append)
    message = "corpus.types: no entity has the type NOPE. The corpus has LOC, ORG, PER."
    assert told == [Event("corpus", message)]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    save_bert(folder / "bert")
    save_xlm_roberta(folder / "xlm-roberta")
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\na\n", encoding="utf-8")
    (folder / "no-padding.txt").write_text("[UNK]\na\n", encoding="utf-8")
    return folder


MISFITS = [
    ("bert", ("student.embedding_width=13",), RecipeError, r"student\.embedding_width 13: .* at most 12 columns"),
    ("bert", (CNN, "student.embedding_width=13"), RecipeError, r"student\.embedding_width 13: .* at most 12 columns"),
    ("", ("student.embedding_width=17",), RecipeError, r"student\.embedding_width 17: .* at most 16 columns"),
    ("bert", (TRANSFORMER,), RecipeError, r"student\.transformer\.hidden_width 256: .* at most 12 columns"),
    ("bert", ("train.teacher_layer=4",), RecipeError, r"train\.teacher_layer 4: .* layers 0 to 3"),
    ("", ("train.teacher_layer=2",), RecipeError, r"train\.teacher_layer 2: .* layers 0 to 1"),
    ("xlm-roberta", (), RecipeError, r"no WordPiece vocabulary to share\. Give `trained`"),
    ("xlm-roberta", ("student.vocabulary={place}/xlm-roberta",), RecipeError, r"xlm-roberta has no WordPiece"),
    ("bert", ("student.vocabulary=nobody/nothing",), ModelError, "nobody/nothing: no tokenizer"),
    ("bert", ("student.vocabulary={place}/no-padding.txt",), ModelError, r"The vocabulary has no \[PAD\]"),
    (
        "bert",
        (TRANSFORMER, "student.vocabulary={place}/vocab.txt", "student.prune_vocabulary=false"),
        ModelError,
        r"The vocabulary has no \[CLS\]",
    ),
    ("bert", ("student.lowercase=true",), RecipeError, r"student\.lowercase: .* cased tokenizer"),
    ("", (TRANSFORMER, "student.transformer={start: teacher}"), RecipeError, "model_type is 'modernbert'"),
    ("bert", (TRANSFORMER, "student.transformer={start: teacher}"), RecipeError, r"reads at most 40 pieces"),
    (
        "bert",
        (TRANSFORMER, "student.transformer={start: teacher, layers: 4}", "student.max_pieces=16"),
        RecipeError,
        "layers 1 to 3",
    ),
    (
        "bert",
        (TRANSFORMER, "student.transformer={start: checkpoint, checkpoint: {place}/xlm-roberta}"),
        RecipeError,
        "no WordPiece vocabulary",
    ),
    (
        "bert",
        (
            TRANSFORMER,
            "student.transformer={start: checkpoint, checkpoint: {place}/xlm-roberta}",
            "student.vocabulary=trained",
        ),
        RecipeError,
        "model_type is 'xlm-roberta'",
    ),
]


@pytest.mark.parametrize(("teacher", "overrides", "kind", "message"), MISFITS)
def test_a_student_that_does_not_fit_is_found_before_anything_is_trained_or_labelled(
    finished_run, checkpoints, tmp_path, teacher, overrides, kind, message
):
    origin = (f"teacher={{checkpoint: {checkpoints / teacher}, max_pieces: 16}}",) if teacher else ()
    if TRANSFORMER in overrides:
        origin += ("student.embedding_width=50", "student.hidden_width=200")
    if "reads at most" in message:
        origin += ("student.max_pieces=41",)
    given = [override.replace("{place}", str(checkpoints)) for override in overrides]
    recipe = load_recipe(finished_run / "tiny.yaml", overrides=[*origin, *given])
    with pytest.raises(kind, match=message):
        run_pipeline(recipe, tmp_path / "run", tell=silent)
    assert not (tmp_path / "run" / "teacher").exists()
    assert not (tmp_path / "run" / "recipe.yaml").exists(), "the folder is as it was"


def test_a_teacher_that_has_no_graph_is_found_before_it_is_fine_tuned(finished_run, tmp_path):
    origin = f"teacher={{checkpoint: {finished_run / 'run' / 'teacher'}, max_pieces: 16}}"
    recipe = load_recipe(finished_run / "tiny.yaml", overrides=[origin, "pseudolabel.runtime=onnx-int8"])
    with pytest.raises(RecipeError, match=r"takes teachers of bert, .* is a modernbert"):
        run_pipeline(recipe, tmp_path / "run", tell=silent)
    assert not (tmp_path / "run" / "teacher").exists()


def test_a_student_is_not_looked_at_when_it_is_not_asked_for(finished_run, tmp_path):
    recipe = load_recipe(finished_run / "tiny.yaml", overrides=["student.embedding_width=17"])
    taken = {"take_from": finished_run / "run", "tell": silent}
    assert run_pipeline(recipe, tmp_path / "run", until="pseudolabel", **taken)
    with pytest.raises(RecipeError, match="at most 16 columns"):
        run_pipeline(recipe, tmp_path / "run", **taken)


def test_a_teacher_that_is_there_is_looked_at_in_its_place(finished_run, tmp_path):
    """A finished teacher goes on where its checkpoint is out of reach."""
    gone = "teacher={checkpoint: some-org/out-of-reach}"
    recipe = load_recipe(finished_run / "tiny.yaml", overrides=[gone])
    with pytest.raises(ModelError, match="some-org/out-of-reach"):
        require_fitting_student(recipe, None)
    require_fitting_student(recipe, finished_run / "run" / "teacher")

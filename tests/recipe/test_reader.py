"""The strict reader of recipes: what YAML 1.1 gets wrong, everything reported at once, overrides, round trips."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xtremedistil_ner.errors import RecipeError
from xtremedistil_ner.names import LANGUAGE_PATTERN
from xtremedistil_ner.recipe.model_sections import OWN_KINDS
from xtremedistil_ner.recipe.reader import format_recipe, load_recipe, read_recipe, recipe_values
from xtremedistil_ner.recipe.schema import Recipe

MINIMAL = "name: tiny\nteacher: {checkpoint: somewhere}\n"
RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))


def problems_of(text, *overrides):
    with pytest.raises(RecipeError) as caught:
        read_recipe(text, origin="r.yaml", overrides=overrides)
    return str(caught.value).splitlines()


def test_norwegian_is_a_language_and_not_false():
    recipe = read_recipe(MINIMAL + "corpus:\n  languages: [no, on, y, off]\n")
    assert recipe.corpus.languages == ("no", "on", "y", "off")


def test_a_learning_rate_without_a_decimal_point_is_a_number():
    assert read_recipe(MINIMAL + "train: {learning_rate: 3e-4}\n").train.learning_rate == 0.0003


def test_a_recipe_of_name_and_teacher_has_every_default():
    recipe = read_recipe(MINIMAL)
    assert recipe == Recipe.model_validate({"name": "tiny", "teacher": {"checkpoint": "somewhere"}})


@pytest.mark.parametrize(
    ("more", "where"),
    [("train: {updates: 1, updates: 2}\n", "r.yaml:3:21:"), ("name: other\n", "r.yaml:3:1:")],
)
def test_a_repeated_key_is_refused_where_it_stands(more, where):
    (problem,) = problems_of(MINIMAL + more)
    assert problem.startswith(where)
    assert "duplicate key" in problem


def test_all_problems_are_reported_at_once_in_the_order_of_their_lines():
    problems = problems_of(MINIMAL + "train:\n  learning_rat: 3\n  updates: many\nstudnet:\n  hidden_width: 4\n")
    assert [problem.partition(": ")[0] for problem in problems] == ["r.yaml:4", "r.yaml:5", "r.yaml:6"]
    assert "train.learning_rat: unknown key. Did you mean learning_rate?" in problems[0]
    assert "train.updates: Input should be a valid integer, got 'many'" in problems[1]
    assert "studnet: unknown key. Did you mean student?" in problems[2]


@pytest.mark.parametrize(
    "more",
    [
        "train: {updates: 1.0e3}\n",
        "train: {updates: '1000'}\n",
        "train: {updates: true}\n",
        "train: {updates: 0}\n",
        "train: {learning_rate: .inf}\n",
        "train: {learning_rate: .nan}\n",
        "train: {strategy: D9}\n",
        "train: null\n",
        "train: 3\n",
        "seed: -1\n",
        "corpus: {languages: no}\n",
        "corpus: {languages: [en, 1]}\n",
        "evaluate: {splits: []}\n",
        "evaluate: {splits: [tset]}\n",
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_line(more):
    (problem,) = problems_of(MINIMAL + more)
    assert problem.startswith("r.yaml:3: ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n",
        "just text\n",
        "name: a: b\n",
        MINIMAL + "---\nname: second document\n",
        MINIMAL + "corpus: {path: \x01}\n",
        MINIMAL + "seed: &a [*a]\n",
        MINIMAL + "seed: " + "[" * 500,
        MINIMAL + "seed: !!python/object/apply:os.getcwd []\n",
        MINIMAL + "seed: !!int abc\n",
        MINIMAL + "seed: !!binary aGVsbG8=\n",
        MINIMAL + "corpus: !!set {path}\n",
        MINIMAL + "seed: 2024-13-45\n",
        MINIMAL + "seed: " + "9" * 4000,
        MINIMAL + "seed: " + "9" * 5000,
        MINIMAL + "seed: 0x" + "f" * 5000,
        MINIMAL + "seed: 1e" + "9" * 70,
        MINIMAL + "corpus: {path: a\0b}\n",
        MINIMAL + "corpus: {path: '" + "x" * 40_000,
        MINIMAL + "seed: " + "[" * 30_000,
        MINIMAL + "seed: " + "# ]\n [" * 4_000,
        MINIMAL + "".join(f"unknown{number}: 1\n" for number in range(1000)),
        MINIMAL + "x" * 5_000 + ": 1\n",
        MINIMAL + "<<: {seed: 4}\n",
        MINIMAL + "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise("abcdefghijklmnopq")),
        MINIMAL + "? [a, b]\n: 3\n",
        "name: no teacher\n",
        "name: two origins\nteacher: {checkpoint: a, shape: {}}\n",
        "name: untrained\nteacher: {shape: {}}\nfinetune: {epochs: 0}\n",
        "name: ../elsewhere\nteacher: {checkpoint: a}\n",
    ],
)
def test_what_is_no_recipe_is_refused_by_name(text):
    problems = problems_of(text)
    assert problems[0].startswith("r.yaml")
    assert len("\n".join(problems)) < 2000


@pytest.mark.parametrize(
    "value", ["&a 3", "!!int abc", "2024-13-45", "9" * 5000, "[" * 5000, "1_" * 9000, "a: b: c", "\0"]
)
def test_an_override_is_read_as_strictly_as_a_file(value):
    problems = problems_of(MINIMAL, f"seed={value}")
    assert problems[0].startswith("--set")
    assert len("\n".join(problems)) < 2000


def test_an_empty_recipe_and_a_number_that_is_too_long_are_named_as_such():
    assert problems_of("# later\n") == ["r.yaml: a recipe is a mapping of sections, and this one is empty."]
    problem = "has 5,000 digits. Write a shorter number."
    assert problems_of(MINIMAL + "seed: " + "9" * 5000)[0].endswith(problem)
    assert problems_of(MINIMAL, "seed=" + "9" * 5000)[0].endswith(problem)


def test_an_anchor_is_refused_where_it_stands():
    assert problems_of(MINIMAL + "corpus: &a {path: b}\n") == [
        "r.yaml:3:9: anchor 'a'. A recipe has no anchors and aliases: write it out."
    ]


def test_of_many_problems_the_first_are_listed_and_the_others_counted():
    problems = problems_of(MINIMAL + "".join(f"unknown{number}: 1\n" for number in range(300)))
    assert problems[0].startswith("r.yaml:3: unknown0: unknown key.")
    assert problems[-1] == f"and {300 - len(problems) + 1} more problems."


def test_what_yaml_1_1_takes_for_a_date_is_text():
    assert read_recipe(MINIMAL + "corpus: {path: 2024-01-01}\n").corpus.path == "2024-01-01"


def test_a_missing_recipe_a_folder_and_another_encoding_are_named(tmp_path):
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: Bokmål".encode("latin-1"))
    long = tmp_path / "long.yaml"
    long.write_bytes("# é".encode() * 3_000_000)
    for path, message in (
        (long, "more than 32,000 bytes"),
        (tmp_path / "a\0b", "not a recipe file .embedded null byte"),
        (tmp_path / "none", "no such recipe"),
        (tmp_path, "not a recipe file"),
        (latin, "not UTF-8"),
    ):
        with pytest.raises(RecipeError, match=message) as caught:
            load_recipe(path)
        assert str(path) in str(caught.value)


def test_overrides_reach_sections_that_the_file_lacks():
    overrides = [
        "train.learning_rate=3e-4",
        "corpus.languages=[no, en]",
        "finetune.masked_language_model.updates=7",
        "seed=4",
    ]
    recipe = read_recipe(MINIMAL, overrides=overrides)
    assert recipe.train.learning_rate == 0.0003
    assert recipe.corpus.languages == ("no", "en")
    assert recipe.finetune.masked_language_model.updates == 7
    assert recipe.seed == 4


@pytest.mark.parametrize("value", ["~", "#x", "a #b", "no", "1", "[a", "'a'", " a", "a: b", "2024-01-01", "&a", "{}"])
def test_an_override_of_a_text_field_is_taken_as_it_stands(value):
    recipe = read_recipe(MINIMAL, overrides=[f"corpus.path={value}", f"teacher.labels.B-GPE={value}"])
    assert recipe.corpus.path == value
    assert recipe.teacher.labels == {"B-GPE": value}


def test_null_clears_a_text_field_that_may_be_empty_and_no_other():
    overrides = ["student.vocabulary=v.txt", "student.vocabulary=null", "name=null"]
    recipe = read_recipe(MINIMAL, overrides=overrides)
    assert (recipe.student.vocabulary, recipe.name) == (None, "null")


@pytest.mark.parametrize("more", ["corpus: {path: ''}\n", "transfer: {path: ''}\n", "corpus: {languages: ['']}\n"])
def test_an_empty_text_is_no_value(more):
    (problem,) = problems_of(MINIMAL + more)
    assert problem.startswith("r.yaml:3: ")
    assert problems_of(MINIMAL, "corpus.path=")[0] == "--set: corpus.path: give a value, or leave it out, got ''."


def test_a_corpus_that_is_cleared_is_not_the_demo():
    message = "corpus: give path or hub; the built-in corpus is path: demo."
    assert problems_of(MINIMAL, "corpus.path=null") == [f"--set: {message}"]
    assert problems_of(MINIMAL + "corpus: {path: }\n") == [f"r.yaml:3: {message}"]
    assert problems_of(MINIMAL + "corpus: {hub: {id: a/b}}\n", "corpus.hub=null") == [f"--set: {message}"]
    assert read_recipe(MINIMAL + "corpus: {hub: {id: a/b}}\n").corpus.path is None


@pytest.mark.parametrize("code", ["../x", "/etc", "..", "-x", "a b", "a|b", "<b>", "é", "x" * 65, "en\n", "a\0"])
@pytest.mark.parametrize("section", ["corpus", "transfer", "corpus.hub"])
def test_a_language_that_is_no_code_is_refused(section, code):
    (problem,) = problems_of(MINIMAL + "corpus: {hub: {id: a/b}}\n", f"{section}.languages={json.dumps([code])}")
    assert problem.startswith(f"--set: {section}.languages.0: A language code has")


def test_a_recipe_is_stored_without_passwords_and_tokens():
    url = "https://user:SECRET@host/corpus?token=SECRET"
    overrides = [f"corpus.path={url}", f"transfer.path={url}", f"teacher.checkpoint={url}", f"student.vocabulary={url}"]
    recipe = read_recipe(MINIMAL, overrides=overrides)
    assert recipe.corpus.path == url
    stored = read_recipe(format_recipe(recipe))
    assert stored.corpus.path == stored.transfer.path == stored.teacher.checkpoint == "https://host/corpus"
    assert "SECRET" not in format_recipe(recipe) + str(recipe_values(recipe))


@pytest.mark.parametrize("override", ["corpus.languages=[{}]", "seed={}", "corpus.path.x={}", "{}", "seed=[{}"])
def test_no_message_of_an_override_has_a_password(override):
    problems = problems_of(MINIMAL, override.format(f"https://user:{'SECRET' * 20}@host"))
    assert "SECRET" not in "".join(problems)


def test_an_override_replaces_what_the_file_says():
    assert read_recipe(MINIMAL + "seed: 1\n", overrides=["seed=2", "seed=3"]).seed == 3


def test_a_wrong_override_is_named_as_one_beside_the_files_problems():
    problems = problems_of(
        MINIMAL + "train: {updates: 5}\ncorpus: {pth: x}\n", "train.updates=few", "train", "name.x=1", "trian.updates=1"
    )
    assert problems[:2] == ["--set train: write section.field=value.", "--set name.x=1: name is not a section."]
    assert "--set: train.updates: Input should be a valid integer, got 'few'." in problems
    assert "--set: trian: unknown key. Did you mean train?" in problems
    assert problems[-1].startswith("r.yaml:4: corpus.pth: unknown key.")


def test_an_export_has_formats_and_forces_int8_only_among_them():
    assert problems_of(MINIMAL, "export.formats=[]") == ["--set: export: name at least one format, each once."]
    assert problems_of(MINIMAL, "export={formats: [onnx], force_int8: true}") == [
        "--set: export: force_int8 is about the format onnx-int8, which is not asked for."
    ]


def test_an_override_that_contradicts_the_rest_of_its_section_is_named_and_the_section_is_not_printed():
    assert problems_of(MINIMAL, "evaluate.splits=[]") == ["--set: evaluate: name at least one split to score."]
    path_and_hub = problems_of(MINIMAL, "corpus.path=a", "corpus.hub.id=b/c")
    assert [problem.partition(": take")[0] for problem in path_and_hub] == ["--set: corpus: give path or hub, not both"]
    options = ("student.kind=transformer", "student.crf=true")
    kinds = ", ".join(OWN_KINDS)
    assert problems_of(MINIMAL, *options) == [
        f"--set: recipe: student.crf is an option of these kinds of student: {kinds}."
    ]
    assert problems_of(MINIMAL, "student.cnn.kernel=4") == ["--set: student.cnn: kernel 4 is not odd."]


def test_one_name_where_a_list_belongs_is_answered_with_an_example():
    assert problems_of(MINIMAL, "corpus.languages=no") == [
        "--set: corpus.languages: Input should be a list such as [a, b], got 'no'."
    ]


def test_an_override_that_is_no_yaml_is_named():
    assert problems_of(MINIMAL, "corpus.languages=[en")[0].startswith("--set corpus.languages")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_packaged_recipe_loads_and_survives_the_round_trip(path):
    recipe = load_recipe(path)
    assert read_recipe(format_recipe(recipe)) == recipe


def test_there_are_recipes_to_load():
    assert RECIPES


names = st.text(min_size=1, max_size=12)
types = st.text(st.characters(categories=["L", "M", "N", "P", "S"]), min_size=1, max_size=12)
recipes = st.builds(
    lambda seed, languages, types, path, labels, rate: Recipe.model_validate(
        {
            "name": "any",
            "seed": seed,
            "corpus": {"languages": languages, "types": types, "path": path},
            "teacher": {"checkpoint": path, "labels": labels},
            "train": {"learning_rate": rate},
        }
    ),
    st.integers(0, 2**32 - 1),
    st.lists(st.from_regex(LANGUAGE_PATTERN, fullmatch=True), max_size=3),
    st.lists(st.one_of(types, st.sampled_from(["no", "on", "null", "1", "1e3", "~", "2024-01-01", "0x1"])), max_size=3),
    names,
    st.dictionaries(names, names, max_size=2),
    st.floats(min_value=1e-300, max_value=1e300),
)


def with_label(name, tag):
    return Recipe.model_validate({"name": "any", "teacher": {"checkpoint": "c", "labels": {name: tag}}})


@settings(max_examples=30, deadline=None)
@given(recipes)
@example(with_label("0\x1f0\x1f\x1f\t𐀹\U00061c03\U00068db6\U0009559e\U000fc83d", "0Ā0 0"))
@example(with_label("\x85", "a " * 100))
def test_any_recipe_survives_the_round_trip(recipe):
    assert read_recipe(format_recipe(recipe)) == recipe

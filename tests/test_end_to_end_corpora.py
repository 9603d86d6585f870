"""Corpora distilled from recipe to export: the Hub's cache, 18 types, MISC, languages beyond the 41."""

from __future__ import annotations

import json

import pytest
from support.hub_mirror import COMMIT, hub_cache, write_mirror
from support.tiny_run import RECIPE

from xtremedistil_ner.languages import WIKIANN_LANGUAGES
from xtremedistil_ner.pipeline.run import run_pipeline
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.run_folder.soft_labels import open_store
from xtremedistil_ner.tagging.tagger import Tagger

DATASET = "unimelb-nlp/end-to-end"
ONTONOTES = (
    "CARDINAL", "DATE", "EVENT", "FAC", "GPE", "LANGUAGE", "LAW", "LOC", "MONEY", "NORP", "ORDINAL", "ORG", "PERCENT",
    "PERSON", "PRODUCT", "QUANTITY", "TIME", "WORK_OF_ART",
)  # fmt: skip
CONLL = ("LOC", "MISC", "ORG", "PER")
SIZES = {"train": 36, "dev": 18, "test": 18}


def sentences(types, language, split, count):
    """Sentences with one entity of each type in turn; a numbered word keeps the splits disjoint."""
    found = []
    for number in range(count):
        kind = types[number % len(types)]
        words = ["The", kind.lower(), "name", "came", f"{language}-{split}-{number}"]
        found.append((words, ["O", f"B-{kind}", f"I-{kind}", "O", "O"]))
    return found


def corpus_of(types, *languages):
    return {
        language: {split: sentences(types, language, split, count) for split, count in SIZES.items()}
        for language in languages
    }


def distil(folder, *overrides):
    """Run a recipe in this process; its report, its soft labels and its tagger."""
    (folder / "tiny.yaml").write_text(RECIPE.format(corpus=folder / "corpus"), encoding="utf-8")
    recipe = load_recipe(folder / "tiny.yaml", overrides=overrides)
    result = run_pipeline(recipe, folder / "run", processes=1, tell=silent)
    assert [step.state for step in result.steps] == ["done"] * 5
    again = run_pipeline(recipe, folder / "run", processes=1, tell=silent)
    assert [step.state for step in again.steps] == ["reused"] * 5
    return result.report, open_store(folder / "run" / "soft_labels"), Tagger.from_pretrained(folder / "run" / "export")


@pytest.fixture
def offline_hub(tmp_path, monkeypatch):
    """The Hub's cache with one dataset of 18 types, its numbers in another order than the alphabet's."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    names = ["O", *(f"{prefix}-{kind}" for kind in reversed(ONTONOTES) for prefix in "BI")]
    corpus = corpus_of(ONTONOTES, "en", "xx", "zh-classical")
    write_mirror(hub_cache(tmp_path / "cache", DATASET), corpus, names=names, card_names=names, embed=True)
    return DATASET


def test_a_dataset_of_the_hub_with_18_types_and_a_42nd_language_is_distilled_offline(tmp_path, offline_hub):
    report, store, tagger = distil(tmp_path, "corpus.path=null", f"corpus.hub={{id: {offline_hub}}}")

    assert report["data"]["corpus"] == {"hub": offline_hub, "revision": COMMIT}
    assert report["run"]["recipe"]["corpus"]["hub"]["revision"] == COMMIT
    recipe = load_recipe(tmp_path / "run" / "recipe.yaml")
    assert recipe.corpus.hub.revision == COMMIT, "the run goes on with what it began with"
    assert report["synthetic"] is False

    languages = ["en", "xx", "zh-classical"]
    assert not set(languages[1:]) & set(WIKIANN_LANGUAGES)
    for name in ("teacher", "student"):
        scores = report["models"][name]["languages"]
        assert sorted(scores) == languages
        assert all(set(entry["types"]) == set(ONTONOTES) for entry in scores.values())
        assert all(entry["support"] == 18 for entry in scores.values())
    assert set(store.tags) == {"O", *(f"{prefix}-{kind}" for kind in ONTONOTES for prefix in "BI")}
    assert {language: counts.kept for language, counts in store.counts.items()} == dict.fromkeys(languages, 36)
    assert set(tagger.scheme.types) == set(ONTONOTES)


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"words": words, "tags": tags}) + "\n" for words, tags in rows)
    path.write_text("".join(lines), encoding="utf-8")


def test_a_folder_of_records_with_misc_is_distilled_with_text_of_a_further_language(tmp_path):
    for language, splits in corpus_of(CONLL, "en", "eo").items():
        for split, rows in splits.items():
            write_jsonl(tmp_path / "corpus" / language / f"{split}.jsonl", rows)
    texts = [{"language": code, "text": f"The misc name came {code}."} for code in ("eo", "fiu-vro", "eo")]
    (tmp_path / "text.jsonl").write_text("\n".join(map(json.dumps, texts)), encoding="utf-8")
    report, store, tagger = distil(tmp_path, f"transfer.path={tmp_path / 'text.jsonl'}")

    assert report["data"]["corpus"] == {"path": str(tmp_path / "corpus")}
    assert sorted(report["models"]["student"]["languages"]) == ["en", "eo"]
    assert set(report["models"]["student"]["languages"]["eo"]["types"]) == set(CONLL)
    transfer = {name: (counts.read, counts.duplicates, counts.kept) for name, counts in store.counts.items()}
    assert transfer == {"en": (36, 0, 36), "eo": (38, 1, 37), "fiu-vro": (1, 0, 1)}
    assert tagger.scheme.types == CONLL

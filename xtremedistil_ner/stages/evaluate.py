"""Stage `evaluate`: models + labelled corpus → `report.json`, its tables, its page, and counts per sentence.

Words of whole sentences, constrained decoding as in service, strict IOB2 spans, micro-F1 per language, macro mean
over languages. All models that give word logits are scored by the same code. If an earlier report has the same model
on the same sentences, its entry is reused: a teacher is scored once for all its students.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xtremedistil_ner.corpus.labelled import LabelledCorpus, open_corpus
from xtremedistil_ner.evaluation.baselines import baseline_scores
from xtremedistil_ner.evaluation.noise import noise_slices
from xtremedistil_ner.evaluation.open_model import open_models
from xtremedistil_ner.evaluation.score_split import SplitScores, score_split
from xtremedistil_ner.evaluation.tagged_split import (
    TaggedSplit,
    cell_examples,
    count_slices,
    slice_entries,
    training_surfaces,
    worst_cells,
)
from xtremedistil_ner.labels import TagIds
from xtremedistil_ner.processes.precision import dtype_of
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.recipe.schema import Recipe
from xtremedistil_ner.report.build import build_report, build_retention, macro_bounds, model_entry
from xtremedistil_ner.report.pages import write_pages
from xtremedistil_ner.report.paper import papers_beside
from xtremedistil_ner.report.stored import SplitCounts, SplitTags, find_counts, find_entry, find_tags, save_counts
from xtremedistil_ner.run_folder.artefacts import sealed, verify
from xtremedistil_ner.run_folder.files import RunFolder
from xtremedistil_ner.run_folder.whole_files import make_fingerprint, write_json
from xtremedistil_ner.stages.evaluate_model import STAGE, ScoringProgress
from xtremedistil_ner.stages.report_facts import data_counts, how_it_was_made, scoring_precision, split_hashes

_SCORING = 4
"""Raised when the same model on the same sentences begins to get other scores, so that old ones are not reused."""
_WORST_CELLS = 3


def evaluate_run(
    recipe: Recipe, run: RunFolder, fingerprint: str, tell: Reporter, *, take_from: RunFolder | None = None
) -> None:
    """Make the report of a run: teacher, student and, if the recipe asks, baselines on every split of the recipe.

    An entry that the report of this run or of `take_from` has under the same fingerprint is not scored again.
    """
    corpus = open_corpus(recipe.corpus)
    split = "test" if "test" in recipe.evaluate.splits else recipe.evaluate.splits[-1]
    earlier = [run] if take_from is None else [run, take_from]
    models: dict[str, dict[str, Any]] = {}
    counts: dict[str, SplitCounts] = {}
    tags: dict[str, SplitTags] = {}
    for name, folder in (("teacher", run.teacher), ("student", run.student)):
        entry_fingerprint = _entry_fingerprint(recipe, corpus, folder)
        entry = find_entry(earlier, name, entry_fingerprint)
        entry_counts = find_counts(earlier, name, entry_fingerprint)
        entry_tags = find_tags(earlier, name, entry_fingerprint)
        if entry is None or entry_counts is None or entry_tags is None:
            entry, entry_counts, entry_tags = _score_model(recipe, corpus, folder, name, split, tell)
        else:
            tell(Event(STAGE, f"{name}: scored before", metrics=_macro(entry)))
        bounds = macro_bounds(entry_counts.get(split, {}), resamples=recipe.evaluate.bootstrap, seed=recipe.seed)
        models[name] = {**entry, **bounds, "identity": entry_fingerprint}
        counts[name], tags[name] = entry_counts, entry_tags
    if recipe.evaluate.baselines:
        models |= _baselines(recipe, corpus, split, earlier)
    value = build_report(
        models,
        retention=build_retention(
            models["teacher"],
            models["student"],
            (counts["teacher"].get(split, {}), counts["student"].get(split, {})),
            resamples=recipe.evaluate.bootstrap,
            seed=recipe.seed,
        ),
        synthetic=corpus.synthetic,
        data=data_counts(recipe, run, corpus, models["teacher"]),
        papers=papers_beside(corpus.source, models["teacher"]["languages"]),
        run=how_it_was_made(recipe, run, fingerprint, split),
        **_slices_and_examples(recipe, corpus, split, models, {name: tags[name].get(split, {}) for name in tags}),
    )
    for name, entry_counts in counts.items():
        save_counts(run.scores(name), models[name]["identity"], entry_counts, tags[name])
    write_report(run, value)


def write_report(run: RunFolder, value: Mapping[str, Any]) -> None:
    """Write a report in its three forms; `report.json`, which carries the fingerprint, last."""
    write_pages(run, value)
    write_json(run.report, sealed(value))


def _score_model(
    recipe: Recipe, corpus: LabelledCorpus, folder: Path, name: str, split: str, tell: Reporter
) -> tuple[dict[str, Any], SplitCounts, SplitTags]:
    models = open_models(
        folder,
        precision=recipe.pseudolabel.precision,
        max_pieces=recipe.teacher.max_pieces,
        say=lambda message: tell(Event(STAGE, f"{name}: {message}")),
        heard=lambda words: progress.add(words),
    )
    parameters = sum(model.parameters for model in models.values())
    scores: dict[str, SplitScores] = {}
    entries: dict[str, dict[str, Any]] = {}
    for part in recipe.evaluate.splits:
        progress = ScoringProgress(tell, f"{name} on {part}")
        scores[part] = score_split(
            models,
            corpus,
            split=part,
            bootstrap=recipe.evaluate.bootstrap,
            seed=recipe.seed,
            paper_protocol=recipe.evaluate.protocol == "paper",
            raw_text=name == "student",
            noise_sentences=recipe.evaluate.noise_sentences if part == split else 0,
            begin=progress.begin,
        )
        entries[part] = model_entry(parameters, scores[part])
        tell(Event(STAGE, f"{name} on {part}", metrics=_macro(entries[part])))
    counts = {part: of_part.counts for part, of_part in scores.items()}
    return _entry_of_splits(split, entries), counts, {part: of_part.tags for part, of_part in scores.items()}


def _slices_and_examples(
    recipe: Recipe,
    corpus: LabelledCorpus,
    split: str,
    models: Mapping[str, Mapping[str, Any]],
    tags: Mapping[str, Mapping[str, TagIds]],
) -> dict[str, Any]:
    """What the tags of both models say beyond scores: F1 of slices, and sentences of the worst languages and types."""
    count = recipe.evaluate.examples
    cells = worst_cells(models["teacher"], models["student"], _WORST_CELLS) if count else []
    seen = training_surfaces(corpus)
    slices, examples = [], {}
    for code in tags["student"]:
        if code not in tags["teacher"]:
            continue
        sentences = corpus.sentences(code, split)
        tagged = TaggedSplit(
            [sentence.words for sentence in sentences],
            corpus.scheme,
            np.concatenate([corpus.scheme.encode(sentence.tags or ()) for sentence in sentences]),
            tags["teacher"][code],
            tags["student"][code],
        )
        slices.append(count_slices(tagged, seen))
        for cell in cells:
            if cell[0] == code:
                examples[cell] = {"language": code, "type": cell[1], **cell_examples(tagged, cell[1], count)}
    noise = noise_slices(models["teacher"], models["student"])
    return {
        "slices": [*slice_entries(slices), *noise],
        "examples": [examples[cell] for cell in cells if cell in examples],
    }


def _macro(entry: Mapping[str, Any]) -> dict[str, float]:
    """The mean of an entry, if a language has an entity."""
    return {} if entry["macro_f1"] is None else {"macro F1": entry["macro_f1"]}


def _baselines(
    recipe: Recipe, corpus: LabelledCorpus, split: str, earlier: Sequence[RunFolder]
) -> dict[str, dict[str, Any]]:
    section = recipe.evaluate
    hashes = split_hashes(corpus, ("train", *section.splits))
    fingerprint = make_fingerprint("baselines", _SCORING, hashes, section.splits, section.bootstrap, recipe.seed)
    names = ("gazetteer", "contexts")
    entries = {name: entry for name in names if (entry := find_entry(earlier, name, fingerprint))}
    if len(entries) == len(names):
        return entries
    scores = {part: baseline_scores(corpus, part, section.bootstrap, recipe.seed) for part in section.splits}
    return {
        name: {
            **_entry_of_splits(split, {part: model_entry(0, SplitScores(scores[part][name])) for part in scores}),
            "identity": fingerprint,
        }
        for name in names
    }


def _entry_of_splits(split: str, entries: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The entry of the split that counts, with those of the other splits inside it under their names."""
    return {**entries[split], **{part: entry for part, entry in entries.items() if part != split}}


def _entry_fingerprint(recipe: Recipe, corpus: LabelledCorpus, folder: Path) -> str:
    """A hash of all that decides an entry of the report: the model, the sentences, and how they are scored."""
    files = {name: file["sha256"] for name, file in verify(folder)["files"].items() if name != "training.json"}
    section = recipe.evaluate
    dtype = dtype_of(scoring_precision(recipe))
    how = [section.splits, section.bootstrap, section.protocol, recipe.seed, recipe.teacher.max_pieces, str(dtype)]
    noise = section.noise_sentences
    return make_fingerprint("scores", _SCORING, files, split_hashes(corpus, section.splits), how, noise)

"""Stage `evaluate`: models + labelled corpus → `report.json`, its tables, its page, and counts per sentence.

Words of whole sentences, constrained decoding as in service, strict IOB2 spans, micro-F1 per language, macro mean
over languages. All models that give word logits are scored by the same code. If an earlier report has the same model
on the same sentences, its entry is reused: a teacher is scored once for all its students.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from xtremedistil_ner import __version__
from xtremedistil_ner.corpus.labelled import LabelledCorpus, format_mapping, open_corpus
from xtremedistil_ner.errors import ArtefactError, CorpusError, UsageError
from xtremedistil_ner.evaluation.baselines import baseline_scores
from xtremedistil_ner.evaluation.noise import noise_slices
from xtremedistil_ner.evaluation.open_model import open_models
from xtremedistil_ner.evaluation.score_split import SplitScores, score_split, scored_scheme
from xtremedistil_ner.evaluation.tagged_split import (
    Surface,
    TaggedSplit,
    cell_examples,
    count_slices,
    slice_entries,
    worst_cells,
)
from xtremedistil_ner.labels import TagIds, TypeMapping, spans_of
from xtremedistil_ner.languages import WIKIANN_LANGUAGES, count_languages
from xtremedistil_ner.processes.precision import (
    Computed,
    dtype_of,
    name_scoring_precision,
    precision_on,
    taken_precision,
)
from xtremedistil_ner.processes.world import current_processes
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.recipe.data_sections import ColumnsSection, CorpusSection
from xtremedistil_ner.recipe.reader import load_recipe, recipe_values
from xtremedistil_ner.recipe.schema import EvaluateSection, Recipe
from xtremedistil_ner.report.build import build_report, build_retention, macro_bounds, model_entry
from xtremedistil_ner.report.pages import write_pages
from xtremedistil_ner.report.paper import papers_beside
from xtremedistil_ner.report.stored import SplitCounts, SplitTags, find_counts, find_entry, find_tags, save_counts
from xtremedistil_ner.run_folder.artefacts import sealed, verify
from xtremedistil_ner.run_folder.files import RunFolder, read_timings, student_folders
from xtremedistil_ner.run_folder.soft_labels import open_store
from xtremedistil_ner.run_folder.whole_files import make_fingerprint, read_json, write_json
from xtremedistil_ner.tagging.export_reader import GraphPrecision

STAGE = "evaluate"
_SCORING = 4
"""Raised when the same model on the same sentences begins to get other scores, so that old ones are not reused."""
_WORST_CELLS = 3
_MOST_LOOKS = 200


@dataclass(slots=True)
class _Progress:
    """Tells the words that a model has scored of a split, in every pass over it."""

    tell: Reporter
    message: str
    language: str = ""
    done: int = 0

    def begin(self, language: str) -> None:
        """Go on to a language."""
        self.language = f", {language}"

    def add(self, words: int) -> None:
        """Count the words of a batch."""
        self.done += words
        self.tell(Event(STAGE, self.message + self.language, done=self.done, unit="words", words=words))


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
        data=_data_counts(recipe, run, corpus, models["teacher"]),
        papers=papers_beside(corpus.source, models["teacher"]["languages"]),
        run=_how_it_was_made(recipe, run, fingerprint, split),
        **_slices_and_examples(recipe, corpus, split, models, {name: tags[name].get(split, {}) for name in tags}),
    )
    for name, entry_counts in counts.items():
        save_counts(run.scores(name), models[name]["identity"], entry_counts, tags[name])
    write_report(run, value)


def write_report(run: RunFolder, value: Mapping[str, Any]) -> None:
    """Write a report in its three forms; `report.json`, which carries the fingerprint, last."""
    write_pages(run, value)
    write_json(run.report, sealed(value))


def evaluate_model(
    model: Path,
    *,
    corpus: str,
    split: str,
    languages: tuple[str, ...],
    columns: ColumnsSection | None = None,
    types: TypeMapping | None = None,
    paper_protocol: bool = False,
    graph: GraphPrecision | None = None,
    tell: Reporter,
) -> dict[str, Any]:
    """Score a teacher, student or export folder on one split of a labelled corpus.

    `types` maps entity types of both corpus and model. `graph` chooses one of an export's graphs. The result is one
    entry of report.json's `models`, which also says whether the corpus is `synthetic`. Without `languages`, all that
    have the split and a model are scored, and `tell` receives the names of the others.

    Raises: ModelError; CorpusError if one of `languages` or the whole corpus lacks the split, or for a type that the
    model lacks; UsageError for languages without a model.
    """
    progress = _Progress(tell, f"{model} on {split}")
    opened = open_models(
        model,
        graph=graph,
        say=lambda message: tell(Event(STAGE, message)),
        heard=progress.add,
        **_as_in_its_run(model),
    )
    scheme = scored_scheme(next(iter(opened.values())).scheme, types or {})
    if not scheme.types:
        raise UsageError(f"{model}: --types leaves out all of its types. Leave one.")
    section = CorpusSection(
        path=corpus, languages=languages, types=dict(types or {}), columns=columns or ColumnsSection()
    )
    labelled = open_corpus(section, scheme=scheme)
    if left_out := _languages_left_out(model, opened, labelled, split, all_are_named=bool(languages)):
        tell(Event(STAGE, f"left out, having no {split} split or no model: {', '.join(left_out)}"))
    scores = score_split(
        opened,
        labelled,
        split=split,
        bootstrap=EvaluateSection().bootstrap,
        seed=0,
        paper_protocol=paper_protocol,
        begin=progress.begin,
    )
    tell(Event(STAGE, f"{model} on {split} of {count_languages(len(scores.languages))}"))
    _report_types(labelled, split, scores, tell)
    entry = model_entry(sum(one.parameters for one in opened.values()), scores)
    return {**entry, "types": _mapped_types(labelled, (split,)), "synthetic": labelled.synthetic}


def _report_types(corpus: LabelledCorpus, split: str, scores: SplitScores, tell: Reporter) -> None:
    """Report what became of mapped types, and which types of the model the corpus does not have."""
    if note := format_mapping(corpus.types, corpus.mapped_entities((split,))):
        tell(Event(STAGE, note))
    there = {kind for language in scores.languages.values() for kind, f1 in language.types.items() if f1.support}
    if there and (absent := [kind for kind in corpus.scheme.types if kind not in there]):
        note = f"no entity of {', '.join(absent)} in this split: what the model finds of them counts as wrong"
        tell(Event(STAGE, f"{note}. To leave them out: --types {','.join(f'{kind}=' for kind in absent)}"))


def _mapped_types(corpus: LabelledCorpus, splits: Collection[str]) -> dict[str, dict[str, Any]]:
    """The effect of a mapping of types: by old type the new one, null for none, and the number of entities."""
    counts = corpus.mapped_entities(splits)
    return {old: {"becomes": new, "entities": counts[old]} for old, new in corpus.types.items()}


def _languages_left_out(
    model: Path, opened: Collection[str], corpus: LabelledCorpus, split: str, *, all_are_named: bool
) -> list[str]:
    """Languages of a corpus that lack the split or a model; an error if they are named or if they are all."""
    without_split = [code for code in corpus.languages if not corpus.has(code, split)]
    without_model = [code for code in corpus.languages if code not in opened and "" not in opened]
    left_out = sorted({*without_split, *without_model})
    if all_are_named or len(left_out) == len(corpus.languages):
        if without_split:
            missing = ", ".join(without_split)
            raise CorpusError(f"{corpus.name}: no {split} split of {missing}. Give another --split or --langs.")
        if without_model:
            there, missing = ", ".join(opened), ", ".join(without_model)
            raise UsageError(f"{model}: a model each of {there}, and none of {missing}. Change --langs.")
    return left_out


def _as_in_its_run(model: Path) -> dict[str, Any]:
    """The window and the precision with which a run scores its teacher; empty for other models."""
    run = RunFolder(model.absolute().parent)
    if model.absolute() != run.teacher or not run.recipe.is_file():
        return {}
    recipe = load_recipe(run.recipe)
    return {"max_pieces": recipe.teacher.max_pieces, "precision": recipe.pseudolabel.precision}


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
        progress = _Progress(tell, f"{name} on {part}")
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
    seen = _training_surfaces(corpus)
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


def _training_surfaces(corpus: LabelledCorpus) -> set[Surface]:
    """The words of every entity of the training text, of all languages: the teacher learns from them together."""
    seen: set[Surface] = set()
    for code in corpus.languages:
        for sentence in corpus.sentences(code, "train"):
            seen |= {sentence.words[span.start : span.stop] for span in spans_of(sentence.tags or ())}
    return seen


def _macro(entry: Mapping[str, Any]) -> dict[str, float]:
    """The mean of an entry, if a language has an entity."""
    return {} if entry["macro_f1"] is None else {"macro F1": entry["macro_f1"]}


def _baselines(
    recipe: Recipe, corpus: LabelledCorpus, split: str, earlier: Sequence[RunFolder]
) -> dict[str, dict[str, Any]]:
    section = recipe.evaluate
    hashes = _hashes(corpus, ("train", *section.splits))
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
    dtype = dtype_of(_scoring_precision(recipe))
    how = [section.splits, section.bootstrap, section.protocol, recipe.seed, recipe.teacher.max_pieces, str(dtype)]
    noise = section.noise_sentences
    return make_fingerprint("scores", _SCORING, files, _hashes(corpus, section.splits), how, noise)


def _hashes(corpus: LabelledCorpus, splits: Sequence[str]) -> dict[str, dict[str, str]]:
    """A short hash of each split that a language has."""
    return {
        split: {name: corpus.content_hash(name, split)[:16] for name in corpus.languages if corpus.has(name, split)}
        for split in splits
    }


def _data_counts(recipe: Recipe, run: RunFolder, corpus: LabelledCorpus, scored: Mapping[str, Any]) -> dict[str, Any]:
    store = open_store(run.soft_labels)
    used = dict.fromkeys(("train", "dev", *recipe.evaluate.splits))
    repairs = {language: corpus.repairs(language, used) for language in corpus.languages}
    expected = (*WIKIANN_LANGUAGES, *(recipe.corpus.hub.languages if recipe.corpus.hub else ()))
    lacking = dict.fromkeys(code for code in expected if code not in corpus.languages and corpus.has_every_language)
    return {
        "corpus": dict(corpus.source),
        "transfer": {name: asdict(counts) for name, counts in store.counts.items()},
        "repaired_tags": {language: repaired for language, (repaired, _, _) in repairs.items()},
        "skipped_lines": {language: skipped for language, (_, skipped, _) in repairs.items()},
        "annotations": {language: dict(spans) for language, (_, _, spans) in repairs.items() if spans},
        "types": _mapped_types(corpus, used),
        "languages_lacking": list(lacking),
        "languages_not_scored": sorted({*store.counts, *corpus.languages} - {*scored["languages"]}),
        "scored": _hashes(corpus, recipe.evaluate.splits),
    }


def _how_it_was_made(recipe: Recipe, run: RunFolder, fingerprint: str, split: str) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "fingerprint": fingerprint,
        "strategy": recipe.train.strategy,
        "split": split,
        "seed": recipe.seed,
        "recipe": recipe_values(recipe),
        "versions": _versions(),
        "precision": _precision_of_stages(recipe, run),
        "stages": read_timings(run),
        "training": _training(run),
        "bytes": {part.name: _bytes_of(part) for part in (run.teacher, run.soft_labels, run.student)},
    }


def _training(run: RunFolder) -> dict[str, list[dict[str, Any]]]:
    """The looks of teacher and student, a student of one language under `student <language>`; at most 200 of each."""
    folders = {"teacher": run.teacher}
    folders |= {f"student {code}".rstrip(): folder for code, folder in student_folders(run.student).items()}
    training = {}
    for name, folder in folders.items():
        with suppress(ArtefactError):  # a checkpoint that was not trained here has none
            looks = read_json(folder / "training.json").get("looks") or []
            training[name] = looks[:: -(-len(looks) // _MOST_LOOKS) or 1]
    return training


def _scoring_precision(recipe: Recipe) -> Computed:
    """The precision in which this machine scores a run's teacher; another machine may have made its labels."""
    return precision_on(current_processes().device, recipe.pseudolabel.precision)


def _precision_of_stages(recipe: Recipe, run: RunFolder) -> dict[str, str]:
    """The precision of each stage, where it is known."""
    taken = {stage: taken_precision(run, stage) for stage in ("finetune", "pseudolabel", "train")}
    taken["evaluate"] = name_scoring_precision(_scoring_precision(recipe))
    return {stage: precision for stage, precision in taken.items() if precision}


def _versions() -> dict[str, str]:
    packages = ("torch", "transformers", "accelerate", "tokenizers", "numpy", "onnxruntime")
    return {"xtremedistil_ner": __version__, "python": platform.python_version(), **{p: version(p) for p in packages}}


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

"""One model on one split of a labelled corpus, as `xner evaluate` scores it, without a run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtremedistil_ner.corpus.labelled import LabelledCorpus, format_mapping, open_corpus
from xtremedistil_ner.errors import CorpusError, UsageError
from xtremedistil_ner.evaluation.open_model import open_models
from xtremedistil_ner.evaluation.score_split import SplitScores, score_split, scored_scheme
from xtremedistil_ner.labels import TypeMapping
from xtremedistil_ner.languages import count_languages
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.recipe.data_sections import ColumnsSection, CorpusSection
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.recipe.schema import EvaluateSection
from xtremedistil_ner.report.build import model_entry
from xtremedistil_ner.run_folder.files import RunFolder
from xtremedistil_ner.tagging.export_reader import GraphPrecision

STAGE = "evaluate"


@dataclass(slots=True)
class ScoringProgress:
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
    progress = ScoringProgress(tell, f"{model} on {split}")
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
    return {**entry, "types": mapped_types(labelled, (split,)), "synthetic": labelled.synthetic}


def _report_types(corpus: LabelledCorpus, split: str, scores: SplitScores, tell: Reporter) -> None:
    """Report what became of mapped types, and which types of the model the corpus does not have."""
    if note := format_mapping(corpus.types, corpus.mapped_entities((split,))):
        tell(Event(STAGE, note))
    there = {kind for language in scores.languages.values() for kind, f1 in language.types.items() if f1.support}
    if there and (absent := [kind for kind in corpus.scheme.types if kind not in there]):
        note = f"no entity of {', '.join(absent)} in this split: what the model finds of them counts as wrong"
        tell(Event(STAGE, f"{note}. To leave them out: --types {','.join(f'{kind}=' for kind in absent)}"))


def mapped_types(corpus: LabelledCorpus, splits: Collection[str]) -> dict[str, dict[str, Any]]:
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

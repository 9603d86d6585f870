"""A commented recipe for a corpus of the user's own, with a budget that follows from its size.

The rules are rough: they end between the packaged recipes, which were tuned by hand on 4,000 to 1.1 million sentences
(`low-resource`, `folder`, `folder-scratch`).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from xtremedistil_ner.corpus.check import CorpusCheck, check_corpus
from xtremedistil_ner.corpus.labelled import LabelledCorpus, open_corpus
from xtremedistil_ner.corpus.places import is_url
from xtremedistil_ner.corpus.transfer import iter_transfer, transfer_languages
from xtremedistil_ner.errors import CorpusError, UsageError
from xtremedistil_ner.languages import count_languages
from xtremedistil_ner.pieces.vocabulary import TRAINED
from xtremedistil_ner.pipeline.preflight import require_read_settings, require_splits
from xtremedistil_ner.recipe.data_sections import CorpusSection, TransferSection
from xtremedistil_ner.recipe.model_sections import TeacherSection
from xtremedistil_ner.recipe.reader import read_recipe

SCRATCH = "scratch"
STUDENTS = {
    "tiny": "  embedding_width: 40\n  hidden_width: 100\n  head: direct\n",
    "small": "  embedding_width: 50   # the papers' 35x student\n  hidden_width: 200\n",
    "medium": "  embedding_width: 100\n  hidden_width: 300\n",
    "large": "  embedding_width: 300   # the papers' largest student\n  hidden_width: 600\n",
}
_TEXT_SENTENCES = 20_000
"""Most sentences of raw text per language; labelling takes time in proportion to them."""
_BATCHES = ((1_000, 32), (math.inf, 64))  # by sentences to label
_LEAST_UPDATES = 200
_PASSES = 10  # `folder` makes about as many over its text
_MASKED_PASSES = 3  # over the text, before a teacher from scratch learns labels


@dataclass(frozen=True, slots=True)
class NewRecipe:
    """The text of a recipe, and a line that says what was found."""

    text: str
    found: str


def draft_recipe(
    name: str, *, corpus: str, text: str | None, teacher: str, vocabulary: str | None, student: str
) -> NewRecipe:
    """Write a recipe for a corpus, after reading all of it and the beginning of the raw text.

    `teacher` is a folder, a Hub id or `scratch`; paths of the result are absolute.

    Raises: CorpusError for a broken corpus, one without train or dev, and raw text of other languages; UsageError for
    a folder or file that is not there.
    """
    corpus = _absolute(corpus)
    check = check_corpus(corpus)
    if check.problems:
        raise CorpusError("\n".join(check.problems))
    if text is None and check.texts and corpus != "demo":
        text = corpus
    text = None if text is None else _absolute(text)
    opened = open_corpus(CorpusSection(path=corpus))
    splits = [split for split in ("dev", "test") if any(opened.has(language, split) for language in opened.languages)]
    n_train = sum(stats.sentences for stats in check.stats if stats.split == "train")
    n_transfer = _count_transfer(opened, text)
    batch = next(batch for sentences, batch in _BATCHES if n_transfer < sentences)
    updates = _between(_LEAST_UPDATES, _PASSES * n_transfer / batch, 40_000)
    found = (
        f"{count_languages(len(opened.languages))} ({', '.join(opened.languages)}), types "
        f"{', '.join(opened.scheme.types)}, {n_train:,} training sentences, {n_transfer:,} sentences to label"
    )
    written = "".join(
        (
            f"# {found}.\n#   xner distil recipe.yaml\n",
            f"name: {name}\n",
            _corpus_section(corpus, check),
            _transfer_section(text),
            _teacher_sections(teacher, vocabulary, n_train=n_train, n_transfer=n_transfer),
            _student_section(student, teacher, vocabulary),
            "train:\n  strategy: D3.1   # teacher's states, then its logits and gold labels together\n",
            f"  updates: {updates}   # about {updates * batch / max(n_transfer, 1):.0f} passes over the text\n",
            f"  learning_rate: 2e-3\n  batch_sentences: {batch}\n  micro_batch_pieces: 6144\n",
            f"  evaluate_every: {max(20, updates // 16)}\n  dev_sentences: 1000\n",
            "" if "test" in splits else f"evaluate:\n  splits: [{', '.join(splits)}]   # there is no test split\n",
        )
    )
    recipe = read_recipe(written)
    require_splits(recipe, opened)
    require_read_settings(recipe)
    return NewRecipe(written, found)


def recipe_name(folder: Path) -> str:
    """A name for the run of a recipe in a folder."""
    return (
        re.sub(r"[^A-Za-z0-9]*$|^[^A-Za-z0-9]*|[^A-Za-z0-9._-]+", "-", folder.absolute().name)[:100].strip("-") or "run"
    )


def _count_transfer(corpus: LabelledCorpus, text: str | None) -> int:
    section = TransferSection(path=text, sentences=None if text is None else _TEXT_SENTENCES)
    languages = transfer_languages(corpus, section)
    return sum(1 for each in languages for _ in iter_transfer(corpus, section, each, held_out=frozenset()))


def _corpus_section(corpus: str, check: CorpusCheck) -> str:
    some = next(stats.language for stats in check.stats)
    types = sorted({kind for stats in check.stats for kind in stats.entities})
    return (
        f"corpus:\n  path: {_quoted(corpus)}\n"
        f"  # languages: [{some}]   # some of them; without this line all\n"
        f"  # types: {{{types[-1]}: null}}   # leaves a type out; a name in place of null renames it\n"
    )


def _transfer_section(text: str | None) -> str:
    if text is None:
        return "# transfer:\n#   path: FOLDER   # unlabelled <language>.txt; with it students become better\n"
    return f"transfer:\n  path: {_quoted(text)}\n  sentences: {_TEXT_SENTENCES}   # most per language\n"


def _teacher_sections(teacher: str, vocabulary: str | None, *, n_train: int, n_transfer: int) -> str:
    epochs = _between(3, 40_000 / max(n_train, 1), 10)
    settings = f"  epochs: {epochs}\n  dev_sentences: 1000\n"
    if teacher != SCRATCH:
        return (
            f"teacher:\n  checkpoint: {_quoted(_checkpoint(teacher))}\n{_window(Path(teacher))}"
            f"finetune:\n{settings}  learning_rate: 3e-5   # for the size of BERT base; more for less\n"
        )
    masked = min(1200, _MASKED_PASSES * n_transfer // 128)
    pieces = "" if vocabulary in (None, TRAINED) else f"    vocabulary: {_quoted(_file(vocabulary))}\n"
    return (
        "teacher:\n  shape:   # trained from scratch; a pretrained encoder (checkpoint: FOLDER_OR_HUB_ID) is better\n"
        f"    layers: 4\n    hidden_width: 256\n    heads: 4\n{pieces}"
        f"finetune:\n{settings}  learning_rate: 7e-4\n"
        f"  masked_language_model: {{updates: {masked}, learning_rate: 1e-3, batch_sentences: 128}}\n"
    )


def _student_section(student: str, teacher: str, vocabulary: str | None) -> str:
    pieces = ""
    if teacher != SCRATCH and vocabulary is not None:
        pieces = f"  vocabulary: {_quoted(vocabulary if vocabulary == TRAINED else _file(vocabulary))}\n"
    elif teacher != SCRATCH:
        has_word_pieces = _has_word_pieces(Path(teacher))
        pieces = f"  {'# ' if has_word_pieces else ''}vocabulary: {TRAINED}   # for a teacher without WordPieces\n"
    return f"student:   # {student} of {', '.join(STUDENTS)}\n{STUDENTS[student]}{pieces}"


def _has_word_pieces(folder: Path) -> bool:
    """Whether a teacher's pieces are a BERT's; assumed of what is on the Hub, and checked when a run begins."""
    try:
        tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        return bool(tokenizer["model"]["type"] == "WordPiece")
    except (OSError, ValueError, LookupError, TypeError):
        return True


def _checkpoint(teacher: str) -> str:
    if Path(teacher).is_dir():
        return _absolute(teacher)
    if teacher.startswith((".", "/", "~")) or teacher.count("/") > 1:
        raise UsageError(
            f"--teacher {teacher}: no such folder. Give a folder, a Hub id such as org/name, or `{SCRATCH}`."
        )
    return teacher


def _window(folder: Path) -> str:
    """The line that sets the longest window of a teacher in a folder, if it is shorter than the default."""
    if not folder.is_dir():
        return ""
    from xtremedistil_ner.models.pretrained import load_config, longest_window  # transformers is heavy

    longest = longest_window(load_config(folder, revision=None))
    return (
        f"  max_pieces: {longest}   # its longest window\n"
        if longest < TeacherSection.model_fields["max_pieces"].default
        else ""
    )


def _file(vocabulary: str) -> str:
    if not Path(vocabulary).is_file():
        raise UsageError(f"--vocabulary {vocabulary}: no such file. Give a WordPiece vocab.txt.")
    return _absolute(vocabulary)


def _absolute(path: str) -> str:
    return path if path == "demo" or is_url(path) else str(Path(path).absolute())


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _between(least: int, value: float, most: int) -> int:
    return min(most, max(least, math.ceil(value)))

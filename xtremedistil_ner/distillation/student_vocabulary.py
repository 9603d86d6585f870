"""A student's pieces: the teacher's vocabulary, a given one or one learnt from the text, without unused pieces."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer, models

from xtremedistil_ner.corpus.labelled import LabelledCorpus
from xtremedistil_ner.errors import RecipeError
from xtremedistil_ner.models.pretrained import load_tokenizer
from xtremedistil_ner.pieces.vocabulary import (
    SPECIAL_PIECES,
    TRAINED,
    prune_vocabulary,
    read_vocabulary,
    train_vocabulary,
    wordpiece_tokenizer,
)
from xtremedistil_ner.processes.world import Processes
from xtremedistil_ner.progress import Reporter, counted
from xtremedistil_ner.recipe.model_sections import StudentSection
from xtremedistil_ner.run_folder.soft_labels import SoftLabelStore
from xtremedistil_ner.training.vocabulary_file import make_vocabulary_once


def student_tokenizer(
    section: StudentSection,
    corpus: LabelledCorpus,
    store: SoftLabelStore,
    teacher_tokenizer: Tokenizer,
    *,
    work: Path,
    fingerprint: str,
    processes: Processes,
    tell: Reporter,
) -> tuple[Tokenizer, bool]:
    """The student's tokenizer and whether it lower-cases. Its vocabulary is learnt and pruned once.

    Raises: as `given_vocabulary`.
    """
    vocabulary, lowercase = given_vocabulary(section, teacher_tokenizer)

    def all_text() -> Iterator[Sequence[Sequence[str]]]:
        return counted(_all_text(corpus, store), tell, "train", "reads text for the vocabulary")

    def learn_and_prune() -> Sequence[str]:
        pieces = vocabulary
        if pieces is None:
            pieces = train_vocabulary(all_text, size=section.vocabulary_size, lowercase=lowercase)
        if not section.prune_vocabulary:
            return pieces
        return prune_vocabulary(pieces, all_text(), lowercase=lowercase, min_count=section.min_piece_count)

    if vocabulary is None or section.prune_vocabulary:
        vocabulary = make_vocabulary_once(
            work / "vocabulary", learn_and_prune, fingerprint=fingerprint, processes=processes
        )
    return wordpiece_tokenizer(vocabulary, lowercase=lowercase, special_rows=not section.is_own), lowercase


def given_vocabulary(section: StudentSection, teacher_tokenizer: Tokenizer) -> tuple[Sequence[str] | None, bool]:
    """The vocabulary before pruning, None if it is to be learnt, and whether its tokenizer lower-cases.

    Raises: RecipeError when there is no WordPiece vocabulary to start from, or one with another case than the recipe's;
    ModelError when the vocabulary that the recipe names is missing, or lacks the special pieces.
    """
    vocabulary, lowercase = _named_vocabulary(section, teacher_tokenizer)
    if section.lowercase and not lowercase:
        raise RecipeError(
            "student.lowercase: the student takes its vocabulary from a cased tokenizer, and with it its case. "
            f"Give `{TRAINED}` or the path of a vocab.txt as student.vocabulary, or leave lowercase out."
        )
    if vocabulary is not None:  # pruning puts all special pieces in
        special_rows = not (section.is_own or section.prune_vocabulary)
        wordpiece_tokenizer(vocabulary, lowercase=lowercase, special_rows=special_rows)
    return vocabulary, lowercase


def _named_vocabulary(section: StudentSection, teacher_tokenizer: Tokenizer) -> tuple[Sequence[str] | None, bool]:
    if section.vocabulary == TRAINED:
        return None, section.lowercase
    if section.vocabulary is not None and Path(section.vocabulary).is_file():
        return read_vocabulary(Path(section.vocabulary)), section.lowercase
    if section.vocabulary is not None:
        return _word_pieces(load_tokenizer(section.vocabulary).backend_tokenizer, section.vocabulary)
    start = section.transformer
    if section.takes_layers and start.checkpoint is not None:
        tokenizer = load_tokenizer(start.checkpoint, revision=start.revision)
        return _word_pieces(tokenizer.backend_tokenizer, start.checkpoint)
    return _word_pieces(teacher_tokenizer, "the teacher")


def _word_pieces(tokenizer: Tokenizer, origin: str) -> tuple[tuple[str, ...], bool]:
    if not isinstance(tokenizer.model, models.WordPiece):
        raise RecipeError(
            f"student.vocabulary: {origin} has no WordPiece vocabulary to share. Give `{TRAINED}` to learn one from "
            "the text, the path of a vocab.txt, or a checkpoint that has one, such as bert-base-multilingual-cased."
        )
    ids = tokenizer.get_vocab(with_added_tokens=True)
    normalizer = json.loads(tokenizer.to_str()).get("normalizer") or {}
    added = (piece for piece in SPECIAL_PIECES if piece not in ids)  # MPNet has some of RoBERTa's in their place
    return (*added, *sorted(ids, key=ids.__getitem__)), bool(normalizer.get("lowercase"))


def _all_text(corpus: LabelledCorpus, store: SoftLabelStore) -> Iterator[Sequence[Sequence[str]]]:
    yield from store.sentences()
    for language in corpus.languages:
        yield [sentence.words for sentence in corpus.sentences(language, "train")]

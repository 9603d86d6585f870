"""Stage `finetune`: the gold corpora of all languages → one teacher.

An encoder is fine-tuned jointly, languages sampled by temperature, the best dev macro-F1 kept; before that, if the
recipe asks, it is trained as a masked-language model on the transfer set; a teacher from scratch starts from random
weights. With `epochs: 0` the checkpoint already is the teacher and is only checked and copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from xtremedistil_ner.corpus.labelled import LabelledCorpus, open_corpus
from xtremedistil_ner.corpus.transfer import held_out_keys, iter_transfer, transfer_languages
from xtremedistil_ner.distillation.losses import label_loss
from xtremedistil_ner.distillation.masked_language_model import masked_language_model, masked_source
from xtremedistil_ner.models.scratch_teacher import build_teacher
from xtremedistil_ner.models.teacher import (
    Teacher,
    adopt_teacher,
    classify_words,
    move,
    start_teacher,
    teacher_scorer,
)
from xtremedistil_ner.models.voting import Vote, save_votes
from xtremedistil_ner.pieces.encoder import EncodedCorpus
from xtremedistil_ner.pieces.vocabulary import prune_vocabulary, read_vocabulary, train_vocabulary, wordpiece_tokenizer
from xtremedistil_ner.processes.precision import begin_stage, dtype_of
from xtremedistil_ner.processes.world import Processes, current_processes
from xtremedistil_ner.progress import Event, Reporter, silent
from xtremedistil_ner.recipe.model_sections import ShapeSection
from xtremedistil_ner.recipe.schema import Recipe
from xtremedistil_ner.run_folder.files import RunFolder, publish, published_fingerprint, write_json
from xtremedistil_ner.run_folder.lock import remove_work
from xtremedistil_ner.training.checkpoints import CheckpointFolder
from xtremedistil_ner.training.encoded_files import encode_to_folder, open_encoded
from xtremedistil_ner.training.loop import train_phases
from xtremedistil_ner.training.phases import LoopSettings, Phase, Source
from xtremedistil_ner.training.sampling import BatchPlan
from xtremedistil_ner.training.selection import DevSet

STAGE: Final = "finetune"
_POOL = 16
"""Batches sorted by length together: padding falls from 67 to 18 % at 32 WikiANN sentences a batch."""
_MICRO_BATCH_PIECES = 8192
_CHECKPOINT_EVERY_S = 120.0
_SAMPLE_SENTENCES = 256
"""Enough to see how a teacher that is taken as it is begins its entities."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One teacher to make: what it learns from, and its resumable state."""

    recipe: Recipe
    corpus: LabelledCorpus
    work: Path
    wanted: str
    dtype: torch.dtype
    processes: Processes
    tell: Reporter


def finetune_teacher(recipe: Recipe, run: RunFolder, fingerprint: str, tell: Reporter) -> None:
    """Make `run.teacher`. Goes on from its last checkpoint; every process of the job calls it."""
    processes = current_processes()
    tell = tell if processes.is_main else silent
    corpus = open_corpus(recipe.corpus)
    work = run.work(STAGE)
    voters = list(_voters(recipe, corpus)) if processes.is_main else []  # before training: one may not fit
    details, dtype = {"fingerprint": fingerprint}, torch.float32
    if recipe.finetune.epochs:
        precision = begin_stage(recipe, run, STAGE, fingerprint, processes=processes, tell=tell)
        details["precision"], dtype = precision, dtype_of(precision)
    teacher, history = _make_teacher(_Job(recipe, corpus, work, fingerprint, dtype, processes, tell))
    if processes.is_main:
        with publish(run.teacher, details) as folder:
            save_votes(folder, [Vote(teacher, recipe.teacher.weight), *voters])
            write_json(folder / "training.json", {"looks": history})
        remove_work(work)
    processes.barrier()


def _make_teacher(job: _Job) -> tuple[Teacher, list[dict[str, Any]]]:
    recipe, scheme = job.recipe, job.corpus.scheme
    section = recipe.teacher
    if section.checkpoint is not None and recipe.finetune.epochs == 0:
        teacher = adopt_teacher(
            section.checkpoint,
            scheme,
            labels=section.labels,
            max_pieces=section.max_pieces,
            sample=_sample(job.corpus),
            revision=section.revision,
        )
        if teacher.tag_format == "IOB1":
            job.tell(Event(STAGE, f"{section.checkpoint}: its entities begin with I-, as in IO and IOB1"))
        return teacher, []
    if section.checkpoint is not None:
        teacher = start_teacher(
            section.checkpoint, scheme, max_pieces=section.max_pieces, seed=recipe.seed, revision=section.revision
        )
    else:
        shape = section.shape or ShapeSection()
        tokenizer = _scratch_tokenizer(job, shape)
        teacher = build_teacher(shape, tokenizer, scheme, max_pieces=section.max_pieces, seed=recipe.seed)
    move(teacher.model, job.processes.device)
    if recipe.finetune.masked_language_model.updates:
        _train_masked_language_model(job, teacher)
    return teacher, _train_classifier(job, teacher)


def _voters(recipe: Recipe, corpus: LabelledCorpus) -> Iterator[Vote]:
    for voter in recipe.teacher.voters:
        teacher = adopt_teacher(
            voter.checkpoint,
            corpus.scheme,
            labels=voter.labels,
            max_pieces=recipe.teacher.max_pieces,
            sample=_sample(corpus),
            revision=voter.revision,
        )
        yield Vote(teacher, voter.weight)


def _sample(corpus: LabelledCorpus) -> list[tuple[str, ...]]:
    """Some dev sentences of each language."""
    each = max(1, _SAMPLE_SENTENCES // len(corpus.languages))
    return [sentence.words for language in corpus.languages for sentence in corpus.sentences(language, "dev")[:each]]


def _train_classifier(job: _Job, teacher: Teacher) -> list[dict[str, Any]]:
    recipe, corpus, processes = job.recipe, job.corpus, job.processes
    section, scheme = recipe.finetune, corpus.scheme
    sentences = [sentence for language in corpus.languages for sentence in corpus.sentences(language, "train")]
    encoded = teacher.encoder.encode([sentence.words for sentence in sentences])
    gold = np.concatenate([scheme.encode(sentence.tags or ()) for sentence in sentences])
    source = classifier_source(
        teacher,
        encoded,
        gold,
        dtype=job.dtype,
        plan=BatchPlan(
            encoded.piece_lengths(),
            batch=section.batch_sentences,
            seed=recipe.seed,
            pool=_POOL,
            languages=_rows_by_language([sentence.language for sentence in sentences], encoded),
            temperature=section.sampling_temperature,
        ),
    )
    dev = DevSet(
        {name: corpus.sentences(name, "dev")[: recipe.train.dev_sentences] for name in corpus.languages},
        encoder=teacher.encoder,
        scheme=scheme,
        processes=processes,
        batch_pieces=_MICRO_BATCH_PIECES,
    )
    scorer = teacher_scorer(teacher, job.dtype)
    per_epoch = source.plan.batches_per_epoch
    updates = section.epochs * per_epoch
    phase = Phase(
        name="gold labels",
        sources=(source,),
        trained=frozenset(name for name, _ in teacher.model.named_parameters()),
        updates=updates,
        learning_rate=section.learning_rate,
        schedule="linear",
        warmup=section.warmup,
        weight_decay=section.weight_decay,
        evaluate=lambda: dev.score(scorer),
        evaluate_every=max(1, per_epoch // section.evaluations_per_epoch),
        patience=updates + 2,  # never: there is a look before the first update, and at most one after each
    )
    job.tell(Event(STAGE, f"{len(sentences)} gold sentences of {len(corpus.languages)} languages"))
    return train_phases(
        teacher.model,
        [phase],
        settings=LoopSettings(STAGE, recipe.seed, job.dtype, _MICRO_BATCH_PIECES, _CHECKPOINT_EVERY_S),
        processes=processes,
        checkpoints=CheckpointFolder(job.work / "classifier", job=job.wanted),
        tell=job.tell,
    )


def classifier_source(
    teacher: Teacher, encoded: EncodedCorpus, gold: NDArray[Any], *, dtype: torch.dtype, plan: BatchPlan
) -> Source:
    """Gold tags for a teacher. Shapes: gold (all words,) int."""

    def loss(rows: NDArray[Any]) -> Tensor:
        batch = teacher.encoder.collate(encoded, rows)
        logits = classify_words(teacher, batch, dtype)
        tags = torch.from_numpy(gold[encoded.scored_positions(batch)].astype(np.int64)).to(logits.device)
        return label_loss(logits[torch.from_numpy(batch.word_mask).to(logits.device)], tags)

    return Source("labels", plan, encoded.scored_words(), loss)


def _train_masked_language_model(job: _Job, teacher: Teacher) -> None:
    recipe, processes = job.recipe, job.processes
    section = recipe.finetune.masked_language_model
    if processes.is_main:
        encode_to_folder(teacher.encoder, _transfer_chunks(job), job.work / "encoded", fingerprint=f"{job.wanted}-mlm")
    processes.barrier()
    encoded = open_encoded(job.work / "encoded")
    origin = recipe.teacher.checkpoint
    model = masked_language_model(teacher, origin=origin, revision=recipe.teacher.revision, seed=recipe.seed)
    move(model, processes.device)
    plan = BatchPlan(encoded.piece_lengths(), batch=section.batch_sentences, seed=recipe.seed, pool=_POOL)
    source = masked_source(model, teacher, encoded, plan=plan, probability=section.mask_probability)
    phase = Phase(
        name="masked pieces",
        sources=(source,),
        trained=frozenset(name for name, _ in model.named_parameters()),
        updates=section.updates,
        learning_rate=section.learning_rate,
        schedule="linear",
        warmup=0.05,
        weight_decay=0.01,
        evaluate=None,
        evaluate_every=max(1, section.updates // 20),
        patience=1,
    )
    train_phases(
        model,
        [phase],
        settings=LoopSettings(STAGE, recipe.seed, job.dtype, _MICRO_BATCH_PIECES, _CHECKPOINT_EVERY_S),
        processes=processes,
        checkpoints=CheckpointFolder(job.work / "masked", job=f"{job.wanted}-mlm"),
        tell=job.tell,
    )


def _scratch_tokenizer(job: _Job, shape: ShapeSection) -> Tokenizer:
    """The recipe's vocabulary, pruned, or one trained, on the transfer set; made once, by the main process."""
    path = job.work / "vocabulary" / "vocab.txt"
    if job.processes.is_main and published_fingerprint(path.parent) != job.wanted:
        pieces = _scratch_vocabulary(job, shape)
        job.tell(Event(STAGE, f"vocabulary of {len(pieces):,} pieces"))
        with publish(path.parent, {"fingerprint": job.wanted}) as folder:
            (folder / path.name).write_text("\n".join(pieces) + "\n", encoding="utf-8")
    job.processes.barrier()
    return wordpiece_tokenizer(read_vocabulary(path), lowercase=shape.lowercase, special_rows=True)


def _scratch_vocabulary(job: _Job, shape: ShapeSection) -> Sequence[str]:
    if shape.vocabulary is None:
        return train_vocabulary(lambda: _transfer_chunks(job), size=shape.vocabulary_size, lowercase=shape.lowercase)
    return prune_vocabulary(
        read_vocabulary(Path(shape.vocabulary)),
        _transfer_chunks(job),
        lowercase=shape.lowercase,
        min_count=shape.min_piece_count,
    )


def _transfer_chunks(job: _Job) -> Iterator[list[tuple[str, ...]]]:
    held_out = held_out_keys(job.corpus)
    for language in transfer_languages(job.corpus, job.recipe.transfer):
        sentences = iter_transfer(job.corpus, job.recipe.transfer, language, held_out=held_out)
        while chunk := [sentence.words for sentence in islice(sentences, 4096)]:
            yield chunk


def _rows_by_language(languages: list[str], encoded: EncodedCorpus) -> dict[str, NDArray[Any]]:
    of_row = np.array(languages)[encoded.sentence]
    return {name: np.flatnonzero(of_row == name).astype(np.int64) for name in sorted(set(languages))}

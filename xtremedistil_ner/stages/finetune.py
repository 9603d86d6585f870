"""Stage `finetune`: the gold corpora of all languages → one teacher.

An encoder is fine-tuned on all languages together, which are sampled by temperature; the weights with the best dev
macro-F1 are kept. If the recipe asks, it is first trained as a masked-language model on the transfer set. A teacher
from scratch starts from random weights. With `epochs: 0` the checkpoint is the teacher, and is only checked and copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from xtremedistil_ner.models.other_vocabulary import with_vocabulary
from xtremedistil_ner.models.scratch_teacher import build_teacher
from xtremedistil_ner.models.teacher import (
    Teacher,
    adopt_teacher,
    classify_words,
    move,
    start_teacher,
    teacher_predictor,
)
from xtremedistil_ner.models.voting import Vote, save_votes
from xtremedistil_ner.pieces.encoder import EncodedCorpus
from xtremedistil_ner.pieces.vocabulary import prune_vocabulary, read_vocabulary, train_vocabulary, wordpiece_tokenizer
from xtremedistil_ner.processes.precision import Computed, begin_stage, dtype_of
from xtremedistil_ner.processes.world import current_processes, put_on
from xtremedistil_ner.progress import Reporter, counted, silent
from xtremedistil_ner.recipe.model_sections import PiecesSection, ShapeSection
from xtremedistil_ner.recipe.schema import Recipe
from xtremedistil_ner.run_folder.artefacts import publish
from xtremedistil_ner.run_folder.files import RunFolder
from xtremedistil_ner.run_folder.lock import remove_work
from xtremedistil_ner.run_folder.whole_files import write_json
from xtremedistil_ner.stages.training_job import TrainingJob
from xtremedistil_ner.training.budget import note_processes
from xtremedistil_ner.training.phases import Phase, Source
from xtremedistil_ner.training.sampling import BatchPlan, rows_by_language
from xtremedistil_ner.training.vocabulary_file import make_vocabulary_once

STAGE: Final = "finetune"
_POOL = 16
"""Batches sorted by length together: padding falls from 67 to 18 % at 32 WikiANN sentences a batch."""
_MICRO_BATCH_PIECES = 8192
_CHECKPOINT_EVERY_S = 120.0
_SAMPLE_SENTENCES = 256
"""Dev sentences that show whether a teacher that is not fine-tuned begins its entities with B- or I-."""


def finetune_teacher(recipe: Recipe, run: RunFolder, fingerprint: str, tell: Reporter) -> None:
    """Make `run.teacher`, from its last checkpoint on; every process of the job calls it."""
    processes = current_processes()
    tell = tell if processes.is_main else silent
    corpus = open_corpus(recipe.corpus)
    voters: list[Vote] = []
    if processes.is_main:  # before training: one may not fit
        voters += _voters(recipe, corpus, processes.device)
    details: dict[str, Any] = {"fingerprint": fingerprint}
    precision: Computed = "float32"
    begun_with = 1
    if recipe.finetune.epochs:
        precision = details["precision"] = begin_stage(recipe, run, STAGE, fingerprint, processes=processes, tell=tell)
        begun_with = note_processes(run.begun_with(STAGE), fingerprint, processes)
        details |= {"begun_with_processes": begun_with} if begun_with > 1 else {}
    job = TrainingJob(
        stage=STAGE,
        recipe=recipe,
        corpus=corpus,
        work=run.work(STAGE),
        fingerprint=fingerprint,
        precision=precision,
        micro_batch_pieces=_MICRO_BATCH_PIECES,
        checkpoint_every_s=_CHECKPOINT_EVERY_S,
        processes=processes,
        begun_with=begun_with,
        tell=tell,
    )
    teacher, history = _make_teacher(job)
    if processes.is_main:
        with publish(run.teacher, details) as folder:
            save_votes(folder, [Vote(teacher, recipe.teacher.weight), *voters])
            write_json(folder / "training.json", {"looks": history})
        remove_work(job.work)
    processes.barrier()


def _make_teacher(job: TrainingJob) -> tuple[Teacher, list[dict[str, Any]]]:
    recipe, scheme = job.recipe, job.corpus.scheme
    section = recipe.teacher
    if section.checkpoint is not None and recipe.finetune.epochs == 0:
        teacher = adopt_teacher(
            section.checkpoint,
            scheme,
            labels=section.labels,
            max_pieces=section.max_pieces,
            sample=_sample(job.corpus),
            device=job.processes.device,
            revision=section.revision,
        )
        if teacher.tag_format == "IOB1":
            job.say(f"{section.checkpoint}: its entities begin with I-, as in IO and IOB1")
        return teacher, []
    if section.checkpoint is not None:
        teacher = start_teacher(
            section.checkpoint, scheme, max_pieces=section.max_pieces, seed=recipe.seed, revision=section.revision
        )
        if section.vocabulary is not None:
            tokenizer = _teacher_tokenizer(job, section.vocabulary)
            teacher = with_vocabulary(teacher, tokenizer, max_pieces=section.max_pieces, seed=recipe.seed)
    else:
        shape = section.shape or ShapeSection()
        tokenizer = _teacher_tokenizer(job, shape)
        teacher = build_teacher(
            tokenizer,
            scheme,
            layers=shape.layers,
            hidden_width=shape.hidden_width,
            heads=shape.heads,
            dropout=shape.dropout,
            max_pieces=section.max_pieces,
            seed=recipe.seed,
            on_gpu=job.processes.device.type == "cuda",
        )
    move(teacher.model, job.processes.device)
    if recipe.finetune.masked_language_model.updates or _frozen_updates(recipe):
        _train_masked_language_model(job, teacher)
    return teacher, _train_classifier(job, teacher)


def _voters(recipe: Recipe, corpus: LabelledCorpus, device: torch.device) -> Iterator[Vote]:
    for voter in recipe.teacher.voters:
        teacher = adopt_teacher(
            voter.checkpoint,
            corpus.scheme,
            labels=voter.labels,
            max_pieces=recipe.teacher.max_pieces,
            sample=_sample(corpus),
            device=device,
            revision=voter.revision,
        )
        yield Vote(teacher, voter.weight)


def _sample(corpus: LabelledCorpus) -> list[tuple[str, ...]]:
    """About `_SAMPLE_SENTENCES` dev sentences, the first of each language."""
    each = max(1, _SAMPLE_SENTENCES // len(corpus.languages))
    return [sentence.words for language in corpus.languages for sentence in corpus.sentences(language, "dev")[:each]]


def _train_classifier(job: TrainingJob, teacher: Teacher) -> list[dict[str, Any]]:
    section, scheme, dtype = job.recipe.finetune, job.corpus.scheme, dtype_of(job.precision)
    sentences = job.gold_sentences()
    encoded = teacher.encoder.encode([sentence.words for sentence in sentences])
    gold = np.concatenate([scheme.encode(sentence.tags or ()) for sentence in sentences])
    per_epoch = -(-encoded.n_rows // section.batch_sentences)
    budget = job.budget(section, updates=section.epochs * per_epoch, rows=encoded.n_rows)
    plan = BatchPlan(
        encoded.piece_lengths(),
        batch=budget.batch_sentences,
        seed=job.recipe.seed,
        pool=_POOL,
        languages=rows_by_language(np.array([sentence.language for sentence in sentences])[encoded.sentence]),
        temperature=section.sampling_temperature,
    )
    dev, predictor = job.dev_set(job.dev_sentences(), teacher.encoder), teacher_predictor(teacher, dtype, say=job.say)
    updates = section.epochs * plan.batches_per_epoch
    phase = Phase(
        name="gold labels",
        sources=(classifier_source(teacher, encoded, gold, dtype=dtype, plan=plan),),
        trained=frozenset(name for name, _ in teacher.model.named_parameters()),
        updates=updates,
        learning_rate=budget.learning_rate,
        schedule="linear",
        warmup=section.warmup,
        weight_decay=section.weight_decay,
        evaluate=lambda: dev.score(predictor),
        evaluate_every=max(1, plan.batches_per_epoch // section.evaluations_per_epoch),
        patience=updates + 2,  # never: there is a look before the first update, and at most one after each
    )
    job.say(f"{len(sentences)} gold sentences of {len(job.corpus.languages)} languages")
    return job.train(teacher.model, [phase], checkpoints="classifier")


def classifier_source(
    teacher: Teacher, encoded: EncodedCorpus, gold: NDArray[Any], *, dtype: torch.dtype, plan: BatchPlan
) -> Source:
    """Gold tags for a teacher. Shapes: gold (all words,) int."""

    def loss(rows: NDArray[Any]) -> Tensor:
        batch = teacher.encoder.collate(encoded, rows)
        logits = classify_words(teacher, batch, dtype)
        tags = put_on(logits.device, gold[encoded.predicted_positions(batch)].astype(np.int64))
        is_word = put_on(logits.device, np.flatnonzero(batch.word_mask))
        return label_loss(logits.flatten(0, 1).index_select(0, is_word), tags)

    return Source("labels", plan, encoded.predicted_words(), loss)


def _train_masked_language_model(job: TrainingJob, teacher: Teacher) -> None:
    recipe, section = job.recipe, job.recipe.finetune.masked_language_model
    encoded = job.encode(teacher.encoder, _transfer_chunks(job), "encoded")
    model = masked_language_model(
        teacher,
        origin=recipe.teacher.checkpoint,
        revision=recipe.teacher.revision,
        seed=recipe.seed,
        has_new_pieces=recipe.teacher.vocabulary is not None,
    )
    move(model, job.processes.device)
    frozen_updates = _frozen_updates(recipe)
    budget = job.budget(section, updates=frozen_updates + section.updates, rows=encoded.n_rows)
    plan = BatchPlan(encoded.piece_lengths(), batch=budget.batch_sentences, seed=recipe.seed, pool=_POOL)
    source = masked_source(model, teacher, encoded, plan=plan, probability=section.mask_probability)
    every = frozenset(name for name, _ in model.named_parameters())
    frozen = {f"{model.base_model_prefix}.{name}" for name, _ in model.base_model.named_parameters()}
    embeddings = model.get_input_embeddings().weight
    new = frozenset(name for name, weight in model.named_parameters() if name not in frozen or weight is embeddings)

    def phase(name: str, trained: frozenset[str], updates: int) -> Phase:
        return Phase(
            name=name,
            sources=(source,),
            trained=trained,
            updates=updates,
            learning_rate=budget.learning_rate,
            schedule="linear",
            warmup=0.05,
            weight_decay=0.01,
            evaluate=None,
            evaluate_every=max(1, updates // 20),
            patience=1,
        )

    phases = [
        phase(name, trained, -(-updates // budget.factor))
        for name, trained, updates in (
            ("masked pieces, layers frozen", new, frozen_updates),
            ("masked pieces", every, section.updates),
        )
        if updates
    ]
    job.train(model, phases, checkpoints="masked")


def _frozen_updates(recipe: Recipe) -> int:
    """Updates of masked-language-model training in which an encoder gets used to another vocabulary."""
    return recipe.teacher.vocabulary.frozen_updates if recipe.teacher.vocabulary else 0


def _teacher_tokenizer(job: TrainingJob, section: PiecesSection) -> Tokenizer:
    """The recipe's vocabulary without pieces that the transfer set lacks, or one learnt from the transfer set."""

    def make() -> Sequence[str]:
        pieces = _teacher_pieces(job, section)
        job.say(f"vocabulary of {len(pieces):,} pieces")
        return pieces

    pieces = make_vocabulary_once(job.work / "vocabulary", make, fingerprint=job.fingerprint, processes=job.processes)
    return wordpiece_tokenizer(pieces, lowercase=section.lowercase, special_rows=True)


def _teacher_pieces(job: TrainingJob, section: PiecesSection) -> Sequence[str]:
    if section.vocabulary is None:
        size, lowercase = section.vocabulary_size, section.lowercase
        return train_vocabulary(lambda: _vocabulary_text(job), size=size, lowercase=lowercase)
    return prune_vocabulary(
        read_vocabulary(Path(section.vocabulary)),
        _vocabulary_text(job),
        lowercase=section.lowercase,
        min_count=section.min_piece_count,
    )


def _vocabulary_text(job: TrainingJob) -> Iterator[list[tuple[str, ...]]]:
    return counted(_transfer_chunks(job), job.tell, STAGE, "reads text for the vocabulary")


def _transfer_chunks(job: TrainingJob) -> Iterator[list[tuple[str, ...]]]:
    held_out = held_out_keys(job.corpus)
    for language in transfer_languages(job.corpus, job.recipe.transfer):
        sentences = iter_transfer(job.corpus, job.recipe.transfer, language, held_out=held_out)
        while chunk := [sentence.words for sentence in islice(sentences, 4096)]:
            yield chunk

"""Stage `train`: soft labels + gold labels → one student, or one per language, by the recipe's strategy.

The phases of the strategy run through the training loop, from the weights that `distillation/new_student.py` gives.
Students per language are trained one after the other and share out the updates equally; one that is done is kept in
the work folder, and all of them are published together.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.distillation.new_student import new_student
from xtremedistil_ner.distillation.sources import Distillation, student_windows
from xtremedistil_ner.distillation.strategies import (
    PhasePlan,
    needs_projection,
    plan_phases,
    trains_per_language,
    uses_soft_labels,
)
from xtremedistil_ner.distillation.student_vocabulary import student_tokenizer
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.models.kinds import KINDS, StudentNetwork
from xtremedistil_ner.models.student import count_parameters, divide_logits, save_student, student_predictor
from xtremedistil_ner.models.teacher import Teacher, load_teacher
from xtremedistil_ner.pieces.encoder import PieceEncoder
from xtremedistil_ner.processes.precision import begin_stage, dtype_of
from xtremedistil_ner.processes.world import current_processes
from xtremedistil_ner.progress import Reporter, silent
from xtremedistil_ner.recipe.schema import Recipe
from xtremedistil_ner.run_folder.artefacts import publish, published_fingerprint, verify
from xtremedistil_ner.run_folder.files import RunFolder
from xtremedistil_ner.run_folder.lock import remove_work
from xtremedistil_ner.run_folder.soft_labels import SoftLabelStore, open_store
from xtremedistil_ner.run_folder.whole_files import write_json
from xtremedistil_ner.stages.training_job import TrainingJob
from xtremedistil_ner.training.budget import Budget, note_processes
from xtremedistil_ner.training.phases import Phase, Source
from xtremedistil_ner.training.selection import DevSet

STAGE: Final = "train"

_Evaluation = Callable[[PhasePlan], Callable[[], Mapping[str, float]] | None]
"""What a phase is scored by, if by anything."""


@dataclass(frozen=True, slots=True)
class _Student:
    """One student to train: what it learns from beside gold labels, its updates at most, and where it goes."""

    job: TrainingJob
    store: SoftLabelStore
    teacher: Teacher
    updates: int
    target: Path

    @property
    def manifest_details(self) -> dict[str, Any]:
        """What the manifest of the student says beside its files."""
        job = self.job
        precision = KINDS[job.recipe.student.kind].name_precision(job.precision)
        processes = {"begun_with_processes": job.begun_with} if job.begun_with > 1 else {}
        return {"fingerprint": job.fingerprint, "precision": precision, **processes}


def train_student(recipe: Recipe, run: RunFolder, fingerprint: str, tell: Reporter) -> None:
    """Make `run.student`, from its last checkpoint on; every process of the job calls it."""
    processes = current_processes()
    tell = tell if processes.is_main else silent
    if recipe.train.seed is not None:
        recipe = recipe.model_copy(update={"seed": recipe.train.seed})
    corpus = open_corpus(recipe.corpus)
    store = open_store(run.soft_labels)
    verify(run.teacher)
    device = processes.device if needs_projection(recipe.train.strategy) else None  # else its logits are in the store
    teacher = load_teacher(run.teacher, corpus.scheme, labels={}, max_pieces=recipe.teacher.max_pieces, device=device)
    job = TrainingJob(
        stage=STAGE,
        recipe=recipe,
        corpus=corpus,
        work=run.work(STAGE),
        fingerprint=fingerprint,
        precision=begin_stage(recipe, run, STAGE, fingerprint, processes=processes, tell=tell),
        micro_batch_pieces=recipe.train.micro_batch_pieces,
        checkpoint_every_s=recipe.train.checkpoint_every_s,
        processes=processes,
        begun_with=note_processes(run.begun_with(STAGE), fingerprint, processes),
        tell=tell,
    )
    student = _Student(job, store, teacher, recipe.train.updates, run.student)
    if trains_per_language(recipe.train.strategy):
        _train_each_language(student)
    else:
        _train(student)


def _train_each_language(students: _Student) -> None:
    """Train a student per language that has training sentences, then publish all of them as one folder."""
    job = students.job
    languages = [name for name in job.corpus.languages if job.corpus.sentences(name, "train")]
    if not languages:
        raise CorpusError(f"{job.corpus.name}: no language has training sentences. Add a train file.")
    share, spare = divmod(students.updates, len(languages))
    finished = job.work / "students"
    for number, language in enumerate(languages):
        if published_fingerprint(finished / language) == job.fingerprint:
            job.say(f"{language}: done before")
            continue
        of_language = replace(
            job,
            corpus=replace(job.corpus, languages=(language,)),
            work=job.work / "languages" / language,
            tell=_naming(language, job.tell),
        )
        updates = max(1, share + (number < spare))
        store = students.store.of_language(language)
        _train(_Student(of_language, store, students.teacher, updates, finished / language))
    if job.processes.is_main:
        with publish(students.target, students.manifest_details) as folder:
            for language in languages:
                shutil.copytree(finished / language, folder / language)
        remove_work(job.work)
    job.processes.barrier()


def _naming(language: str, tell: Reporter) -> Reporter:
    return lambda event: tell(replace(event, message=f"{language}: {event.message}"))


def _train(student: _Student) -> None:
    """Train one student through all phases and publish it."""
    job = student.job
    recipe, processes = job.recipe, job.processes
    tokenizer, lowercase = student_tokenizer(
        recipe.student,
        job.corpus,
        student.store,
        student.teacher.encoder.tokenizer,
        work=job.work,
        fingerprint=job.fingerprint,
        processes=processes,
        tell=job.tell,
    )
    encoder = PieceEncoder(tokenizer, max_pieces=recipe.student.max_pieces, pad_id=tokenizer.get_vocab()["[PAD]"])
    network = new_student(recipe, tokenizer, student.teacher).to(processes.device)
    job.say(f"student of {count_parameters(network):,} parameters, {tokenizer.get_vocab_size():,} pieces")
    gold, dev_sentences = job.gold_sentences(), job.dev_sentences()
    dev = job.dev_set(dev_sentences, encoder)
    budget = job.budget(recipe.train, updates=student.updates, rows=len(gold))
    distillation = _open_distillation(student, encoder, network, gold=gold, batch=budget.batch_sentences)
    phases = _phases(job, budget, distillation, _evaluations(job, distillation, dev_sentences, dev))
    history = job.train(network, phases, checkpoints="checkpoints")
    temperature = _calibrate(network, dev, job)
    if processes.is_main:
        with publish(student.target, student.manifest_details) as folder:
            save_student(
                folder,
                network,
                tokenizer,
                job.corpus.scheme,
                lowercase=lowercase,
                max_pieces=recipe.student.max_pieces,
                extra={"score_temperature": temperature},
            )
            write_json(folder / "training.json", {"strategy": recipe.train.strategy, "looks": history})
        remove_work(job.work)
    processes.barrier()


def _open_distillation(
    student: _Student, encoder: PieceEncoder, network: StudentNetwork, *, gold: Sequence[Sentence], batch: int
) -> Distillation:
    job, store, teacher = student.job, student.store, student.teacher
    section = job.recipe.train
    needs_text = uses_soft_labels(section.strategy)
    layer = section.teacher_layer
    total = sum(counts.kept for counts in store.counts.values())
    transfer = job.encode(encoder, store.sentences(), "transfer", total=total) if needs_text else None
    windows = None
    if transfer is not None and needs_projection(section.strategy):
        read_by_teacher = student_windows(transfer, store)
        windows = job.encode(teacher.encoder, read_by_teacher, "windows", total=transfer.n_rows)
    return Distillation(
        network=network,
        encoder=encoder,
        gold=gold,
        transfer=transfer,
        windows=windows,
        store=store,
        teacher=teacher,
        teacher_layer=teacher.layers // 2 if layer is None else layer,
        dtype=dtype_of(job.precision),
        batch=batch,
        seed=job.recipe.seed,
        logit_loss=section.logit_loss,
        temperature=section.temperature,
        sampling_temperature=section.sampling_temperature,
        representation_loss=section.representation_loss,
    )


def _calibrate(network: StudentNetwork, dev: DevSet, job: TrainingJob) -> float:
    """Divide the logits of a trained student by the temperature that makes its scores fit dev; which it is."""
    crf = network.crf
    network.eval()
    with torch.inference_mode():
        temperature = dev.temperature(
            student_predictor(network, device=job.processes.device, say=job.say), crf.transitions() if crf else None
        )
    divide_logits(network, temperature)
    return temperature


def _phases(job: TrainingJob, budget: Budget, distillation: Distillation, evaluate: _Evaluation) -> list[Phase]:
    section, network = job.recipe.train, distillation.network

    def phase(plan: PhasePlan) -> Phase:
        return Phase(
            name=plan.name,
            sources=_sources(plan, distillation, section.loss_weights.model_dump()),
            trained=distillation.parameters_of(plan.layers),
            updates=plan.updates,
            learning_rate=budget.learning_rate,
            final_learning_rate=section.final_learning_rate,
            weight_decay=section.weight_decay,
            evaluate=evaluate(plan),
            evaluate_every=max(1, round(section.evaluate_every / budget.factor)),
            patience=section.patience,
        )

    layers = tuple(network.layers())
    plans = plan_phases(section.strategy, updates=budget.updates, layers=layers, head=network.shape.head)
    return [phase(plan) for plan in plans]


def _sources(plan: PhasePlan, distillation: Distillation, weights: Mapping[str, float]) -> tuple[Source, ...]:
    """The sources of a phase, weighted where there is more than one."""
    sources = tuple(distillation.source(loss) for loss in plan.losses)
    if len(sources) == 1:
        return sources
    return tuple(replace(source, weight=weights[source.name]) for source in sources)


def _evaluations(
    job: TrainingJob, distillation: Distillation, sentences: Mapping[str, Sequence[Sentence]], dev: DevSet
) -> _Evaluation:
    """What selects in a phase: for the representation loss alone its error on dev, for all other losses dev's F1.

    Without dev sentences nothing can select, and a phase keeps its last weights.
    """
    predictor = student_predictor(distillation.network, device=job.processes.device, say=job.say)
    dev_words = [sentence.words for of_language in sentences.values() for sentence in of_language]
    crf = distillation.network.crf

    @cache
    def error_of_states() -> Callable[[], float]:
        return distillation.representation_error(dev_words, job.processes)

    def representation_error() -> dict[str, float]:
        return {"score": -error_of_states()()}

    def f1() -> dict[str, float]:
        return dev.score(predictor, crf.transitions() if crf else None)

    def evaluation(plan: PhasePlan) -> Callable[[], Mapping[str, float]] | None:
        if not dev_words:
            return None
        return representation_error if plan.losses == ("representation",) else f1

    return evaluation

"""Stage `train`: soft labels + gold labels → one student, or one per language, by the recipe's strategy.

The phases of the strategy run through the training loop, from the weights that `distillation/new_student.py` gives.
Students per language are trained one after the other and share out the updates equally; one that is done is kept in
the work folder, and all of them are published together.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from xtremedistil_ner.corpus.labelled import LabelledCorpus, open_corpus
from xtremedistil_ner.distillation.new_student import new_student
from xtremedistil_ner.distillation.sources import Distillation
from xtremedistil_ner.distillation.strategies import PhasePlan, plan_phases, trains_per_language, uses_soft_labels
from xtremedistil_ner.distillation.student_vocabulary import student_tokenizer
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.evaluation.open_model import count_parameters
from xtremedistil_ner.models.kinds import KINDS, StudentNetwork
from xtremedistil_ner.models.student import save_student, student_scorer
from xtremedistil_ner.models.teacher import Teacher, load_teacher
from xtremedistil_ner.pieces.encoder import PieceEncoder
from xtremedistil_ner.processes.precision import Computed, begin_stage, dtype_of
from xtremedistil_ner.processes.world import Processes, current_processes
from xtremedistil_ner.progress import Event, Reporter, silent
from xtremedistil_ner.recipe.schema import Recipe
from xtremedistil_ner.run_folder.files import RunFolder, publish, published_fingerprint, verify, write_json
from xtremedistil_ner.run_folder.lock import remove_work
from xtremedistil_ner.run_folder.soft_labels import SoftLabelStore, open_store
from xtremedistil_ner.training.checkpoints import CheckpointFolder
from xtremedistil_ner.training.encoded_files import encode_to_folder, open_encoded
from xtremedistil_ner.training.loop import train_phases
from xtremedistil_ner.training.phases import LoopSettings, Phase, Source
from xtremedistil_ner.training.selection import DevSet

STAGE: Final = "train"


@dataclass(frozen=True, slots=True)
class _Job:
    """One student to train: the text it learns from, its updates at most, its place, and its resumable state."""

    recipe: Recipe
    corpus: LabelledCorpus
    store: SoftLabelStore
    teacher: Teacher
    updates: int
    target: Path
    work: Path
    wanted: str
    precision: Computed
    processes: Processes
    tell: Reporter


def train_student(recipe: Recipe, run: RunFolder, wanted: str, tell: Reporter) -> None:
    """Make `run.student`. Goes on from its last checkpoint; every process of the job calls it."""
    processes = current_processes()
    tell = tell if processes.is_main else silent
    corpus = open_corpus(recipe.corpus)
    store = open_store(run.soft_labels)
    verify(run.teacher)
    teacher = load_teacher(
        run.teacher, corpus.scheme, labels={}, max_pieces=recipe.teacher.max_pieces, device=processes.device
    )
    work, updates = run.work(STAGE), recipe.train.updates
    precision = begin_stage(recipe, run, STAGE, wanted, processes=processes, tell=tell)
    job = _Job(recipe, corpus, store, teacher, updates, run.student, work, wanted, precision, processes, tell)
    if trains_per_language(recipe.train.strategy):
        _train_each_language(job)
    else:
        _train(job)


def _train_each_language(job: _Job) -> None:
    """Train a student per language that has training sentences, then publish all of them as one folder."""
    languages = [name for name in job.corpus.languages if job.corpus.sentences(name, "train")]
    if not languages:
        raise CorpusError(f"{job.corpus.name}: no language has training sentences. Add a train file.")
    share, spare = divmod(job.updates, len(languages))
    finished = job.work / "students"
    for number, language in enumerate(languages):
        if published_fingerprint(finished / language) == job.wanted:
            job.tell(Event(STAGE, f"{language}: done before"))
            continue
        own = replace(
            job,
            corpus=replace(job.corpus, languages=(language,)),
            store=job.store.of_language(language),
            updates=max(1, share + (number < spare)),
            target=finished / language,
            work=job.work / "languages" / language,
            tell=_naming(language, job.tell),
        )
        _train(own)
    if job.processes.is_main:
        with publish(job.target, _manifest_details(job)) as folder:
            for language in languages:
                shutil.copytree(finished / language, folder / language)
        remove_work(job.work)
    job.processes.barrier()


def _manifest_details(job: _Job) -> dict[str, str]:
    return {"fingerprint": job.wanted, "precision": KINDS[job.recipe.student.kind].name_precision(job.precision)}


def _naming(language: str, tell: Reporter) -> Reporter:
    return lambda event: tell(replace(event, message=f"{language}: {event.message}"))


def _train(job: _Job) -> None:
    """Train one student through all phases and publish it."""
    recipe, processes = job.recipe, job.processes
    tokenizer, lowercase = student_tokenizer(
        recipe.student,
        job.corpus,
        job.store,
        job.teacher.encoder.tokenizer,
        work=job.work,
        wanted=job.wanted,
        processes=processes,
    )
    encoder = PieceEncoder(tokenizer, max_pieces=recipe.student.max_pieces, pad_id=tokenizer.get_vocab()["[PAD]"])
    network = new_student(recipe, tokenizer, job.teacher).to(processes.device)
    size = f"{count_parameters(network):,} parameters, {tokenizer.get_vocab_size():,} pieces"
    job.tell(Event(STAGE, f"student of {size}"))
    history = train_phases(
        network,
        _phases(job, _open_distillation(job, encoder, network)),
        settings=LoopSettings(
            STAGE,
            recipe.seed,
            dtype_of(job.precision),
            recipe.train.micro_batch_pieces,
            recipe.train.checkpoint_every_s,
        ),
        processes=processes,
        checkpoints=CheckpointFolder(job.work / "checkpoints", job=job.wanted),
        tell=job.tell,
    )
    if processes.is_main:
        with publish(job.target, _manifest_details(job)) as folder:
            save_student(
                folder,
                network,
                tokenizer,
                job.corpus.scheme,
                lowercase=lowercase,
                max_pieces=recipe.student.max_pieces,
            )
            write_json(folder / "training.json", {"strategy": recipe.train.strategy, "looks": history})
        remove_work(job.work)
    processes.barrier()


def _open_distillation(job: _Job, encoder: PieceEncoder, network: StudentNetwork) -> Distillation:
    section, processes = job.recipe.train, job.processes
    gold = [s for language in job.corpus.languages for s in job.corpus.sentences(language, "train")]
    transfer = None
    if uses_soft_labels(section.strategy):
        folder = job.work / "transfer"
        if processes.is_main:
            encode_to_folder(encoder, job.store.sentences(), folder, fingerprint=job.wanted)
        processes.barrier()
        transfer = open_encoded(folder)
    layer = section.teacher_layer
    return Distillation(
        network=network,
        encoder=encoder,
        gold=gold,
        transfer=transfer,
        store=job.store,
        teacher=job.teacher,
        teacher_layer=job.teacher.layers // 2 if layer is None else layer,
        dtype=dtype_of(job.precision),
        batch=section.batch_sentences,
        seed=job.recipe.seed,
        logit_loss=section.logit_loss,
        temperature=section.temperature,
        representation_loss=section.representation_loss,
    )


def _phases(job: _Job, distillation: Distillation) -> list[Phase]:
    section, network = job.recipe.train, distillation.network
    evaluate = _evaluations(job, distillation)

    def phase(plan: PhasePlan) -> Phase:
        return Phase(
            name=plan.name,
            sources=_sources(plan, distillation, section.loss_weights.model_dump()),
            trained=distillation.parameters_of(plan.layers),
            updates=plan.updates,
            learning_rate=section.learning_rate,
            final_learning_rate=section.final_learning_rate,
            weight_decay=section.weight_decay,
            evaluate=evaluate(plan),
            evaluate_every=section.evaluate_every,
            patience=section.patience,
        )

    plans = plan_phases(section.strategy, updates=job.updates, layers=tuple(network.layers()), head=network.shape.head)
    return [phase(plan) for plan in plans]


def _sources(plan: PhasePlan, distillation: Distillation, weights: Mapping[str, float]) -> tuple[Source, ...]:
    """The sources of a phase, weighted where there is more than one."""
    sources = tuple(distillation.source(loss) for loss in plan.losses)
    if len(sources) == 1:
        return sources
    return tuple(replace(source, weight=weights[source.name]) for source in sources)


def _evaluations(
    job: _Job, distillation: Distillation
) -> Callable[[PhasePlan], Callable[[], Mapping[str, float]] | None]:
    """What selects in a phase: the representation loss alone by its error on dev, all others by dev's F1.

    Without dev sentences nothing can select, and a phase keeps its last weights.
    """
    limit, processes = job.recipe.train.dev_sentences, job.processes
    sentences = {name: job.corpus.sentences(name, "dev")[:limit] for name in job.corpus.languages}
    dev = DevSet(
        sentences,
        encoder=distillation.encoder,
        scheme=job.corpus.scheme,
        processes=processes,
        batch_pieces=job.recipe.train.micro_batch_pieces,
    )
    scorer = student_scorer(distillation.network, device=processes.device)
    dev_words = [sentence.words for found in sentences.values() for sentence in found]
    crf = distillation.network.crf

    def representation_error() -> dict[str, float]:
        return {"score": -distillation.representation_error(dev_words, processes)}

    def f1() -> dict[str, float]:
        return dev.score(scorer, crf.transitions() if crf else None)

    def evaluation(plan: PhasePlan) -> Callable[[], Mapping[str, float]] | None:
        if not dev_words:
            return None
        return representation_error if plan.losses == ("representation",) else f1

    return evaluation

"""Stage `train`: soft labels + gold labels → one student, by the recipe's strategy.

The student's vocabulary is pruned to the pieces that occur, its embeddings start from an SVD of the teacher's, and
the phases of the strategy run through the training loop. All strategies of a recipe start from the same weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models
from torch import nn

from xtremedistil_ner.corpus.labelled import LabelledCorpus, open_corpus
from xtremedistil_ner.errors import RecipeError
from xtremedistil_ner.models.bilstm import BiLstm, BiLstmShape
from xtremedistil_ner.models.distillation import Distillation
from xtremedistil_ner.models.embeddings import carry_embeddings, reduce_by_svd
from xtremedistil_ner.models.student import save_student, student_scorer
from xtremedistil_ner.models.teacher import Teacher, load_teacher, piece_embeddings
from xtremedistil_ner.pieces import PieceEncoder
from xtremedistil_ner.progress import Event, Reporter, silent
from xtremedistil_ner.rundir import RunFolder, publish, published_fingerprint, remove, verify, write_json
from xtremedistil_ner.schema import Recipe
from xtremedistil_ner.soft_labels import SoftLabelStore, open_store
from xtremedistil_ner.training.checkpoints import CheckpointFolder
from xtremedistil_ner.training.encoded_files import encode_to_folder, open_encoded
from xtremedistil_ner.training.loop import LoopSettings, Phase, train_phases
from xtremedistil_ner.training.processes import Processes, autocast_dtype, current_processes
from xtremedistil_ner.training.selection import DevSet
from xtremedistil_ner.training.strategies import PhasePlan, needs_projection, plan_phases, uses_soft_labels
from xtremedistil_ner.vocabulary import prune_vocabulary, read_vocabulary, wordpiece_tokenizer

STAGE = "train"


def train_student(recipe: Recipe, run: RunFolder, wanted: str, report: Reporter) -> None:
    """Make `run.student`. Goes on from its last checkpoint; every process of the job calls it."""
    processes = current_processes()
    report = report if processes.is_main else silent
    corpus = open_corpus(recipe.corpus)
    store = open_store(run.soft_labels)
    verify(run.teacher)
    teacher = load_teacher(
        run.teacher, corpus.scheme, labels={}, max_pieces=recipe.teacher.max_pieces, device=processes.device
    )
    work = run.work(STAGE)
    tokenizer, lowercase = _student_tokenizer(recipe, corpus, store, teacher, work, wanted, processes)
    encoder = PieceEncoder(tokenizer, max_pieces=recipe.student.max_pieces, pad_id=0)
    network = _build_network(recipe, tokenizer, teacher).to(processes.device)
    report(Event(STAGE, f"student of {count_parameters(network):,} parameters, {tokenizer.get_vocab_size():,} pieces"))
    distillation = _open_distillation(recipe, corpus, store, teacher, encoder, network, work, wanted, processes)
    history = train_phases(
        network,
        _phases(recipe, corpus, distillation, processes),
        settings=LoopSettings(
            STAGE,
            recipe.seed,
            autocast_dtype(recipe.train.precision, processes.device),
            recipe.train.micro_batch_pieces,
            recipe.train.checkpoint_every_s,
        ),
        processes=processes,
        checkpoints=CheckpointFolder(work / "checkpoints", job=wanted),
        report=report,
    )
    if processes.is_main:
        with publish(run.student, {"fingerprint": wanted}) as folder:
            save_student(
                folder,
                network,
                tokenizer,
                corpus.scheme,
                lowercase=lowercase,
                max_pieces=recipe.student.max_pieces,
            )
            write_json(folder / "training.json", {"strategy": recipe.train.strategy, "looks": history})
        remove(work)
    processes.barrier()


def count_parameters(network: nn.Module) -> int:
    """All parameters of a network, embeddings included."""
    return sum(parameter.numel() for parameter in network.parameters())


def _student_tokenizer(
    recipe: Recipe,
    corpus: LabelledCorpus,
    store: SoftLabelStore,
    teacher: Teacher,
    work: Path,
    wanted: str,
    processes: Processes,
) -> tuple[Tokenizer, bool]:
    """The student's tokenizer and whether it lower-cases. Pruned once, by the main process."""
    section = recipe.student
    if section.vocabulary is not None:
        vocabulary, lowercase = read_vocabulary(Path(section.vocabulary)), section.lowercase
    else:
        vocabulary, lowercase = _teacher_vocabulary(teacher)
    if section.prune_vocabulary:
        path = work / "vocabulary" / "vocab.txt"
        if processes.is_main and published_fingerprint(path.parent) != wanted:
            pieces = prune_vocabulary(
                vocabulary, _all_text(corpus, store), lowercase=lowercase, min_count=section.min_piece_count
            )
            with publish(path.parent, {"fingerprint": wanted}) as folder:
                (folder / path.name).write_text("\n".join(pieces) + "\n", encoding="utf-8")
        processes.barrier()
        vocabulary = read_vocabulary(path)
    return wordpiece_tokenizer(vocabulary, lowercase=lowercase, special_rows=False), lowercase


def _teacher_vocabulary(teacher: Teacher) -> tuple[tuple[str, ...], bool]:
    tokenizer = teacher.encoder.tokenizer
    if not isinstance(tokenizer.model, models.WordPiece):
        raise RecipeError(
            "student.vocabulary: the teacher has no WordPiece vocabulary to share. Give the path of a vocab.txt."
        )
    ids = tokenizer.get_vocab(with_added_tokens=True)
    normalizer = json.loads(tokenizer.to_str()).get("normalizer") or {}
    return tuple(sorted(ids, key=ids.__getitem__)), bool(normalizer.get("lowercase"))


def _all_text(corpus: LabelledCorpus, store: SoftLabelStore) -> Iterator[Sequence[Sequence[str]]]:
    yield from store.sentences()
    for language in corpus.languages:
        yield [sentence.words for sentence in corpus.sentences(language, "train")]


def _build_network(recipe: Recipe, tokenizer: Tokenizer, teacher: Teacher) -> BiLstm:
    section = recipe.student
    shape = BiLstmShape(
        vocabulary_size=tokenizer.get_vocab_size(),
        embedding_width=section.embedding_width,
        hidden_width=section.hidden_width,
        representation_width=teacher.width,
        tags=len(teacher.scheme.tags),
        head=section.head,
        dropout=section.dropout,
    )
    torch.manual_seed(recipe.seed)
    network = BiLstm(shape, with_projection=needs_projection(recipe.train.strategy))
    if section.embeddings == "svd":
        if section.embedding_width > teacher.width:
            raise RecipeError(
                f"student.embedding_width {section.embedding_width}: an SVD of the teacher's embeddings has at most "
                f"{teacher.width} columns. Take fewer, or embeddings: random."
            )
        ids = tokenizer.get_vocab()
        pieces = sorted(ids, key=ids.__getitem__)
        carried = carry_embeddings(pieces, teacher.encoder.tokenizer, piece_embeddings(teacher))
        with torch.no_grad():
            network.embeddings.weight.copy_(reduce_by_svd(carried, section.embedding_width))
    return network


def _open_distillation(
    recipe: Recipe,
    corpus: LabelledCorpus,
    store: SoftLabelStore,
    teacher: Teacher,
    encoder: PieceEncoder,
    network: BiLstm,
    work: Path,
    wanted: str,
    processes: Processes,
) -> Distillation:
    gold = [s for language in corpus.languages for s in corpus.sentences(language, "train")]
    transfer = None
    if uses_soft_labels(recipe.train.strategy):
        folder = work / "transfer"
        if processes.is_main:
            encode_to_folder(encoder, store.sentences(), folder, fingerprint=wanted)
        processes.barrier()
        transfer = open_encoded(folder)
    layer = recipe.train.teacher_layer
    return Distillation(
        network=network,
        encoder=encoder,
        gold=gold,
        transfer=transfer,
        store=store,
        teacher=teacher,
        teacher_layer=teacher.layers // 2 if layer is None else layer,
        dtype=autocast_dtype(recipe.train.precision, processes.device),
        batch=recipe.train.batch_sentences,
        seed=recipe.seed,
    )


def _phases(recipe: Recipe, corpus: LabelledCorpus, distillation: Distillation, processes: Processes) -> list[Phase]:
    section = recipe.train
    sentences = {name: corpus.sentences(name, "dev")[: section.dev_sentences] for name in corpus.languages}
    dev = DevSet(
        sentences,
        encoder=distillation.encoder,
        scheme=corpus.scheme,
        processes=processes,
        batch_pieces=section.micro_batch_pieces,
    )
    scorer = student_scorer(distillation.network, device=processes.device)
    dev_words = [sentence.words for found in sentences.values() for sentence in found]

    def phase(plan: PhasePlan) -> Phase:
        def evaluate() -> dict[str, float]:
            if plan.losses == ("representation",):
                return {"score": -distillation.representation_error(dev_words, processes)}
            return dev.score(scorer)

        return Phase(
            name=plan.name,
            sources=tuple(distillation.source(loss) for loss in plan.losses),
            trained=distillation.parameters_of(plan.layers),
            updates=plan.updates,
            learning_rate=section.learning_rate,
            final_learning_rate=section.final_learning_rate,
            weight_decay=section.weight_decay,
            evaluate=evaluate,
            evaluate_every=section.evaluate_every,
            patience=section.patience,
        )

    plans = plan_phases(section.strategy, updates=section.updates, head=recipe.student.head)
    return [phase(plan) for plan in plans]

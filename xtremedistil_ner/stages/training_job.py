"""What the stages that train share: text, settings and unfinished state of a job, and how it calls the loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from xtremedistil_ner.corpus.labelled import LabelledCorpus
from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.pieces.encoder import EncodedCorpus, PieceEncoder
from xtremedistil_ner.processes.precision import Computed, TrainedStage, dtype_of
from xtremedistil_ner.processes.world import Processes
from xtremedistil_ner.progress import Event, Reporter, counted
from xtremedistil_ner.recipe.schema import FinetuneSection, MaskedLanguageModelSection, Recipe, TrainSection
from xtremedistil_ner.run_folder.whole_files import make_fingerprint
from xtremedistil_ner.training.budget import Budget
from xtremedistil_ner.training.checkpoints import CheckpointFolder
from xtremedistil_ner.training.encoded_files import encode_to_folder, open_encoded
from xtremedistil_ner.training.loop import train_phases
from xtremedistil_ner.training.phases import LoopSettings, Phase
from xtremedistil_ner.training.selection import DevSet


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One model to train in a stage. `work` has its unfinished state, under its `fingerprint`.

    `begun_with` is the number of processes that the stage was begun with, by which batches are scaled.
    Units: `checkpoint_every_s` seconds.
    """

    stage: TrainedStage
    recipe: Recipe
    corpus: LabelledCorpus
    work: Path
    fingerprint: str
    precision: Computed
    micro_batch_pieces: int
    checkpoint_every_s: float
    processes: Processes
    begun_with: int
    tell: Reporter

    def say(self, message: str) -> None:
        """Report a message."""
        self.tell(Event(self.stage, message))

    def budget(
        self, section: FinetuneSection | MaskedLanguageModelSection | TrainSection, *, updates: int, rows: int
    ) -> Budget:
        """Batch, updates and learning rate of a training on `rows` that takes `updates` updates on one process."""
        alone = Budget(section.batch_sentences, updates, section.learning_rate)
        budget = alone.for_processes(self.begun_with, rows=rows) if section.scale_batch else alone
        if budget.factor > 1:
            self.say(
                f"begun with {self.begun_with} processes: {budget.factor} x {section.batch_sentences} sentences per "
                f"update, {budget.updates:,} updates, learning rate {budget.learning_rate:.3g}"
            )
        return budget

    def gold_sentences(self) -> list[Sentence]:
        """The training sentences of all languages."""
        return [sentence for language in self.corpus.languages for sentence in self.corpus.sentences(language, "train")]

    def dev_sentences(self) -> dict[str, Sequence[Sentence]]:
        """The dev sentences that select, by language; read anew at each call."""
        section = self.recipe.finetune if self.stage == "finetune" else self.recipe.train
        limit = section.dev_sentences
        return {language: self.corpus.sentences(language, "dev")[:limit] for language in self.corpus.languages}

    def dev_set(self, sentences: Mapping[str, Sequence[Sentence]], encoder: PieceEncoder) -> DevSet:
        """Dev sentences, encoded for a model."""
        return DevSet(
            sentences,
            encoder=encoder,
            scheme=self.corpus.scheme,
            processes=self.processes,
            batch_pieces=self.micro_batch_pieces,
        )

    def encode(
        self, encoder: PieceEncoder, chunks: Iterable[Sequence[Sequence[str]]], name: str, *, total: int = 0
    ) -> EncodedCorpus:
        """Have the main process encode text into the work folder, unless it did before, and open it.

        Units: `total` in sentences, or 0 if unknown.
        """
        if self.processes.is_main:
            told = counted(chunks, self.tell, self.stage, f"encodes {name}", total=total)
            encode_to_folder(encoder, told, self.work / name, fingerprint=self.fingerprint)
        self.processes.barrier()
        return open_encoded(self.work / name)

    def train(self, model: nn.Module, phases: Sequence[Phase], *, checkpoints: str) -> list[dict[str, Any]]:
        """Train a model through all phases, from its newest checkpoint on; the history of looks at dev.

        A checkpoint of another precision or of other batches is none of this job's.
        """
        begun = make_fingerprint(self.fingerprint, self.precision, self.begun_with)
        return train_phases(
            model,
            phases,
            settings=LoopSettings(
                self.stage,
                self.recipe.seed,
                dtype_of(self.precision),
                self.micro_batch_pieces,
                self.checkpoint_every_s,
            ),
            processes=self.processes,
            checkpoints=CheckpointFolder(self.work / checkpoints, fingerprint=begun),
            tell=self.tell,
        )

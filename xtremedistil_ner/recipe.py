"""The recipe: one YAML file that says everything about one run, read strictly.

YAML 1.2 through ruamel.yaml, because PyYAML reads `no` (Norwegian) as `False`, `3e-4` as text, and accepts
repeated keys. All problems of a file are reported at once, each with its line and its path. Defaults live here
and nowhere else; `docs/recipes.md` is generated from these classes.
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from xtremedistil_ner.errors import RecipeError

Names = Annotated[tuple[str, ...], Field(strict=False)]
Precision = Literal["auto", "float32", "bf16"]
Strategy = Literal["D0-S", "hard", "D1", "D4.2"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class CorpusSection(_Section):
    """The labelled corpora: `demo` (built in, synthetic) or a folder `<lang>/{train,dev,test}.tsv`."""

    path: str = Field("demo", description="`demo`, or a folder with one folder per language")
    languages: Names = Field((), description="language codes; empty: every language of the corpus")
    types: Names = Field((), description="entity types; empty: the types that the training tags have")
    train_sentences: int | None = Field(None, gt=0, description="at most so many training sentences per language")


class TransferSection(_Section):
    """The unlabelled text that the teacher labels."""

    training_text: bool = Field(True, description="use the labelled training sentences, without their tags")
    path: str | None = Field(
        None, description="folder with `<lang>.txt`, plain or compressed; `demo`: the built-in text"
    )
    sentences: int | None = Field(None, gt=0, description="at most so many sentences of `path` per language")

    @model_validator(mode="after")
    def _some_text(self) -> TransferSection:
        if not self.training_text and self.path is None:
            raise ValueError("give a path, or training_text: true")
        return self


class ShapeSection(_Section):
    """A transformer trained from scratch, of ModernBERT's architecture."""

    layers: int = Field(4, gt=0)
    hidden_width: int = Field(256, gt=0)
    heads: int = Field(4, gt=0)
    vocabulary: str | None = Field(None, description="WordPiece `vocab.txt`; empty: one is trained on the transfer set")
    vocabulary_size: int = Field(8000, gt=0, description="pieces of a trained vocabulary")
    lowercase: bool = False

    @model_validator(mode="after")
    def _even_heads(self) -> ShapeSection:
        if self.hidden_width % (2 * self.heads):
            raise ValueError(f"hidden_width {self.hidden_width} is no multiple of twice the {self.heads} heads")
        return self


class TeacherSection(_Section):
    """The teacher: a checkpoint (folder or Hub id), or a shape that is trained from scratch."""

    checkpoint: str | None = Field(None, description="folder or Hub id of an encoder or of a token classifier")
    revision: str | None = Field(None, description="branch, tag or commit of a Hub checkpoint")
    shape: ShapeSection | None = Field(None, description="train from scratch with this shape")
    labels: dict[str, str] = Field({}, description="tag of the checkpoint → tag of the corpus, where names differ")
    max_pieces: int = Field(128, ge=8, description="longest window, special pieces included")

    @model_validator(mode="after")
    def _one_origin(self) -> TeacherSection:
        if (self.checkpoint is None) == (self.shape is None):
            raise ValueError("give exactly one of checkpoint and shape")
        return self


class MaskedLanguageModelSection(_Section):
    """Masked-language-model training on the transfer set, before fine-tuning."""

    updates: int = Field(0, ge=0, description="optimiser updates; 0: none")
    learning_rate: float = Field(1e-4, gt=0)
    batch_sentences: int = Field(64, gt=0)
    mask_probability: float = Field(0.15, gt=0, lt=1)


class FinetuneSection(_Section):
    """Fine-tuning of the teacher on all languages jointly. `epochs: 0`: the checkpoint is the teacher as it is."""

    epochs: int = Field(3, ge=0)
    learning_rate: float = Field(5e-5, gt=0)
    batch_sentences: int = Field(32, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the updates")
    weight_decay: float = Field(0.01, ge=0)
    sampling_temperature: float = Field(1.0, ge=1.0, description="1: by corpus size; larger: towards uniform")
    evaluations_per_epoch: int = Field(1, gt=0)
    precision: Precision = "auto"
    masked_language_model: MaskedLanguageModelSection = MaskedLanguageModelSection()


class PseudolabelSection(_Section):
    """Soft labels of the transfer set."""

    batch_pieces: int = Field(4096, gt=0, description="piece budget of a batch")
    shard_sentences: int = Field(8192, gt=0)
    precision: Precision = "auto"


class StudentSection(_Section):
    """The BiLSTM student. (50, 200) is the papers' 35x student, (300, 600) their best one."""

    embedding_width: int = Field(50, gt=0)
    hidden_width: int = Field(200, gt=0, description="per direction")
    head: Literal["projected", "direct"] = "projected"
    dropout: float = Field(0.2, ge=0, lt=1)
    vocabulary: str | None = Field(None, description="WordPiece `vocab.txt`; empty: the teacher's")
    lowercase: bool = False
    prune_vocabulary: bool = Field(True, description="keep only the pieces that occur in training and transfer text")
    embeddings: Literal["svd", "random"] = "svd"
    max_pieces: int = Field(256, ge=8, description="longest window; longer sentences are cut at word borders")


class TrainSection(_Section):
    """Distillation: the strategy and its budget."""

    strategy: Strategy = "D4.2"
    updates: int = Field(10_000, gt=0, description="optimiser updates of all stages together, at most")
    learning_rate: float = Field(1e-3, gt=0)
    final_learning_rate: float = Field(1e-8, ge=0, description="end of the cosine schedule")
    batch_sentences: int = Field(512, gt=0, description="sentences of an optimiser step, over all processes")
    micro_batch_pieces: int = Field(65_536, gt=0, description="piece budget of one forward pass of one process")
    evaluate_every: int = Field(250, gt=0, description="updates between looks at dev")
    dev_sentences: int = Field(2000, gt=0, description="dev sentences per language that select; the report takes all")
    patience: int = Field(6, gt=0, description="looks at dev without improvement that end a phase")
    teacher_layer: int | None = Field(None, ge=0, description="layer of the representation loss; empty: the middle")
    checkpoint_every_s: float = Field(120.0, ge=0, description="seconds between checkpoints; 0: after every update")
    precision: Precision = "auto"
    weight_decay: float = Field(0.0, ge=0)


class EvaluateSection(_Section):
    """Scores of the report."""

    splits: Annotated[tuple[Literal["train", "dev", "test"], ...], Field(strict=False)] = ("dev", "test")
    bootstrap: int = Field(1000, ge=0, description="resamples of the 95 % intervals")

    @model_validator(mode="after")
    def _some_split(self) -> EvaluateSection:
        if not self.splits:
            raise ValueError("name at least one split to score")
        return self


class ExportSection(_Section):
    """The folder that a tagging service loads."""

    licence: str = Field("other", description="licence named in the model card")


class Recipe(_Section):
    """One run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(13, ge=0, lt=2**32)
    corpus: CorpusSection = CorpusSection()
    transfer: TransferSection = TransferSection()
    teacher: TeacherSection
    finetune: FinetuneSection = FinetuneSection()
    pseudolabel: PseudolabelSection = PseudolabelSection()
    student: StudentSection = StudentSection()
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    export: ExportSection = ExportSection()

    @model_validator(mode="after")
    def _scratch_teacher_is_trained(self) -> Recipe:
        if self.teacher.shape is not None and self.finetune.epochs == 0:
            raise ValueError("a teacher from scratch needs finetune.epochs above 0")
        return self


def load_recipe(source: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read the recipe file `source` and apply overrides of the form `section.field=value`.

    Raises: RecipeError, listing every problem with its line.
    """
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such recipe. Give a file, or a name that `xner recipes` lists.") from error
    except OSError as error:
        raise RecipeError(f"{path}: not a recipe file ({error.strerror}). Give a YAML file or a run folder.") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 at byte {error.start}. Save the recipe as UTF-8.") from error
    return read_recipe(text, origin=str(path), overrides=overrides)


def read_recipe(text: str, *, origin: str = "<recipe>", overrides: Sequence[str] = ()) -> Recipe:
    """Parse the text of a recipe; `origin` names it in error messages.

    Raises: RecipeError, listing every problem with its line.
    """
    document = _parse(text, origin)
    try:
        plain = _plain(document)
    except RecursionError as error:
        raise RecipeError(f"{origin}: a value contains itself. Write it out.") from error
    if not isinstance(plain, dict):
        raise RecipeError(f"{origin}: a recipe is a mapping of sections, not {type(plain).__name__}.")
    problems: list[str] = []
    overridden = [_override(plain, override, problems) for override in overrides]
    try:
        recipe = Recipe.model_validate(plain)
    except ValidationError as error:
        for detail in error.errors():
            problems.append(_describe(cast("dict[str, Any]", detail), document, origin, overridden))
    else:
        if not problems:
            return recipe
    raise RecipeError("\n".join(sorted(problems, key=_line_in)))


def format_recipe(recipe: Recipe) -> str:
    """Every field of a recipe, defaults included, as YAML that `read_recipe` reads back to an equal recipe."""
    stream = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.allow_unicode = False  # U+0085 and its like would be read back as line ends
    writer.width = 2**20  # a folded string with a tab at the fold would lose it
    writer.dump(recipe.model_dump(mode="json"), stream)
    return stream.getvalue()


def _parse(text: str, origin: str) -> Any:  # noqa: ANN401 - a YAML document can be anything
    try:
        return YAML(typ="rt", pure=True).load(text)
    except RecursionError as error:
        raise RecipeError(f"{origin}: nested too deeply. A recipe has three levels.") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{origin}:{mark.line + 1}:{mark.column + 1}" if mark else origin
        problem = (error.problem or "not YAML").splitlines()[0]
        raise RecipeError(f"{where}: {problem}.") from error
    except YAMLError as error:
        raise RecipeError(f"{origin}: not YAML: {error}") from error


def _plain(node: Any) -> Any:  # noqa: ANN401
    """Ruamel's round-trip containers and scalars as plain Python values."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _override(plain: dict[str, Any], override: str, problems: list[str]) -> str:
    """Set one value in place; its path, or nothing when the override itself is wrong."""
    path, equals, value = override.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        problems.append(f"--set {override}: write section.field=value.")
        return ""
    target = plain
    for key in keys[:-1]:
        nested = target.get(key)
        if nested is None:
            nested = target[key] = {}
        if not isinstance(nested, dict):
            problems.append(f"--set {override}: {key} is not a section.")
            return ""
        target = nested
    target[keys[-1]] = _plain(_parse(value, f"--set {path}"))
    return path


def _describe(detail: dict[str, Any], document: Any, origin: str, overridden: Sequence[str]) -> str:  # noqa: ANN401
    location = [part for part in detail["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
    path = ".".join(str(part) for part in location) or "recipe"
    is_unknown = detail["type"] == "extra_forbidden"
    if any(f"{path}.".startswith(f"{changed}.") for changed in overridden if changed) or (
        is_unknown and any(changed.startswith(f"{path}.") for changed in overridden)
    ):
        where = "--set"
    else:
        line = _line_of(document, location)
        where = f"{origin}:{line}" if line else origin
    if is_unknown:
        known = list(_fields_at(location[:-1]))
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Known here: {', '.join(known)}."
        return f"{where}: {path}: unknown key. {hint}"
    if detail["type"] == "missing":
        return f"{where}: {path}: missing. Add it."
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where}: {path}: {message}, got {detail['input']!r}."


def _line_in(problem: str) -> int:
    found = re.match(r"[^\n]*?:(\d+):", problem)
    return int(found[1]) if found else 0


def _line_of(node: Any, location: Sequence[str | int]) -> int | None:  # noqa: ANN401
    line: int | None = None
    for part in location:
        marks = getattr(node, "lc", None)
        if marks is None or (isinstance(node, dict) and part not in node):
            break
        line = (marks.key(part) if isinstance(node, dict) else marks.item(part))[0] + 1
        node = node[part]
    return line


def _fields_at(location: Sequence[str | int]) -> Iterator[str]:
    section: Any = Recipe
    for part in location:
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        section = next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if section is None:
            return
    yield from section.model_fields

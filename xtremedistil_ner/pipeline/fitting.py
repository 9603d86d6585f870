"""Whether a recipe's student can be made from its teacher, by their configurations and tokenizers alone.

No weights are read: the answer takes seconds at the start of a run, instead of the hours until a student begins.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer
from transformers import ModernBertConfig, PreTrainedConfig

from xtremedistil_ner.distillation.new_student import part_of_bert, require_width
from xtremedistil_ner.distillation.student_vocabulary import given_vocabulary
from xtremedistil_ner.models.other_vocabulary import require_positions_from_zero
from xtremedistil_ner.models.pretrained import embedding_width, load_config, load_tokenizer
from xtremedistil_ner.models.teacher import require_layer
from xtremedistil_ner.pieces.vocabulary import SPECIAL_PIECES, wordpiece_tokenizer
from xtremedistil_ner.recipe.model_sections import TeacherSection
from xtremedistil_ner.recipe.schema import Recipe


def require_fitting_student(recipe: Recipe, teacher_folder: Path | None) -> None:
    """Check vocabulary, widths, layers and windows. `teacher_folder` has the teacher, if there is one already.

    Raises: RecipeError for a student that does not fit the teacher; ModelError for a missing checkpoint.
    """
    section, start = recipe.student, recipe.student.transformer
    config, tokenizer = _teacher_parts(recipe.teacher, teacher_folder)
    given_vocabulary(section, tokenizer)
    if recipe.train.teacher_layer is not None:
        require_layer(recipe.train.teacher_layer, available=config.num_hidden_layers)
    if section.takes_layers:
        if start.checkpoint is not None:
            config = load_config(start.checkpoint, revision=start.revision)
        part_of_bert(section, config, tags=1)
    else:
        require_width(section, teacher_width=embedding_width(config))


def _teacher_parts(section: TeacherSection, folder: Path | None) -> tuple[PreTrainedConfig, Tokenizer]:
    """The teacher's configuration and tokenizer; substitutes for what is not there before training."""
    if section.shape is not None and folder is None:
        shape = ModernBertConfig(hidden_size=section.shape.hidden_width, num_hidden_layers=section.shape.layers)
        return shape, wordpiece_tokenizer(SPECIAL_PIECES, lowercase=section.shape.lowercase, special_rows=True)
    source, revision = (section.checkpoint or "", section.revision) if folder is None else (folder, None)
    config = load_config(source, revision=revision)
    if section.vocabulary is not None and folder is None:
        require_positions_from_zero(config)
        return config, wordpiece_tokenizer(SPECIAL_PIECES, lowercase=section.vocabulary.lowercase, special_rows=True)
    return config, load_tokenizer(source, revision=revision).backend_tokenizer

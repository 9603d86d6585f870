"""A tiny corpus and a recipe for it: a whole run, teacher from scratch to export, takes about two seconds."""

from __future__ import annotations

from pathlib import Path

from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.reader import load_recipe

NAMES = {
    "PER": ("Ada Byron", "Emmy Noether", "Alan"),
    "LOC": ("Paris", "New Delhi", "Oslo"),
    "ORG": ("Acme", "Red Cross", "Nokia"),
}
CARRIERS = ("{PER} lives in {LOC} .", "In {LOC} we met {ORG} .", "nobody came", "{PER} of {ORG} left {LOC} !")
SIZES = {"train": 24, "dev": 8, "test": 8}
RECIPE = """\
name: tiny
corpus:
  path: {corpus}
teacher:
  shape: {{layers: 1, hidden_width: 16, heads: 2, vocabulary_size: 120}}
  max_pieces: 32
finetune:
  epochs: 1
  batch_sentences: 8
student:
  embedding_width: 8
  hidden_width: 6
  max_pieces: 24
train:
  updates: 12
  batch_sentences: 8
  evaluate_every: 4
evaluate:
  bootstrap: 20
"""


def labelled_text(count: int, *, shift: int = 0, numbered: str = "") -> str:
    """Sentences as a `.tsv`; a numbered word in each keeps the splits disjoint."""
    lines = []
    for index in range(shift, shift + count):
        for token in CARRIERS[index % len(CARRIERS)].split():
            kind = token.strip("{}")
            name = NAMES[kind][(index // 2) % 3].split() if kind in NAMES else [token]
            tags = [f"{'I' if place else 'B'}-{kind}" if kind in NAMES else "O" for place in range(len(name))]
            lines += [f"{word}\t{tag}" for word, tag in zip(name, tags, strict=True)]
        lines += [f"{numbered}{index}\tO", ""]
    return "\n".join(lines) + "\n"


def write_corpus(folder: Path, *, languages: tuple[str, ...] = ("en", "no")) -> Path:
    for place, language in enumerate(languages):
        (folder / language).mkdir(parents=True)
        for split, count in SIZES.items():
            text = labelled_text(count, shift=7 * place, numbered=f"{language}-{split}-")
            (folder / language / f"{split}.tsv").write_text(text, encoding="utf-8")
    return folder


def write_recipe(path: Path, corpus: Path, *, more: str = "") -> Path:
    path.write_text(RECIPE.format(corpus=corpus) + more, encoding="utf-8")
    return path


def make_finished_run(folder: Path) -> Path:
    from xtremedistil_ner.pipeline.run import run_pipeline

    recipe = load_recipe(write_recipe(folder / "tiny.yaml", write_corpus(folder / "corpus")))
    run_pipeline(recipe, folder / "run", tell=silent)
    return folder

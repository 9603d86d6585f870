"""Broken text: words and tags in columns, raw text, texts with brat's annotations; and the commands that read text."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from stress.cases import EXPORT, RESUMING, TEMPLATE, Case, changed
from stress.mutators import change_columns, pack
from support.tiny_run import labelled_text


def look(rng: random.Random) -> list[str]:
    return rng.choice((["corpus", "check", "c"], ["corpus", "check", "c"], ["corpus", "stats", "c"]))


def tag(rng: random.Random, file: str, forms: Sequence[str]) -> list[str]:
    options = ["--skip-bad"] if rng.random() < 0.3 else []
    if rng.random() < 0.5:
        options += ["--input", rng.choice(forms)]
    form = rng.choice(("jsonl", "jsonl", "conll", "brat", "terminal"))
    return ["tag", EXPORT, file, "--workers", "1", "--threads", "1", "--format", form, *options]


def columns(endings: Sequence[str], seeds: Sequence[str]) -> Callable[[random.Random, Path], Case]:
    def make(rng: random.Random, template: Path) -> Case:
        data = changed(rng, rng.choice(seeds).encode(), change_columns, rng.choice(seeds).encode())
        language = rng.choice(
            ("en", "en", "en", "en", "no", "zh-Hans", "EN2", "a b", "<img onerror=x>", "a|b", "en\n", "x" * 200)
        )
        split = rng.choice(("train", "train", "dev", "test", "validation"))
        name, data = pack(rng, f"c/{language}/{split}{rng.choice(endings)}", data)
        files = {name: data}
        if rng.random() < 0.2:
            files["c/en/dev.tsv"] = labelled_text(3).encode()
        sound = {f"c/en/{split}.tsv": labelled_text(4, numbered=split).encode() for split in ("train", "dev", "test")}
        draw = rng.random()
        if draw < 0.55:
            return Case(files, look(rng))
        if draw < 0.85:
            return Case(files, tag(rng, name, ("conll", "conll", "text", "jsonl")))
        if draw < 0.93:
            run = ["distil", f"{TEMPLATE}/tiny.yaml", "--set", "corpus.path=c", "--out", "r", "--dry-run"]
            return Case({**sound, **files}, run)
        split = rng.choice(("train", "dev", "test"))
        return Case(files, ["evaluate", EXPORT, "--corpus", "c", "--split", split])

    return make


TSV_SEEDS = (
    labelled_text(8),
    labelled_text(3, numbered="n"),
    "# text = Ada sleeps\nAda\tB-PER\nsleeps\tO\n\n# id 7\tdomain=en\n#\tO\nx\tO\n\n",
    "en:Rome\tB-LOC\nen:is\tO\nen:old\tO\n\n",
    "-DOCSTART-\tO\n\n1\tNew\tI-LOC\n2\tYork\tI-LOC\n\n",
    "a\tS-LOC\nb\tB-PER\nc\tE-PER\nd\tO\n",
    "# newdoc id = x\n# sent_id = 1\n1\tAnna\tB-PER\t-\t-\n2\tkam\tO\t-\t-\n\n",
)
CONLL_SEEDS = (
    "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\nGerman JJ B-NP B-MISC\n\nPeter NNP B-NP B-PER\n",
    "# id 5239d808 domain=en\nAda _ _ B-PER\nLovelace _ _ I-PER\n# _ _ O\n\n",
    labelled_text(4).replace("\t", " "),
    "# sent_id = 1\n# text = Anna kam\n1\tAnna\tAnna\tPROPN\t_\t_\t0\troot\t_\tNER=B-PER\n"
    "2-3\tvom\t_\t_\t_\t_\t_\t_\t_\t_\n2\tvon\tvon\tADP\t_\t_\t1\tcase\t_\tNER=O|SpaceAfter=No\n\n",
    "Ada\tX\tI-PER\t\nsleeps\tX\tO\t\n \t \nLondon\tX\tI-LOC\t\n",
)


def transfer(rng: random.Random, name: str, data: bytes) -> Case:
    """Raw text: looked at, or labelled by the teacher that the template has."""
    if name.startswith("t/") and rng.random() < 0.7:
        return Case({name: data}, ["corpus", "check", "t"])
    place = "t" if name.startswith("t/") else name
    change = ["--set", f"transfer.path={place}"]
    if rng.random() < 0.2:
        change += ["--langs", "en"]
    if rng.random() < 0.8:
        return Case({name: data}, ["distil", f"{TEMPLATE}/tiny.yaml", *change, "--out", "r", "--dry-run"])
    run = ["distil", "r", *change, "--until", "pseudolabel", *RESUMING]
    epochs = [
        "--set",
        "finetune.epochs=0",
        "--set",
        f"teacher.checkpoint={TEMPLATE}/run/teacher",
        "--set",
        "teacher.shape=null",
    ]
    return Case({name: data}, [*run, *epochs], copied=(("run", "r"),), writes=True, limit_s=20.0)


_TEXT_SEEDS = (
    "Ada lives in London .\nNobody came .\n\nHow are you ?\n",
    "Zoë kom till Malmö.\n東京は大きい。\nไทย\n",
    "e\u0301 \u200d x\n" * 5,
)


_BRAT_TEXT = "Ada Lovelace lives in London .\nShe left New York .\n"
_BRAT = (
    "T1\tPER 0 12\tAda Lovelace\nT2\tLOC 22 28\tLondon\nR1\tLives Arg1:T1 Arg2:T2\n"
    "T3\tLOC 40 43;44 48\tNew York\nE1\tX:T1\n#1\tAnnotatorNotes T1\tsic\nA1\tNegation E1\n*\tEquiv T1 T2\n"
)


def _brat(rng: random.Random) -> Case:
    text, marks = _BRAT_TEXT.encode(), _BRAT.encode()
    if rng.random() < 0.8:
        marks = changed(rng, marks, rng.choice((change_columns, _change_text)), text)
    if rng.random() < 0.4:
        text = changed(rng, text, _change_text, marks)
    return Case({"c/en/train/1.txt": text, "c/en/train/1.ann": marks}, look(rng))


def _change_text(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    piece = rng.choice(
        (
            *(
                "\x00",
                "\x1b[2J",
                "\u2028",
                "\x85",
                "\ufeff",
                "\u202e",
                "\r",
                "\n" * 3000,
                "\t",
                "\u00a0",
                "\x0c",
                "\ufffe",
            ),
            *("a" * 3_000, "a" * 300_000, "ä " * 5_000, "東" * 20_000, "\u0301" * 5_000, "." * 9_000, " " * 100_000),
            *(
                "\U0001f468\u200d" * 500,
                "\U000e0001",
                "[UNK]",
                "[PAD] [CLS] [SEP]",
                "##a",
                "<s>",
                "{",
                '{"text": "x"}',
                "-DOCSTART-",
            ),
        )
    )
    return text[:at] + piece + text[at:]


def text(rng: random.Random, template: Path) -> Case:
    if rng.random() < 0.15:
        return _brat(rng)
    data = changed(rng, rng.choice(_TEXT_SEEDS).encode(), _change_text, rng.choice(_TEXT_SEEDS).encode())
    if rng.random() < 0.6:
        name, data = pack(rng, rng.choice(("f.txt", "f.txt", "f", "f.md", "-")), data)
        return Case({name: data}, tag(rng, f"./{name}", ("text", "text", "jsonl", "conll")))
    name, data = pack(rng, rng.choice(("t/en.txt", "t/en.txt", "t/xx.txt", "t/a b.txt", "t.txt")), data)
    return transfer(rng, name, data)

"""What is done to valid input: changes of bytes, of JSON, of YAML, and of lines in columns.

Every function takes a `random.Random`, so that a seed names an input for good.
"""

from __future__ import annotations

import bz2
import copy
import gzip
import json
import lzma
import random
from collections.abc import Callable, Sequence
from typing import Any

import zstandard
from stress.values import ALIAS_BOMB, JSON_VALUES, OUTSIDE, TEXTS, YAML_VALUES, Pairs, Raw

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, 1, mtime=0),
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".bz2": lambda data: bz2.compress(data, 1),
    ".zst": zstandard.compress,
}
_CUTS = ("\t", " ", "\r", "\n", "\r\n", "\x85", "\u2028", "\x0b", "\x0c", "\x1c", "\x00", "\ufeff", "\u00a0", "\u200b")
_BAD_BYTES = (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xfe\xff", b"\xc0\x80", b"\xef\xbb\xbf")


def change_bytes(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """One change that knows nothing of the format; `other` is spliced in by some."""
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 1, 2, 4, 16, 200)))
    changes: tuple[Callable[[], bytes], ...] = (
        lambda: data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :] if at < len(data) else data,
        lambda: data[:at] + rng.randbytes(end - at) + data[end:],
        lambda: data[:at] + data[end:],
        lambda: data[:at] + rng.randbytes(rng.choice((1, 3, 20))) + data[at:],
        lambda: data[:at] + data[at:end] * rng.choice((2, 3, 50)) + data[end:],
        lambda: data[:at],
        lambda: data[at:],
        lambda: data[:at] + other[rng.randrange(len(other) + 1) :],
        lambda: data[:at] + rng.choice(_BAD_BYTES) + data[at:],
        lambda: data[:at] + rng.choice(_CUTS).encode() + data[at:],
        lambda: data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b"", b"\x00", b"\xe2\x80\xa8"))),
        lambda: data.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-7"))),
        lambda: b"",
    )
    return rng.choice(changes)()


def change_json(rng: random.Random, value: Any) -> Any:
    """A JSON value with one change somewhere in it. `Raw` and `Pairs` in it are written by `dump_json`."""
    value = copy.deepcopy(value)
    places = _places(value)
    if not places:
        return rng.choice(JSON_VALUES)
    holder, key = rng.choice(places)
    match rng.randrange(9):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[rng.choice((*TEXTS, *OUTSIDE, str(key).upper(), f"{key}s"))] = holder.pop(key)
        case 2 if isinstance(holder, dict) and isinstance(holder[key], dict):
            holder[key] = Pairs([*holder[key].items(), *((name, rng.choice(JSON_VALUES)) for name in holder[key])])
        case 3:
            other_holder, other_key = rng.choice(places)
            holder[key] = copy.deepcopy(other_holder[other_key])
        case 4:
            holder[key] = rng.choice(([holder[key]], {"a": holder[key]}, str(holder[key]), [holder[key]] * 3))
        case 5 if isinstance(holder[key], int | float):
            holder[key] = rng.choice(
                (-holder[key], holder[key] + 1, holder[key] * 10**9, float(holder[key]), str(holder[key]))
            )
        case 6 if isinstance(holder[key], list):
            holder[key] = rng.choice((holder[key][:-1], holder[key] * 2, [*holder[key], None], holder[key][::-1]))
        case 7 if isinstance(holder[key], dict):
            holder[key][rng.choice((*TEXTS, *OUTSIDE))] = rng.choice(JSON_VALUES)
        case _:
            holder[key] = rng.choice(JSON_VALUES)
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a value with each of its keys."""
    keys: Sequence[Any] = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list) and not isinstance(value, Pairs):
        keys = range(len(value))
    return [*((value, key) for key in keys), *(place for key in keys for place in _places(value[key]))]


def dump_json(value: Any) -> str:
    """JSON text of a value with `Raw` and `Pairs` in it; lone surrogates are escaped."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{json.dumps(key)}: {dump_json(part)}" for key, part in value) + "}"
    if isinstance(value, dict):
        return dump_json(Pairs(value.items()))
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(dump_json, value)) + "]"
    return json.dumps(value, ensure_ascii=isinstance(value, str) and not value.isprintable())


def change_yaml(rng: random.Random, text: str) -> str:
    """A YAML text with one line changed."""
    lines = text.split("\n")
    number = rng.randrange(len(lines))
    key, colon, old = lines[number].partition(":")
    value = rng.choice(YAML_VALUES)
    changes: tuple[Callable[[], list[str]], ...] = (
        lambda: [f"{key}: {value}"],
        lambda: [f"{key}: {value}"],
        lambda: [f"{key}: {value}"],
        list,
        lambda: [lines[number]] * 2,
        lambda: [f"{value}:{old}"],
        lambda: [f" {lines[number]}"],
        lambda: [f"\t{lines[number]}"],
        lambda: [lines[number].lstrip()],
        lambda: [f"{key}{colon} [{old}, {value}]"],
        lambda: [f"{key}{colon} {{{value}: {old}}}"],
        lambda: [f"{key}: &x {old}", f"{key}2: *x"],
        lambda: [lines[number], value],
        lambda: [ALIAS_BOMB.replace("a11:", f"{key}:"), lines[number]],
        lambda: [f"{key.upper()}{colon}{old}"],
    )
    return "\n".join([*lines[:number], *rng.choice(changes)(), *lines[number + 1 :]])


def change_columns(rng: random.Random, text: str) -> str:
    """A text of words and tags in columns with one line changed."""
    lines = text.split("\n")
    number = rng.randrange(len(lines))
    line, cut = lines[number], rng.choice(_CUTS)
    at = rng.randrange(len(line) + 1)
    tag = rng.choice(
        ("", "b-PER", "B-", "-PER", "B", "PER", "I-", "S-PER", "E-", "U-X", "L-X", "X-PER", "B-a b", "B-\u2028")
    )
    tag = rng.choice(
        (tag, f"B-{rng.choice((*TEXTS, *OUTSIDE))}", "B-PER|I-LOC", "0", "O O", "o", "_", "B-" + "x" * 9000)
    )
    word = line.partition("\t")[0]
    changes: tuple[Callable[[], list[str]], ...] = (
        lambda: [line[:at] + cut + line[at:]],
        lambda: [line.replace("\t", cut)],
        lambda: [line.replace("\t", rng.choice(("\t\t", "\t_\t_\t", " ", "  ", "\tX\t")))],
        lambda: [f"{word}\t{tag}"],
        lambda: [f"\t{tag}", line],
        lambda: [word],
        lambda: [line, *rng.choice(((" ",), ("\t",), ("\r",), ("\u00a0",), ("#",), ("-",), ("-DOCSTART- -X- O O",)))],
        lambda: [rng.choice(("# ", "#", "#\t", "# id = ", "# text = ", "-DOCSTART-", "%", "//")) + line, line],
        lambda: [f"{count}\t{row}" for count, row in enumerate([line] * 3, start=1)],
        lambda: [rng.choice(("x", "ä", "\x00", "\t", " ", "-", "#")) * rng.choice((1_000, 300_000)) + line],
        lambda: [line + cut],
        lambda: [f"{rng.choice(OUTSIDE)}:{line}"],
        lambda: [line] * rng.choice((2, 400)),
        list,
    )
    return "\n".join([*lines[:number], *rng.choice(changes)(), *lines[number + 1 :]])


def pack(rng: random.Random, name: str, data: bytes) -> tuple[str, bytes]:
    """A file as it is, or one time in four compressed, and one of four of those damaged."""
    if rng.random() < 0.75:
        return name, data
    ending, packer = rng.choice(list(PACKERS.items()))
    packed = packer(data)
    if rng.random() < 0.25:
        packed = change_bytes(rng, packed, packed)
    return name + rng.choice((ending, ending, ending, rng.choice(list(PACKERS)))), packed

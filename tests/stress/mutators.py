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

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, 1, mtime=0),
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".bz2": lambda data: bz2.compress(data, 1),
    ".zst": zstandard.compress,
}
OUTSIDE = ("../canary/victim", "../../x", "../canary", "/dev/null", "/", "..", ".", "~", "x" * 300, "a\x00b")
"""Names that lead out of a folder, or that no file can have."""
_CUTS = ("\t", " ", "\r", "\n", "\r\n", "\x85", "\u2028", "\x0b", "\x0c", "\x1c", "\x00", "\ufeff", "\u00a0", "\u200b")
_BAD_BYTES = (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xfe\xff", b"\xc0\x80", b"\xef\xbb\xbf")
_TEXTS = (
    "",
    " ",
    "\n",
    "O",
    "B-PER",
    "#",
    "-",
    "null",
    "e\u0301",
    "\U0001f468\u200d\U0001f469",
    "ب",
    "<img onerror=x>",
    "a|b",
)


class Raw(str):
    """JSON text that is written as it stands."""


class Pairs(list[tuple[str, Any]]):
    """A JSON object whose keys may be repeated."""


JSON_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, -1e-320),
    *map(Raw, ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "-" + "9" * 5000, "01", "+1", "1.", "nul", "'x'")),
    *map(
        Raw, (r'"\ud800"', r'"\udc00x"', r'"\u0000"', r'"\x"', '"\t"', '"', "[", "{", "", "[1,]", "/* */ 1", "\ufeff1")
    ),
    *(Raw("[" * depth + "]" * depth) for depth in (50, 900, 100_000)),
    *(Raw('{"a":' * depth + "0" + "}" * depth) for depth in (50, 900, 100_000)),
    *_TEXTS,
    *OUTSIDE,
    *("x" * 3_000, "ä" * 100_000, "\u2028", "\x85", "\x1b[2J", "a\r\nb"),
    *(
        [],
        {},
        [[]],
        [None],
        [0],
        [""],
        ["O"],
        [["a"], ["b"]],
        {"": ""},
        {"a": {"b": {}}},
        [{}],
        [True] * 5,
        list(range(2000)),
    ),
)
YAML_VALUES = (
    *("", "~", "null", "no", "yes", "0", "-1", "1.5", "1e999", ".nan", ".inf", "-.inf", "0x1f", "0o17", "0b1", "1_000"),
    *(
        "12:30:45",
        "2024-01-01",
        "2024-13-45",
        "2024-02-30T25:61:61Z",
        "=",
        "<<",
        "!",
        "!!",
        "! x",
        "!foo bar",
        "!!foo bar",
    ),
    *("!!int abc", "!!float abc", "!!bool abc", "!!null x", "!!timestamp x", "!!binary '?'", "!!str {a: b}", "!!map x"),
    *(
        "!!set {a, b}",
        "!!omap [a: b]",
        "!!omap x",
        "!!pairs [a]",
        "!!seq x",
        "!!merge x",
        "!!python/object:os.system x",
    ),
    *(
        "&a [*a]",
        "&a {x: *a}",
        "*nope",
        "&a",
        "&a &b x",
        "{<<: x}",
        "{<<: [x]}",
        "{<<: {a: b}}",
        "{a: 1, a: 2}",
        "{? [a] : b}",
    ),
    *(
        "{[a]: b}",
        "{{a: b}: c}",
        "{1: a}",
        "{null: a}",
        "{2024-01-01: a}",
        "{!!int x: a}",
        "[",
        "]",
        "{",
        "}",
        "[a, b",
        "{a: b",
    ),
    *(
        "'",
        '"',
        "'a",
        '"\\ud800"',
        '"\\x00"',
        '"\\q"',
        '"\\U00110000"',
        "|",
        ">",
        "|9\n x",
        "|-\n\tx",
        "%YAML 3.0",
        "%TAG ! x",
    ),
    *(
        "---",
        "...",
        "--- a\n--- b",
        "@",
        "`",
        "- a\n- b",
        "a: b: c",
        "\t",
        "\ta",
        "# x",
        "a # b",
        "? a",
        "? ",
        ": ",
        "- - - a",
    ),
    *(
        "[]",
        "{}",
        "[a]",
        "[1, 2]",
        "[[a]]",
        "[null]",
        "[{a: b}]",
        "{a: b}",
        "demo",
        "9" * 5000,
        "-" + "9" * 5000,
        "x" * 100_000,
    ),
    *(
        "[" * 50 + "]" * 50,
        "[" * 5000,
        "[" * 5000 + "]" * 5000,
        "{a: " * 5000,
        "- " * 5000,
        "\ufeff",
        "\u2028",
        "\x85",
        "\x00",
    ),
    *(
        "\x07",
        "\ufffe",
        "nonsense://x",
        "file:///nowhere",
        "http://127.0.0.1:9/x",
        "memory://x",
        "s3://x",
        "data:x",
        "://",
    ),
    *(
        "http://user:word@127.0.0.1:9/x?key=word",
        "http://[::1",
        "http://127.0.0.1:99999/x",
        "file://\x00",
        "zip://x::file://y",
    ),
    *(
        "a" * 5000 + "/b",
        "../canary/victim",
        "../canary",
        "/",
        ".",
        "..",
        "/dev/null",
        "tiny.yaml",
        "'a\nb'",
        '"a\\nb"',
        '"<b>"',
    ),
)
ALIAS_BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
)


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
            holder[rng.choice((*_TEXTS, *OUTSIDE, str(key).upper(), f"{key}s"))] = holder.pop(key)
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
            holder[key][rng.choice((*_TEXTS, *OUTSIDE))] = rng.choice(JSON_VALUES)
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
        (tag, f"B-{rng.choice((*_TEXTS, *OUTSIDE))}", "B-PER|I-LOC", "0", "O O", "o", "_", "B-" + "x" * 9000)
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

"""Values that readers are not made for: names, JSON, YAML."""

from __future__ import annotations

from typing import Any

OUTSIDE = ("../canary/victim", "../../x", "../canary", "/dev/null", "/", "..", ".", "~", "x" * 300, "a\x00b")
"""Names that lead out of a folder, or that no file can have."""
TEXTS = (
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
    *TEXTS,
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

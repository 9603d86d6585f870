"""`xner tag`: what it reads, what it writes, where it stops."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.tiny_export import make_export
from support.waiting import wait_until

from xtremedistil_ner.commands.terminal import TaggingProgress
from xtremedistil_ner.errors import CorpusError, ResourceError, UsageError
from xtremedistil_ner.tagging.documents import Document, format_of, read_documents
from xtremedistil_ner.tagging.entity_filter import EntityFilter
from xtremedistil_ner.tagging.formats import format_tagged, tag_lines
from xtremedistil_ner.tagging.tag_documents import TaggedDocument, tag_documents
from xtremedistil_ner.tagging.tagger import Entity, Tagger
from xtremedistil_ner.tagging.workers import tag_in_processes

TEXT = "Émile Zola, Paris London"
WORDS = (("Émile", 0, 5), ("Zola", 6, 10), (",", 10, 11), ("Paris", 12, 17), ("London", 18, 24))
TAGS = ("B-PER", "I-PER", "O", "B-LOC", "B-LOC")
ENTITIES = (
    Entity("Émile Zola", "PER", 0, 10, 0.5),
    Entity("Paris", "LOC", 12, 17, 1.0),
    Entity("London", "LOC", 18, 24, 1.0),
)
OF_TEXT = TaggedDocument(Document("a.txt:2", TEXT, offset=100), WORDS, TAGS, ENTITIES)
OF_WORDS = TaggedDocument(
    Document("a.conll:2", words=tuple(word for word, _, _ in WORDS)), tuple((word, 0, 0) for word, _, _ in WORDS), TAGS
)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return make_export(tmp_path_factory.mktemp("tag"))


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def give_input(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def show(form, *tagged, **options):
    return "".join(format_tagged(form, tagged, **options))


def test_standard_input_is_utf8_whatever_the_locale_and_cut_at_line_feeds_only(monkeypatch):
    give_input(monkeypatch, "Ærø\r\n\none\u2028line".encode())
    assert [document.text for document in read_documents([])] == ["Ærø", "", "one\u2028line"]


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a", "text"),
        ("a.txt.gz", "text"),
        ("a.jsonl", "jsonl"),
        ("a.ndjson.xz", "jsonl"),
        ("a.conll", "conll"),
        ("A.JSONL", "jsonl"),
        ("a.b.tsv.zst", "conll"),
    ],
)
def test_a_files_name_tells_its_format(name, form):
    assert format_of(Path(name)) == form


def test_files_are_read_one_after_the_other_each_in_its_format(tmp_path):
    text = write(tmp_path / "b.txt.gz", gzip.compress(b"two\n"))
    lines = write(tmp_path / "a.jsonl", '{"text": "one", "id": 7}\n\n{"words": ["a", "b"]}\n{"tokens": []}\n')
    columns = write(tmp_path / "c.conll", "# text = x y\n-DOCSTART- O\n\nx O\n# O\ny B-PER\n\n\n# O\n")
    found = list(read_documents([text, lines, columns]))
    assert [(document.text, document.words) for document in found] == [
        ("two", ()),
        ("one", ()),
        (None, ("a", "b")),
        (None, ()),
        (None, ("x", "#", "y")),
        (None, ("#",)),
    ]
    assert found[1].record == {"text": "one", "id": 7}
    assert [document.origin for document in found[1:]] == [
        f"{lines}:1",
        f"{lines}:3",
        f"{lines}:4",
        f"{columns}:4",
        f"{columns}:9",
    ]


def test_a_texts_offset_is_its_place_in_the_file_as_editors_count(tmp_path):
    """A byte order mark, carriage returns and characters of several bytes count as one character each."""
    content = "\ufeffÆrø\r\n\U0001f600 x\ny"
    path = write(tmp_path / "a.txt", content)
    whole = path.read_bytes().decode("utf-8")
    for document in read_documents([path]):
        assert whole[document.offset :].startswith(document.text)
    assert [document.offset for document in read_documents([path])] == [1, 6, 10]


KEPT = [
    '{"meta": {"ü": [1, 12345678901234567890, 0.5, null]}, "text": "Abc", "tokens": [{"id": 0}], "spans": [], "id": 7}',
    '{"tokens": ["Abc", "de"], "text": null, "words": ["a"], "entities": [1], "": 0}',
    '{"text": "Abc", "words": ["a", "b"], "tags": ["O", "O"]}',
]


@pytest.mark.parametrize("line", KEPT)
def test_an_object_comes_back_as_it_was_with_what_was_found_added(export, tmp_path, line):
    documents = read_documents([write(tmp_path / "a.jsonl", line + "\n")])
    (found,) = tag_lines(Tagger.from_pretrained(export), documents, "jsonl", batch=1)
    added = "entities" if json.loads(line)["text"] else "tags"
    assert found.text.startswith(f'{line[:-1]}, "{added}": [')


def test_what_an_object_had_of_the_same_name_is_replaced_in_its_place(export, tmp_path):
    documents = read_documents([write(tmp_path / "a.jsonl", '{"entities": "old", "text": "Abc"}\n')])
    (found,) = tag_lines(Tagger.from_pretrained(export), documents, "jsonl", batch=1)
    value = json.loads(found.text)
    assert list(value) == ["entities", "text"]
    assert isinstance(value["entities"], list)


BAD = [
    ("a.txt", b"fine\nbr\xffken\nfine\n", r":2:3: byte 0xff", 2),
    ("a.jsonl", b'{"text": "a"}\n{"text": 1}\n{"text": "b"}', r":2: neither a `text`", 2),
    ("a.jsonl", b'{"text": "a"}\nnonsense\n{"text": "b"}', r":2:1: not JSON", 2),
    ("a.jsonl", b'{"text": "a"}\n["text"]\n{"text": "b"}', r":2:1: no JSON object", 2),
    ("a.jsonl", b'{"text": "a"}\n{"text": "b", "x": NaN}\n{"text": "b"}', r":2: NaN is no number", 2),
    ("a.jsonl", b'{"text": "a"}\n{"text": "\\ud800"}\n{"text": "b"}', r":2: half a surrogate pair", 2),
    ("a.jsonl", b'{"text": "a"}\n' + b"[" * 100_000 + b'\n{"text": "b"}', r":2: nested too deeply", 2),
    ("a.jsonl", b'{"text": "a"}\n{"text": "b", "x": 1e400}\n{"text": "b"}', r":2: the number '1e400' is too large", 2),
    (
        "a.jsonl",
        b'{"text": "a"}\n{"text": "b", "x": ' + b"9" * 5000 + b'}\n{"text": "b"}',
        r":2: a number has thousands",
        2,
    ),
    (
        "a.jsonl",
        b'{"text": "a"}\n{"text": "b", "x": 1, "x": 2}\n{"text": "b"}',
        r":2: the key 'x' occurs twice",
        2,
    ),
    ("a.conll", b"a\tO\n\nb\tO\n\tO\nc\tO\n\nd\tO\n", r":4:1: no word in column 1", 2),
    ("a.conll", b"a\tO\n\nb\tO\n\xff\tO\nc\tO\n\nd\tO\n", r":4:1: byte 0xff", 2),
]


@pytest.mark.parametrize(("name", "content", "message", "good"), BAD)
def test_a_bad_line_ends_everything_with_its_place_or_is_passed_over_and_told(tmp_path, name, content, message, good):
    path = write(tmp_path / name, content)
    with pytest.raises(CorpusError, match=f"{name}{message}"):
        list(read_documents([path]))
    told = []
    assert len(list(read_documents([path], on_bad_line=told.append))) == good
    assert len(told) == 1
    assert str(told[0]).startswith(str(path))


def test_a_damaged_file_is_no_bad_line(tmp_path):
    path = write(tmp_path / "a.txt.gz", gzip.compress(b"one\n" * 100)[:-9])
    with pytest.raises(CorpusError, match="damaged or cut short"):
        list(read_documents([path], on_bad_line=pytest.fail))


def test_jsonl_is_one_object_a_line_with_offsets_into_its_text():
    line = show("jsonl", OF_TEXT)
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    value = json.loads(line)
    assert value["text"] == TEXT
    assert [TEXT[entity["start"] : entity["end"]] for entity in value["entities"]] == ["Émile Zola", "Paris", "London"]
    assert value["entities"][0] == {"text": "Émile Zola", "type": "PER", "start": 0, "end": 10, "score": 0.5}


def test_jsonl_of_words_has_a_tag_for_each_and_keeps_what_else_the_object_had():
    record = {"id": "x", "tokens": ["Rome", "!"], "tags": "old"}
    document = Document("a:1", words=("Rome", "!"), record=record)
    tagged = TaggedDocument(document, (("Rome", 0, 0), ("!", 0, 0)), ("B-LOC", "O"))
    assert show("jsonl", tagged) == '{"id": "x", "tokens": ["Rome", "!"], "tags": ["B-LOC", "O"]}\n'


@pytest.mark.parametrize("tagged", [OF_TEXT, OF_WORDS])
def test_conll_has_a_word_a_line_and_neighbouring_entities_begin_anew(tagged):
    assert show("conll", tagged) == "Émile\tB-PER\nZola\tI-PER\n,\tO\nParis\tB-LOC\nLondon\tB-LOC\n\n"


@pytest.mark.parametrize("word", ["", "a b", "a\tb", "a\nb", "\u2028"])
def test_a_word_that_columns_cannot_hold_is_refused(word):
    tagged = TaggedDocument(Document("a.jsonl:3", words=(word,)), ((word, 0, 0),), ("O",))
    with pytest.raises(CorpusError, match=r"a\.jsonl:3: word .* Write it as jsonl"):
        show("conll", tagged)


def test_brat_counts_places_in_the_whole_file_and_numbers_through():
    expected = "T1\tPER 100 110\tÉmile Zola\nT2\tLOC 112 117\tParis\nT3\tLOC 118 124\tLondon\n"
    assert show("brat", OF_TEXT) == expected
    assert show("brat", OF_TEXT, OF_TEXT).splitlines()[3] == "T4\tPER 100 110\tÉmile Zola"


@pytest.mark.parametrize("tagged", [OF_WORDS, TaggedDocument(Document("a.jsonl:2", TEXT), WORDS, TAGS, ENTITIES)])
def test_brat_of_what_is_no_text_file_is_refused(tagged):
    with pytest.raises(UsageError, match="brat counts places in a file of plain text"):
        show("brat", tagged)


@pytest.mark.parametrize("tagged", [OF_TEXT, OF_WORDS])
def test_a_terminal_shows_types_with_and_without_colours(tagged):
    plain = show("terminal", tagged, colours=False)
    comma = ", " if tagged is OF_TEXT else " , "
    assert plain == f"[Émile Zola PER]{comma}[Paris LOC] [London LOC]\n"
    coloured = show("terminal", tagged)
    assert coloured.count("\x1b[0m") == 3
    assert coloured.replace("\x1b[1;36m", "").replace("\x1b[1;33m", "").replace("\x1b[0m", "") == plain


def test_a_text_cannot_command_the_terminal():
    shown = show("terminal", TaggedDocument(Document("a:1", "\x1b]0;owned\x07 \x9b2J\r"), (), ()))
    assert shown == "\u241b]0;owned\u2407 \ufffd2J\u240d\n"


def test_documents_are_tagged_as_the_tagger_tags_them_and_only_as_many_are_held_as_a_batch_has(export):
    tagger, read = Tagger.from_pretrained(export), []

    def documents():
        for number in range(20):
            read.append(number)
            words = ("Abc", "de", f"ef{'g' * number}")
            yield Document("a:1", " ".join(words)) if number % 2 else Document("a:1", words=words)

    found = tag_documents(tagger, documents(), batch=4)
    first = next(found)
    assert len(read) == 4
    results = [first, *found]
    assert [len(result.tags) for result in results] == [3] * 20
    for result in results:
        if result.document.text is None:
            assert [result.tags] == tagger.tag_words([result.document.words])
        else:
            assert [list(result.entities)] == tagger.tag([result.document.text])


def call(export, *arguments, given=None):
    return subprocess.run(command_of(export, *arguments), input=given, capture_output=True, timeout=60)


def start(export, *arguments):
    """A command that waits for its standard input."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command_of(export, *arguments), **pipes)


def command_of(export, *arguments):
    return [Path(sys.executable).with_name("xner"), "tag", export, *map(str, arguments)]


def test_the_command_tags_files_and_standard_input_alike(export, tmp_path):
    lines = "Abc de\n\nfGh a.b ef\n"
    of_file = call(export, write(tmp_path / "a.txt", lines))
    of_input = call(export, given=lines.encode())
    assert (of_file.returncode, of_file.stdout, of_file.stderr) == (0, of_input.stdout, b"")
    assert [json.loads(line)["text"] for line in of_file.stdout.splitlines()] == ["Abc de", "", "fGh a.b ef"]


def test_the_command_stops_at_a_bad_line_or_counts_it(export, tmp_path):
    path = write(tmp_path / "a.txt", b"Abc\n\xff\n\xfe\nde\n")
    stopped = call(export, path)
    assert stopped.returncode == 3
    assert f"{path}:2:1: byte 0xff" in stopped.stderr.decode()
    went_on = call(export, path, "--skip-bad")
    assert went_on.returncode == 0
    assert len(went_on.stdout.splitlines()) == 2
    assert went_on.stderr.decode().startswith(f"2 bad lines passed over; the first: {path}:2:1")


def test_of_columns_sentences_are_counted_and_a_line_of_white_space_ends_one(export, tmp_path):
    path = write(tmp_path / "a.conll", "Ada\tB-PER\nde\tO\n\t\nfGh\tO\nbad\nworse\n\nab\tB-LOC\n")
    went_on = call(export, path, "--skip-bad", "--format", "conll")
    sentences = went_on.stdout.decode().split("\n\n")[:-1]
    assert [[line.split("\t")[0] for line in sentence.split("\n")] for sentence in sentences] == [["Ada", "de"], ["ab"]]
    assert went_on.stderr.decode().startswith(f"1 bad sentence passed over; the first: {path}:5:1: 1 column, where")


@pytest.mark.parametrize(
    ("lines", "options", "reason"),
    [
        ("Abc\tO\n\nde\tO\n", ("--columns", "word=3"), "names column 3"),
        ("O\tAbc\nB-PER\tde\nO\tab\n", (), "column 1 has tags, and no column has words"),
        ("Abc\tO\nde\n\nde\nAbc\tO\nab\tO\n", (), "a.conll:2:1: 1 column, where"),
    ],
)
def test_a_file_without_a_readable_sentence_is_no_bad_sentence(export, tmp_path, lines, options, reason):
    found = call(export, write(tmp_path / "a.conll", lines), *options, "--skip-bad", "--format", "jsonl")
    assert (found.returncode, found.stdout) == (3, b"")
    assert reason in found.stderr.decode()


@pytest.mark.parametrize("name", ["a.json", "a.parquet", "a.json.gz"])
def test_a_table_is_not_read_as_text(export, tmp_path, name):
    path = write(tmp_path / name, '{"text": "Abc"}\n')
    refused = call(export, path)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert "is not read here. Give plain text, one JSON object a line (.jsonl" in refused.stderr.decode()
    assert format_of(tmp_path / "json") == format_of(tmp_path / "a.txt") == "text"


def test_the_columns_that_are_named_are_read(export, tmp_path):
    path = write(tmp_path / "a.conll", "x Abc B-PER\ny de O\n")
    found = call(export, path, "--columns", "word=2,tag=3", "--format", "jsonl")
    assert json.loads(found.stdout)["words"] == ["Abc", "de"]
    beyond = call(export, path, "--columns", "word=4")
    assert (beyond.returncode, b"there are 3 columns" in beyond.stderr) == (3, True)
    unread = call(export, write(tmp_path / "a.txt", "Abc\n"), "--columns", "word=2")
    assert (unread.returncode, b"--columns: no input has columns" in unread.stderr) == (2, True)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_word_that_columns_cannot_hold_is_a_bad_line(export, tmp_path, workers):
    text = write(tmp_path / "a.txt", "Abc de\na\x1cb\nfGh\n")
    words = write(tmp_path / "b.jsonl", '{"words": ["a\xa0b"]}\n{"words": []}\n{"words": ["ab"]}\n{"text": "a\xa0b"}\n')
    arguments = (text, words, "--format", "conll", "--workers", workers)
    stopped, went_on = call(export, *arguments), call(export, *arguments, "--skip-bad")
    assert (stopped.returncode, f"{text}:2: word 'a\\x1cb' has no" in stopped.stderr.decode()) == (3, True)
    assert f"2 bad lines passed over; the first: {text}:2: word" in went_on.stderr.decode()
    assert [line.split("\t")[0] for line in went_on.stdout.decode().split("\n")] == [
        *("Abc", "de", ""),
        *("fGh", ""),
        "",
        *("ab", ""),
        *("a", "b", ""),
        "",
    ]


def test_a_line_that_is_too_long_is_passed_over_and_takes_the_places_after_it(tmp_path):
    path = write(tmp_path / "a.txt", b"one\n" + b"x" * (3 << 20) + b"\ntwo\n")
    told = []
    found = list(read_documents([path], on_bad_line=told.append))
    assert [(document.text, document.offset) for document in found] == [("one", 0), ("two", None)]
    assert [str(error) for error in told] == [f"{path}:2: this line is longer than 1 MiB. Cut it into several lines."]


def test_one_annotation_belongs_to_one_file(export, tmp_path):
    paths = [write(tmp_path / name, "Abc de\n") for name in "ab"]
    refused = call(export, *paths, "--format", "brat")
    assert refused.returncode == 2
    assert b"Give one file at a time" in refused.stderr


def test_a_reader_that_stops_reading_is_not_complained_about(export, tmp_path):
    path = write(tmp_path / "a.txt", "Abc de fGh a.b ef\n" * 20_000)
    command = [str(Path(sys.executable).with_name("xner")), "tag", str(export), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize(("seconds", "said"), [(1.0, ""), (4.0, "2 texts, 20 words in 4.0 s, 5 words/s\n")])
def test_short_work_is_not_talked_about_and_long_work_is(monkeypatch, capfd, seconds, said):
    clock = iter([0.0, seconds])
    with monkeypatch.context() as patched:
        patched.setattr(time, "monotonic", lambda: next(clock))
        with TaggingProgress(None) as progress:
            for _ in range(2):
                progress.add(words=10, size=50)
    assert capfd.readouterr().err == said


def _until_closed(terminal: int) -> str:
    """Everything written on the other side, which is closed: one read gives what one write left, a piece of it."""
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error on Linux
        while piece := os.read(terminal, 4096):
            shown += piece
    return shown.decode("utf-8", "replace")


@pytest.mark.parametrize("total", [None, 30_000])
def test_a_bar_on_a_terminal_shows_words_per_second(total, monkeypatch):
    """Standard error is a terminal, standard output is not."""
    main, other = os.openpty()
    with os.fdopen(other, "w") as screen, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", screen)
        with TaggingProgress(total) as progress:
            for _ in range(300):
                progress.add(words=10, size=100)
    shown = _until_closed(main)
    os.close(main)
    assert "words/s" in shown
    assert ("100%" in shown) is (total is not None)


@pytest.fixture(scope="module")
def long_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.txt"
    path.write_text("".join(f"{TEXT} {number}\n\n" for number in range(400)), encoding="utf-8")
    return path


def test_workers_write_what_one_process_writes(export, long_file):
    tagger = Tagger.from_pretrained(export)
    for form in ("jsonl", "conll"):
        alone = list(tag_lines(tagger, read_documents([long_file]), form, batch=64))
        shared = list(tag_in_processes(export, read_documents([long_file]), form, workers=2, batch=64))
        assert shared == alone
        assert sum(document.size for document in shared) == long_file.stat().st_size


def test_workers_hold_a_few_chunks_and_no_more(export):
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield Document("a:1", TEXT)

    lines = tag_in_processes(export, endless(), "jsonl", workers=1, batch=4)
    for _ in range(8):
        next(lines)
    lines.close()
    assert read <= 8 + 3 * 4


def test_what_is_wrong_in_a_worker_is_told_as_by_one_process(export):
    documents = [Document("a:1", words=("New York",))]
    with pytest.raises(CorpusError, match="a:1: word 'New York' has no place in a column"):
        list(tag_in_processes(export, documents, "conll", workers=1))
    with pytest.raises(UsageError, match="brat is written by one"):
        list(tag_in_processes(export, documents, "brat", workers=2))


@pytest.mark.parametrize("name", ["workers", "threads", "batch"])
def test_numbers_of_workers_are_checked_before_they_start(export, name):
    with pytest.raises(UsageError, match=f"{name} is 0. Give a whole number from 1 to"):
        list(tag_in_processes(export, [], "jsonl", **{"workers": 1, name: 0}))


def test_workers_that_are_killed_are_named(export):
    lines = tag_in_processes(export, (Document("a:1", TEXT) for _ in range(10_000)), "jsonl", workers=1, batch=1)
    next(lines)
    for child in psutil.Process().children(recursive=True):
        if "spawn_main" in " ".join(child.cmdline()):
            child.kill()
    with pytest.raises(ResourceError, match="worker process ended"):
        list(lines)


SOME = "".join(f"{TEXT} Abc{'d' * (number % 5)} de fGh a.b ef {'gh' * (number % 7)}\n" for number in range(40))


@pytest.mark.parametrize("form", ["jsonl", "conll", "brat", "terminal"])
def test_entities_that_are_not_kept_are_left_out_of_every_format(export, tmp_path, form):
    """Against the filtered answer of the tagger; a word of an entity that is left out is `O`."""
    tagger, path = Tagger.from_pretrained(export), write(tmp_path / "a.txt", SOME)
    found = [entity for entities in tagger.tag(SOME.splitlines()) for entity in entities]
    kind = max({entity.type for entity in found}, key=lambda name: sum(entity.type == name for entity in found))
    least = sorted(entity.score for entity in found if entity.type == kind)[3]
    kept = [entity for entity in found if entity.type == kind and entity.score >= least]
    assert 0 < len(kept) < len(found)
    keep = EntityFilter(least, (kind,))
    text = "".join(lines.text for lines in tag_lines(tagger, read_documents([path]), form, batch=7, keep=keep))
    if form == "jsonl":
        assert [Entity(**entity) for line in text.splitlines() for entity in json.loads(line)["entities"]] == kept
    count = {"jsonl": '"score"', "conll": "\tB-", "brat": f"\t{kind} ", "terminal": f" {kind}]"}[form]
    assert text.count(count) == len(kept)
    assert all(name == kind or f"\tI-{name}" not in text for name in tagger.scheme.types)


def test_workers_leave_out_the_same_entities_and_a_file_holds_what_standard_output_gets(export, tmp_path):
    path, output = write(tmp_path / "a.txt", SOME), write(tmp_path / "out.jsonl", "old")
    options = ("--min-score", "0.5", "--types", "PER, LOC")
    plain = call(export, path, *options)
    assert (plain.returncode, plain.stderr) == (0, b"")
    assert plain.stdout != call(export, path).stdout
    assert call(export, path, *options, "--output", output, "--workers", 2).stdout == b""
    assert output.read_bytes() == plain.stdout
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.txt", "out.jsonl"]


def test_what_fails_leaves_the_file_as_it_was(export, tmp_path):
    output = write(tmp_path / "out.jsonl", "old")
    stopped = call(export, write(tmp_path / "a.txt", b"Abc\n\xff\n"), "--output", output)
    assert (stopped.returncode, output.read_text()) == (3, "old")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.txt", "out.jsonl"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--types", "PER,TOWN"), "types: 'TOWN' is no type of this model. It has PER, ORG, LOC."),
        (("--types", ""), "types: '' is no type"),
        (("--min-score", "1.5"), "The least score is 1.5. Give a number from 0 to 1."),
        (("--min-score", "nan"), "The least score is nan."),
        (("--output", "a.txt"), "--output a.txt: this file is an input."),
        (("--output", "link"), "--output link: this file is an input."),
        (("--output", "circle"), "--output circle: no regular file."),
        (("--output", "export/out.jsonl"), "an export with a foreign file is refused."),
        (("--output", "/dev/null"), "--output /dev/null: no regular file."),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_reason(export, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(export, tmp_path / "export")
    (tmp_path / "link").symlink_to("a.txt")
    (tmp_path / "circle").symlink_to("circle")
    refused = call("export", write(tmp_path / "a.txt", "Abc\n"), *options)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert message in refused.stderr.decode()
    assert (tmp_path / "a.txt").read_text() == "Abc\n"


def test_an_output_takes_no_name_of_another_file_and_follows_a_link(export, tmp_path):
    """As `out.tmp` is an input here, a temporary file of that name would be read and lost."""
    other, path = write(tmp_path / "out.tmp", f"{TEXT}\n"), tmp_path / "out"
    (tmp_path / "elsewhere").mkdir()
    path.symlink_to("elsewhere/real")
    done = call(export, "--input", "text", other, "--output", path)
    assert (done.returncode, other.read_text()) == (0, f"{TEXT}\n")
    assert path.is_symlink()
    assert path.read_bytes() == call(export, "--input", "text", other).stdout
    assert [file.name for file in (tmp_path / "elsewhere").iterdir()] == ["real"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["elsewhere", "out", "out.tmp"]


def test_two_commands_write_one_output_without_mixing(export, tmp_path):
    """Both have begun before either may end: each waits for its input to close."""
    output = tmp_path / "out.jsonl"
    begun = [start(export, "--output", output) for _ in range(2)]
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    for number, process in enumerate(begun):
        process.communicate(f"{TEXT} {number}\n".encode() * 100, timeout=60)
        lines = output.read_text().splitlines()
        assert [json.loads(line)["text"] for line in lines] == [f"{TEXT} {number}"] * 100
    assert list(tmp_path.iterdir()) == [output]


def test_a_stopped_command_leaves_neither_its_output_nor_a_part_of_it(export, tmp_path):
    process = start(export, "--output", tmp_path / "out.jsonl")
    wait_until(lambda: any(tmp_path.iterdir()))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []

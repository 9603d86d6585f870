"""Reading labelled files and raw text."""

from __future__ import annotations

import gzip
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xtremedistil_ner.corpus.check import check_corpus
from xtremedistil_ner.corpus.folder import find_split, find_text, languages_of, read_split, read_text
from xtremedistil_ner.errors import CorpusError

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r \ufeff"), min_size=1, max_size=6)
SENTENCES = st.lists(
    st.lists(st.tuples(WORDS, st.sampled_from(["O", "B-PER", "B-LOC"])), min_size=1, max_size=5), min_size=1, max_size=5
)


def read(tmp_path, text, name="train.tsv", language="en"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_split(path, language=language)


def content(file):
    return [list(zip(sentence.words, sentence.tags, strict=True)) for sentence in file.sentences]


def problems(tmp_path, text, name="train.tsv"):
    with pytest.raises(CorpusError) as caught:
        read(tmp_path, text, name)
    return [line.removeprefix(f"{tmp_path}/{name}:") for line in str(caught.value).splitlines()]


@settings(max_examples=60)
@given(SENTENCES)
def test_what_is_written_is_read_back(tmp_path_factory, sentences):
    text = "\n".join("".join(f"{word}\t{tag}\n" for word, tag in sentence) for sentence in sentences)
    file = read(tmp_path_factory.mktemp("corpus"), text)
    assert content(file) == sentences
    assert file.repaired_tags == 0


def test_a_sentences_id_is_its_file_and_first_line(tmp_path):
    file = read(tmp_path, "\n\na\tO\nb\tO\n\n\nc\tO")
    assert [sentence.id for sentence in file.sentences] == ["train.tsv:3", "train.tsv:7"]


def test_equal_words_and_equal_sequences_of_tags_are_kept_once(tmp_path):
    first, second = read(tmp_path, "Ada\tB-PER\n.\tO\n\nAda\tB-PER\n.\tO\n").sentences
    assert first.words[0] is second.words[0]
    assert first.tags is second.tags


def test_columns_may_be_separated_by_tabs_or_spaces_with_others_between(tmp_path):
    expected = [[("EU", "B-ORG"), ("rejects", "O")]]
    assert content(read(tmp_path, "EU\tNNP\tI-NP\tB-ORG\nrejects\tVBZ\tI-VP\tO\n")) == expected
    assert content(read(tmp_path, "EU NNP I-NP B-ORG\nrejects  VBZ I-VP O\n", "train.conll")) == expected


def test_document_marks_and_comments_are_skipped_and_counted(tmp_path):
    file = read(tmp_path, "-DOCSTART- -X- O O\n\n# id = 7\na\tO\n-DOCSTART-\tO\nb\tO\n")
    assert content(file) == [[("a", "O")], [("b", "O")]]
    assert file.skipped_lines == 3


def test_a_hash_with_a_tag_is_a_word(tmp_path):
    assert content(read(tmp_path, "a\tO\n#\tO\n#1\tB-ORG\n")) == [[("a", "O"), ("#", "O"), ("#1", "B-ORG")]]
    assert content(read(tmp_path, "a NN O\n# NN O\n", "train.conll")) == [[("a", "O"), ("#", "O")]]


def test_no_break_spaces_are_characters_of_words(tmp_path):
    assert content(read(tmp_path, "10\u00a0000\tO\n\u00a0\tO\n\u2028\tO\n")) == [
        [("10\u00a0000", "O"), ("\u00a0", "O"), ("\u2028", "O")]
    ]


def test_byte_order_mark_and_windows_line_ends_leave_no_trace(tmp_path):
    assert content(read(tmp_path, "\ufeffa\tO\r\n\r\nb\tB-LOC\r\n")) == [[("a", "O")], [("b", "B-LOC")]]


@pytest.mark.parametrize(
    ("written", "form", "repaired"),
    [("I-PER I-PER O B-LOC", "IOB2", 1), ("I-PER I-PER B-PER O", "IOB1", 0), ("B-PER E-PER S-PER O", "BIOES", 0)],
)
def test_tags_of_every_format_become_iob2_and_repairs_are_counted(tmp_path, written, form, repaired):
    file = read(tmp_path, "".join(f"w\t{tag}\n" for tag in written.split()))
    assert file.sentences[0].tags[:2] == ("B-PER", "I-PER")
    assert (file.tag_format, file.repaired_tags) == (form, repaired)


def test_panx_words_lose_the_language_prefix_only_if_all_have_it(tmp_path):
    assert content(read(tmp_path, "no:a\tO\n\nno:b:c\tB-LOC\n", language="no")) == [[("a", "O")], [("b:c", "B-LOC")]]
    assert content(read(tmp_path, "en:a\tO\n\nb\tO\n")) == [[("en:a", "O")], [("b", "O")]]
    assert content(read(tmp_path, "en:a\tO\n", language="de")) == [[("en:a", "O")]]


def test_a_panx_word_that_is_nothing_but_its_prefix_is_refused_with_its_sentence(tmp_path):
    said = ["2: word 2 is empty after en:. Leave it and its tag out."]
    assert problems(tmp_path, "\nen:a\tO\nen:\tO\n\nen:b\tO\n") == said


def test_every_problem_of_a_file_is_reported_with_line_column_and_remedy(tmp_path):
    text = b"ok\tO\nlonely\n\tO\nword\tPER\nw\xff\tO\na\tO\rb\tO\ntwo\tB-\n"
    found = problems(tmp_path, text)
    assert [problem.split(": ")[0] for problem in found] == ["2:7", "3:1", "4:6", "5:2", "6:4", "7:5"]
    assert "'lonely' has no tag. Write" in found[0]
    assert "'PER' is no tag. Write" in found[2]


def test_a_line_is_read_as_strictly_when_its_tag_was_seen_before(tmp_path):
    found = problems(tmp_path, b"ok\tO\n \tO\nc\rd\tO\n\tO\n")
    assert [problem.split(": ")[0] for problem in found] == ["2:1", "3:2", "4:1"]
    assert content(read(tmp_path, "-\tO\n-x\tO\n")) == [[("-", "O"), ("-x", "O")]]


def test_only_the_first_twenty_problems_are_reported(tmp_path):
    assert len(problems(tmp_path, "lonely\n" * 500)) == 20


@pytest.mark.parametrize("text", ["", "\n\n \n", "# only a comment\n"])
def test_a_file_without_a_sentence_is_an_error(tmp_path, text):
    assert problems(tmp_path, text) == ["1:1: no sentence in this file. Remove it or fill it."]


def test_the_first_line_of_each_tag_is_kept_for_messages(tmp_path):
    assert read(tmp_path, "a\tO\nb\tS-X\n\nc\tS-X\n").tag_lines == {"O": 1, "S-X": 2}


def test_languages_are_the_folders_that_have_a_split(tmp_path):
    for name in ("no/test.conll.xz", "de/train.tsv.gz", "docs/readme.md"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert languages_of(tmp_path) == ("de", "no")
    assert find_split(tmp_path, "no", "test") == tmp_path / "no" / "test.conll.xz"
    assert find_split(tmp_path, "no", "train") is None
    with pytest.raises(CorpusError, match="no such folder"):
        languages_of(tmp_path / "absent")


def test_two_files_for_one_split_are_refused(tmp_path):
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "dev.tsv").touch()
    (tmp_path / "en" / "dev.conll.gz").touch()
    with pytest.raises(CorpusError, match=r"dev\.conll\.gz: dev\.tsv is also the dev split of en"):
        find_split(tmp_path, "en", "dev")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_split_that_never_ends_is_refused_before_it_is_read(tmp_path, make):
    path = tmp_path / "en" / "train.tsv"
    path.parent.mkdir()
    make(path)
    assert check_corpus(tmp_path).problems == (f"{path}: a pipe or device where a file belongs. Write one file.",)


def test_raw_text_is_split_into_words_and_streamed(tmp_path):
    (tmp_path / "en.txt.gz").write_bytes(gzip.compress(b"Hello, world.\n\n \t\nBye.\n" + b"x\n\xff\n"))
    path = find_text(tmp_path, "en")
    sentences = list(read_text(path, language="en", limit=2))  # the broken line is never reached
    assert [(sentence.id, sentence.words, sentence.tags) for sentence in sentences] == [
        ("en.txt.gz:1", ("Hello", ",", "world", "."), None),
        ("en.txt.gz:4", ("Bye", "."), None),
    ]
    with pytest.raises(CorpusError, match=":6:1: byte 0xff"):
        list(read_text(path, language="en"))

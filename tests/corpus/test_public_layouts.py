"""Column files as public corpora have them, made up and small: what is read of each, and what is refused by name."""

from __future__ import annotations

import bz2
import gzip
import lzma
from functools import partial

import pytest
import zstandard
from support.command_line import run_xner

from xtremedistil_ner.corpus.check import check_corpus, corpus_stats
from xtremedistil_ner.corpus.folder import find_split, read_split, split_of
from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.corpus.layout import ColumnNumbers
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.recipe.data_sections import ColumnsSection, CorpusSection
from xtremedistil_ner.tagging.documents import read_documents

CONLLU = """\
# newdoc
# text = zum Rhein
1-2\tzum\t_\t_\t_\t_\t_\t_\t_\t_
1\tzu\tzu\tADP\t_\t_\t3\tcase\t_\t_
2\tdem\tder\tDET\t_\t_\t3\tdet\t_\tNER=O
3\tRhein\tRhein\tPROPN\t_\t_\t0\troot\t_\tNER=B-LOC|SpaceAfter=No
3.1\tfährt\t_\t_\t_\t_\t_\t_\t_\t_
"""
LAYOUTS = {
    "CoNLL-2003": (
        "eng.testa",
        "-DOCSTART- -X- -X- O\n\nEU NNP B-NP I-ORG\nwins VBZ B-VP O\n\nBonn NNP B-NP I-LOC\nHbf NNP B-NP B-LOC\n",
        ["EU/B-ORG wins/O", "Bonn/B-LOC Hbf/B-LOC"],
        1,
    ),
    "GermEval": (
        "train.tsv",
        "#\thttp://de.example.org/A [2009-10-17]\n1\tUni\tB-ORG\tO\n2\tBonn\tI-ORG\tB-LOC\n\n#\tb\n1\tNein\tO\tO\n",
        ["Uni/B-ORG Bonn/I-ORG", "Nein/O"],
        2,
    ),
    "Universal NER": (
        "train.iob2",
        "# sent_id = 1\n# text = Ada O\n1\tAda\tB-PER\t-\t-\n2\tO\tO\t-\t-\n\n# sent_id = 2\n1\tOslo\tB-LOC\t-\t-\n",
        ["Ada/B-PER O/O", "Oslo/B-LOC"],
        3,
    ),
    "MultiCoNER": (
        "validation.conll",
        "# id 5239d808\tdomain=en\nAda _ _ B-PER\nLovelace _ _ I-PER\n\n# id 8\tdomain=en\nrome _ _ B-LOC\n\n",
        ["Ada/B-PER Lovelace/I-PER", "rome/B-LOC"],
        2,
    ),
    "WNUT17": (
        "train.conll",
        "@ada\tO\n#oslo\tB-location\n\t\nrt\tO\n \t \n#\tO\n",
        ["@ada/O #oslo/B-location", "rt/O", "#/O"],
        0,
    ),
    "PAN-X": ("train", "en:Ada\tB-PER\nen:#\tO\n\nen:en:x\tO\n", ["Ada/B-PER #/O", "en:x/O"], 0),
    "CoNLL-U": ("train.conllu", CONLLU, ["zu/O dem/O Rhein/B-LOC"], 4),
    "comments that end like a tag, and a word that begins like one": (
        "train.conll",
        "# U-Bahn\nAda B-PER\n# B-PER\n# O\n# E-Mail\n\n# S-Bahn\nruns O\n",
        ["Ada/B-PER #/B-PER #/O", "runs/O"],
        3,
    ),
    "BIO": ("train.bio", "Ada B-PER\nsleeps O\n# O\n", ["Ada/B-PER sleeps/O #/O"], 0),
    "iob2 with spaces": (
        "valid.iob2",
        "# doc 7\nEU  NNP   B-ORG\n#  SYM  O\n# text = EU #\n",
        ["EU/B-ORG #/O"],
        2,
    ),
    "trailing tabs": (
        "train.txt",
        "Ada\tB-PER\t\nsleeps\tO\n.\tO\t \n\n\t\t\nOslo\tB-LOC\t\n",
        ["Ada/B-PER sleeps/O ./O", "Oslo/B-LOC"],
        0,
    ),
    "CoNLL-U comments in two columns": (
        "train.tsv",
        "# text = Er nimmt die U-Bahn\nEr\tO\ndie\tO\nU-Bahn\tO\n\n# text = O\tO\nAnna\tB-PER\n",
        ["Er/O die/O U-Bahn/O", "Anna/B-PER"],
        2,
    ),
    "CoNLL-2012 marks": (
        "train.conll",
        "#begin document (a); part 000\nAda NNP B-PER\n. . O\n\n#end document\n",
        ["Ada/B-PER ./O"],
        2,
    ),
    "sentence numbers": (
        "train.tsv",
        "0\tAda\tB-PER\n0\tran\tO\n\n1\tOslo\tB-LOC\n",
        ["Ada/B-PER ran/O", "Oslo/B-LOC"],
        0,
    ),
    "a last column without tags": ("train.tsv", "Ada\tB-PER\tx\nran\tO\ty\n", ["Ada/B-PER ran/O"], 0),
}
PACKERS = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def place(folder, name, text, language="en"):
    path = folder / language / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def sentences_of(split):
    return [" ".join(map("/".join, zip(s.words, s.tags, strict=True))) for s in split.sentences]


def problems_of(folder):
    return [problem.removeprefix(f"{folder}/en/") for problem in "\n".join(check_corpus(folder).problems).splitlines()]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_public_layout_is_read_as_it_comes_and_tagged_as_it_is_read(tmp_path, layout, line_end):
    name, text, expected, skipped = LAYOUTS[layout]
    path = place(tmp_path, name, "\ufeff" + text.replace("\n", line_end))
    split = read_split(path, language="en")
    assert (sentences_of(split), split.skipped_lines) == (expected, skipped)
    assert [find_split(tmp_path, "en", name) for name in ("train", "dev") if split_of(path.name) == name] == [path]
    check = check_corpus(tmp_path)
    assert (check.problems, check.unread, len(check.stats)) == ((), (), 1)
    if layout != "PAN-X":
        documents = read_documents([path], "conll")
        assert [document.words for document in documents] == [sentence.words for sentence in split.sentences]


@pytest.mark.parametrize("packed", PACKERS)
def test_a_comment_is_told_by_its_columns_in_every_compression(tmp_path, packed):
    text = "# text = Er\nEr\tO\n#\tB-X\n#hashtag\tO\n"
    path = place(tmp_path, f"train.tsv{packed}", PACKERS[packed](text.encode()))
    split = read_split(path, language="en")
    assert (sentences_of(split), split.skipped_lines) == (["Er/O #/B-X #hashtag/O"], 1)
    assert [document.words for document in read_documents([path])] == [("Er", "#", "#hashtag")]


@pytest.mark.parametrize("words", ["#", "#tag", "a\n#"])
def test_a_hash_alone_is_a_word_where_lines_have_words_alone(tmp_path, words):
    path = place(tmp_path, "f.conll", f"# text = {words[0]} b\n{words}\n")
    assert [document.words for document in read_documents([path])] == [tuple(words.split("\n"))]


@pytest.mark.parametrize("text", ["1\tAda\n2\tran\n", "0 Ada NNP\n1 ran VBD\n", "# a b\n7.\tAda\t_\n8.\tran\t_\n"])
def test_numbers_of_words_without_tags_are_not_tagged(tmp_path, text):
    assert [document.words for document in read_documents([place(tmp_path, "f.conll", text)])] == [("Ada", "ran")]


def test_a_comment_with_as_many_columns_as_the_words_is_none_of_them(tmp_path):
    text = "# id 5239d808\tdomain=en\nAda\t_\nLovelace\t_\n"
    found = list(read_documents([place(tmp_path, "f.conll", text)]))
    assert [document.words for document in found] == [("Ada", "Lovelace")]


def test_a_column_of_numbers_alone_has_words(tmp_path):
    found = list(read_documents([place(tmp_path, "f.conll", "1\n2\n3\n")]))
    assert [document.words for document in found] == [("1", "2", "3")]


def test_lines_with_another_number_of_columns_are_named_all_at_once(tmp_path):
    text = "Last Name _ O I-PER\nlives VBZ O O\nin IN O O\nNew York NNP O B-LOC\n"
    place(tmp_path, "train.conll", text)
    found = problems_of(tmp_path)
    assert found[0] == (
        "train.conll:1:1: 5 columns, where the file has 4: 'Last Name _ O I-PER'. Write 4, separated by spaces."
    )
    assert [problem.split(" ")[0] for problem in found] == ["train.conll:1:1:", "train.conll:4:1:"]
    with pytest.raises(CorpusError, match=r"train\.conll:1:1: 5 columns, where the file has 4"):
        list(read_documents([tmp_path / "en" / "train.conll"]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\tO\n2\tO\n3\tB-X\n", "column 2 has tags, and no column has words"),
        ("B-X\tAda\nO\tran\n", "column 1 has tags, and no column has words"),
        (CONLLU.replace("NER=", "Typo="), "no word has NER= or NE= in its last column"),
        (CONLLU.replace("B-LOC", "PER"), "'PER' is no tag"),
        ("a\tO\n#\tPER\n", "'PER' is no tag"),
        ("a O\nb O\nc\td\tO\n", "3 columns, where the file has 2"),
    ],
)
def test_a_file_whose_words_or_tags_cannot_be_told_is_refused(tmp_path, text, message):
    place(tmp_path, "train.tsv", text)
    assert [message in problem for problem in problems_of(tmp_path)] == [True]


def test_columns_that_a_recipe_names_are_read_and_decide_the_fingerprint(tmp_path):
    path = place(tmp_path, "train.tsv", "B-X\tAda\tB-Y\nO\tran\tO\n")
    assert sentences_of(read_split(path, language="en", columns=ColumnNumbers(2, 1))) == ["Ada/B-X ran/O"]
    opened = [
        open_corpus(CorpusSection(path=str(tmp_path), columns=ColumnsSection(word=2, tag=tag))) for tag in (1, 3, None)
    ]
    assert [corpus.scheme.types for corpus in opened] == [("X",), ("Y",), ("Y",)]
    assert len({corpus.content_hash("en", "train") for corpus in opened}) == 3
    with pytest.raises(CorpusError, match=r"there are 3 columns, and corpus\.columns or --columns names column 7"):
        read_split(path, language="en", columns=ColumnNumbers(tag=7))


@pytest.fixture
def xner(monkeypatch, capfd):
    return partial(run_xner, monkeypatch, capfd)


def test_columns_are_an_option_and_numbered_words_are_shown(tmp_path, xner):
    place(tmp_path, "train.iob2", LAYOUTS["Universal NER"][1])
    note = "en train: column 1 has numbers: words are read in column 2, tags in column 3."
    for command in ("check", "stats"):
        assert note in xner("corpus", command, tmp_path)[1].splitlines()
        assert note not in xner("corpus", command, tmp_path, "--columns", "word=2,tag=3")[1]
    assert "en train: skipped lines: 3." in xner("corpus", "stats", tmp_path)[1].splitlines()
    assert xner("corpus", "check", tmp_path, "--columns", "word=3")[0] == 3
    for wrong in ("word=1,tag=1", "word", "x=1", "word=0", ""):
        code, _, message = xner("corpus", "check", tmp_path, "--columns", wrong)
        assert (code, message[:16]) == (2, "xner: --columns ")


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (["train.tsv", "train.bio.gz", "eng.train", "train"], "train"),
        (["dev", "validation.jsonl.zst", "valid.txt", "val.conll", "testa.parquet", "deu.testa"], "dev"),
        (["test.iob", "testb", "eng.testb.xz", "wnut.test.tsv"], "test"),
        (["training.tsv", "Train.tsv", "train.md", "train.emd", "train.tsv.bak", "extra", "test.tsv.gz.tmp"], None),
    ],
)
def test_a_split_is_told_by_the_name_of_its_file(names, split):
    assert {split_of(name) for name in names} == {split}


@pytest.mark.parametrize(("first", "second"), [("train.conll", "train.tsv"), ("dev.tsv", "validation.tsv.gz")])
def test_two_files_that_claim_a_split_are_both_named(tmp_path, first, second):
    for name in (first, second):
        place(tmp_path, name, b"")
    with pytest.raises(CorpusError, match=rf"{first}: {second} is also the"):
        find_split(tmp_path, "en", split_of(first))
    assert len(problems_of(tmp_path)) == 1


def test_every_file_that_no_run_reads_is_named(tmp_path, xner):
    for name in (
        "en/train.tsv",
        "en/validation.tsv",
        "de/train.iob2",
        "fr/train.txt",
        "DE2/training.tsv",
        "xx/a/b.tsv",
    ):
        language, _, file = name.rpartition("/")
        place(tmp_path, file, "Ada\tB-PER\n", language)
    for name in ("es.tsv", "README", ".hidden"):
        (tmp_path / name).write_text("Ada\tB-PER\n")
    unread = "Not read, because of their names: DE2/training.tsv, README, es.tsv, xx/a/b.tsv."
    assert unread in xner("corpus", "check", tmp_path)[1]
    assert len(corpus_stats(tmp_path)) == 4
    place(tmp_path, "test.tsv", "lonely\n")
    code, _, message = xner("corpus", "check", tmp_path)
    assert (code, message.splitlines()[-1]) == (3, unread)

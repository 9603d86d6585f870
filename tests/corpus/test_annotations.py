"""Entities by character offsets, as annotation tools save them: what is read, and what is counted."""

from __future__ import annotations

import json
import sys

import fsspec
import pytest

from xtremedistil_ner.commands.terminal import format_check, format_stats
from xtremedistil_ner.corpus.check import check_corpus, corpus_stats
from xtremedistil_ner.corpus.folder import find_split, folder_reader, read_split
from xtremedistil_ner.errors import CorpusError, lack_of_extra

TEXT = "Ada Lovelace met Bob in New York."
PER, LOC = [0, 12, "PER"], [24, 32, "LOC"]
ENTITIES = ["Ada/B-PER Lovelace/I-PER met Bob in New/B-LOC York/I-LOC ."]
TASK = {
    "id": 1,
    "data": {"id": "x", "text": TEXT},
    "annotations": [
        {"was_cancelled": True, "result": []},
        {
            "result": [
                {"type": "labels", "value": {"start": 0, "end": 12, "text": "Ada Lovelace", "labels": ["PER"]}},
                {"type": "labels", "value": {"start": 24, "end": 32, "text": "New York", "labels": ["LOC", "GPE"]}},
                {"type": "relation", "from_id": "a", "to_id": "b"},
            ]
        },
        {"result": []},
    ],
    "predictions": [{"result": []}],
}


def content(split):
    """Each sentence as text, tags only where there are any."""
    return [
        " ".join(word if tag == "O" else f"{word}/{tag}" for word, tag in zip(s.words, s.tags, strict=True))
        for s in split.sentences
    ]


def read(tmp_path, *records, name="train.jsonl"):
    text = "\n".join(map(json.dumps, records)) if name.endswith("l") else json.dumps(records)
    (tmp_path / name).write_text(text + "\n", encoding="utf-8")
    return read_split(tmp_path / name, language="en")


def problem(tmp_path, record, name="train.jsonl"):
    with pytest.raises(CorpusError) as caught:
        read(tmp_path, {"text": "fine", "label": []}, record, name=name)
    return str(caught.value).removeprefix(f"{tmp_path}/{name}")


def write_brat(folder, **documents):
    folder.mkdir(parents=True)
    for name, (text, lines) in documents.items():
        (folder / f"{name}.txt").write_bytes(text.encode())
        (folder / f"{name}.ann").write_text(lines, encoding="utf-8")


@pytest.mark.parametrize(
    "record",
    [
        {"id": 7, "text": TEXT, "label": [PER, LOC], "Comments": []},
        {"text": TEXT, "labels": [LOC, PER]},
        {
            "text": TEXT,
            "entities": [
                {"id": 1, "label": "PER", "start_offset": 0, "end_offset": 12},
                {"id": 2, "label": "LOC", "start_offset": 24, "end_offset": 32},
            ],
            "relations": [],
        },
        {
            "text": TEXT,
            "tokens": [{"text": "Ada", "start": 0, "end": 3, "id": 0}],
            "spans": [
                {"start": 0, "end": 12, "token_start": 0, "token_end": 1, "label": "PER"},
                {"start": 24, "end": 32, "label": "LOC"},
            ],
            "answer": "accept",
        },
        {
            "text": TEXT,
            "label": [{"start": 0, "end": 12, "labels": ["PER"]}, {"start": 24, "end": 32, "labels": ["LOC"]}],
        },
        {"text": TEXT, "entities": [{"start": 0, "end": 12, "type": "PER"}, {"start": 24, "end": 32, "type": "LOC"}]},
        {"text": TEXT, "spans": [], "entities": [{"start": 24, "end": 32, "type": "LOC"}, PER]},
        {"text": TEXT, "label": [], "labels": [PER, LOC]},
        {
            "text": TEXT,
            "ner": [{"start": 0, "end": 12, "labels": ["PER"]}, {"start": 24, "end": 32, "labels": ["LOC"]}],
            "annotation_id": 4,
        },
    ],
    ids=[
        *("doccano", "doccano labels", "doccano relations", "prodigy", "json-min", "xner tag"),
        *("tagged by xner", "empty label", "json-min of another tag"),
    ],
)
@pytest.mark.parametrize("name", ["train.jsonl", "train.json"])
def test_an_object_of_each_tool_has_its_entities(tmp_path, record, name):
    split = read(tmp_path, record, name=name)
    assert (content(split), split.tag_format, split.skipped_lines) == (ENTITIES, "IOB2", 0)
    assert split.spans == {}


def test_a_task_of_label_studio_has_its_first_finished_annotation_and_the_rest_is_counted(tmp_path):
    split = read(tmp_path, TASK, {"data": {"text": "open"}, "annotations": []}, name="train.json")
    assert content(split) == ENTITIES
    assert split.skipped_lines == 1
    assert split.spans == {"other_annotators": 1, "other": 1, "overlapping": 1}


def test_ground_truth_comes_before_other_annotations(tmp_path):
    truth = {"ground_truth": True, "result": [{"type": "labels", "value": {"start": 17, "end": 20, "labels": ["PER"]}}]}
    split = read(tmp_path, {**TASK, "annotations": [*TASK["annotations"], truth]}, name="train.json")
    assert content(split) == ["Ada Lovelace met Bob/B-PER in New York ."]


def test_rejected_and_ignored_texts_are_passed_over_and_counted(tmp_path):
    answers = ({"text": TEXT, "spans": [], "answer": answer} for answer in ("reject", "ignore"))
    split = read(tmp_path, *answers, {"text": "Nobody", "answer": "accept"})
    assert (content(split), split.skipped_lines) == (["Nobody"], 2)


def test_a_file_of_rejected_and_unfinished_texts_says_how_many_it_has(tmp_path):
    rejected, blank = {"text": TEXT, "spans": [], "answer": "reject"}, {"text": " ", "label": []}
    unfinished = {"data": {"text": TEXT}, "predictions": TASK["annotations"]}
    cancelled = {"data": {"text": TEXT}, "annotations": TASK["annotations"][:1]}
    with pytest.raises(CorpusError) as caught:
        read(tmp_path, rejected, unfinished, blank, cancelled, name="train.json")
    assert str(caught.value).endswith(
        "train.json: no sentence in this file; texts passed over: 1 with an answer other than accept, "
        "2 without a finished annotation, 1 without a word. Remove it or fill it."
    )


@pytest.mark.parametrize(
    ("text", "spans", "expected", "counts"),
    [
        ("Berlins Mauer", [[0, 6, "LOC"]], ["Berlins/B-LOC Mauer"], {"widened": 1}),
        ("in Berlin.", [[5, 9, "LOC"]], ["in Berlin/B-LOC ."], {"widened": 1}),
        ("in Rom .", [[2, 7, "LOC"]], ["in Rom/B-LOC ."], {"trimmed": 1}),
        ("New York", [[0, 3, "A"], [0, 8, "B"], [4, 8, "C"]], ["New/B-B York/I-B"], {"overlapping": 2}),
        ("a b c", [[2, 5, "B"], [0, 3, "A"]], ["a/B-A b/I-A c"], {"overlapping": 1}),
        ("Haustür auf", [[0, 4, "A"], [4, 7, "B"]], ["Haustür/B-A auf"], {"overlapping": 1, "widened": 1}),
        ("a  b", [[1, 3, "A"]], ["a b"], {"blank": 1}),
        ("a b", [[0, 1, "First name"], [2, 3, " X "]], ["a/B-First_name b/B-X"], {}),
        ("Ada. Bob\nwas in New\nYork\n\nx", [[16, 24, "LOC"]], ["Ada . Bob", "was in New/B-LOC York/I-LOC", "x"], {}),
        ("e\u0301 a", [[3, 4, "A"]], ["e\u0301 a/B-A"], {}),
    ],
)
def test_what_words_cannot_say_is_decided_and_counted(tmp_path, text, spans, expected, counts):
    split = read(tmp_path, {"text": text, "label": spans})
    assert (content(split), split.spans) == (expected, counts)


@pytest.mark.parametrize(("shift", "counts"), [(0, {}), (2, {"utf16": 1})])
def test_offsets_after_an_emoji_count_what_fits_the_words(tmp_path, shift, counts):
    """Two emojis before the word: as code points it begins at 3, as UTF-16 units at 5."""
    split = read(tmp_path, {"text": "😀😀 Ada lives", "label": [[3 + shift, 6 + shift, "PER"]]})
    assert content(split) == ["😀😀 Ada/B-PER lives"]
    assert split.spans == counts


def test_the_text_that_a_tool_noted_decides_between_the_two_counts(tmp_path):
    """Both fit words: only the noted text tells."""
    value = {"start": 2, "end": 3, "text": "b", "labels": ["X"]}
    task = {"data": {"text": "😀 b c"}, "annotations": [{"result": [{"type": "labels", "value": value}]}]}
    assert content(read(tmp_path, task, name="train.json")) == ["😀 b/B-X c"]
    value.update(start=5, end=6, text="c")
    assert content(read(tmp_path, task, name="train.json")) == ["😀 b c/B-X"]


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([[0, 9, "A"]], "entity 0 to 9 does not lie in its text of 3 characters"),
        ([[2, 2, "A"]], "entity 2 to 2 does not lie"),
        ([[2, 1, "A"]], "entity 2 to 1 does not lie"),
        ([[-1, 2, "A"]], "entity -1 to 2 does not lie"),
        ([[0, 1.0, "A"]], "offset 1.0 is no whole number"),
        ([[True, 1, "A"]], "offset True is no whole number"),
        ([["0", 1, "A"]], "offset '0' is no whole number"),
        ([[0, 10**4000, "A"]], "offset a number of more than 80 digits"),
        ([[0, 1, 5]], "5 is no entity type"),
        ([[0, 1, " "]], "' ' is no entity type"),
        ([[0, 1]], "[0, 1] is no entity"),
        (["positive"], "'positive' is no entity"),
        ("positive", "label is 'positive', no list"),
        ({"PER": [0, 1]}, "label is {'PER': [0, 1]}, no list"),
        ([{"start": 0, "end": 1}], "None is no entity type"),
        ([{"start": 0, "end": 1, "labels": []}], "[] is no entity type"),
        ([{"start": 0, "end": 1, "label": "A", "text": "x"}], "entity 0 to 1 should be 'x', but the text has 'a'"),
    ],
)
def test_an_entity_that_does_not_fit_its_text_is_named_with_its_line(tmp_path, spans, message):
    record = {"text": "a b", "label": spans}
    assert problem(tmp_path, record).startswith(f":2: {message}")
    assert problem(tmp_path, record, name="train.json").startswith(f", row 1: {message}")


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ({"entities": [{"label": "PER", "start_offset": 0, "end_offset": 12}], "label": [LOC]}, "'label, entities'"),
        ({"label": [LOC], "spans": [{"start": 0, "end": 12, "label": "PER"}]}, "'spans, label'"),
        ({"entities": [PER], "ner": [LOC]}, "'entities, ner'"),
        ({"a": [{"start": 0, "end": 1, "labels": ["X"]}], "b": [{"start": 2, "end": 3, "labels": ["X"]}]}, "'a, b'"),
        ({"ner": [PER], "annotation_id": 4}, "the unknown key 'ner'"),
        ({"ents": [{"start": 0, "end": 12, "label": "PER"}], "label": [], "tokens": []}, "the unknown key 'ents'"),
    ],
)
def test_entities_that_would_be_lost_are_refused_with_their_keys(tmp_path, entities, message):
    assert problem(tmp_path, {"text": TEXT, **entities}).startswith(f":2: entities under {message}. ")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"data": {"a": "x", "b": "y"}, "annotations": [{"result": []}]}, "which of 'a, b' is the text"),
        ({"data": {}, "annotations": [{"result": []}]}, "which of '' is the text"),
        ({"data": {"text": "x"}, "annotations": [5]}, "the annotations are [5], no list of objects"),
        ({"data": {"text": "x"}, "annotations": None}, "the annotations are None"),
        ({"data": {"text": "x"}, "annotations": [{"result": 5}]}, "the result is 5, no list"),
        ({"data": {"text": "x"}, "annotations": [{"result": [{"type": "labels", "value": 5}]}]}, "5 is no entity"),
        (
            {"data": {"text": "x"}, "annotations": [{"result": [{"type": "hypertextlabels"}]}]},
            "hypertextlabels have no offsets",
        ),
        (5, "no JSON object"),
        ({"text": "x"}, "there is neither words nor tokens among text"),
    ],
)
def test_a_task_that_is_none_is_named(tmp_path, task, message):
    assert problem(tmp_path, task, name="train.json").startswith(f", row 1: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{", ":1:3: not JSON"),
        ("[\n1,\n}", ":3:1: not JSON"),
        ("[]", ", no sentence"),
        ("[[NaN]]", ": NaN is no number"),
    ],
)
def test_a_json_file_that_is_broken_is_named(tmp_path, text, message):
    path = tmp_path / "train.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CorpusError) as caught:
        read_split(path, language="en")
    assert str(caught.value).startswith(f"{path}{message}".replace(", no", ": no"))


def test_a_json_file_may_have_one_object_a_line_or_words_and_tags(tmp_path):
    path = tmp_path / "train.json"
    record = json.dumps({"words": ["Ada"], "tags": ["B-PER"]})
    for text in (f"\ufeff\n{record}\n{record}\n", f"\ufeff[{record},\r\n{record}]"):
        path.write_bytes(text.encode())
        assert content(read_split(path, language="en")) == ["Ada/B-PER"] * 2


def test_an_export_in_one_long_line_is_read(tmp_path):
    """As Label Studio writes it; lines of other files have at most a megabyte."""
    assert len(read(tmp_path, *[TASK] * 2500, name="train.json").sentences) == 2500
    assert (tmp_path / "train.json").stat().st_size > 1 << 20


def test_bytes_that_are_no_utf_8_are_named(tmp_path):
    (tmp_path / "train.json").write_bytes(b'[\n5, "\xc3\xbc\xff')
    with pytest.raises(CorpusError, match=r"train\.json:2:6: byte 0xff is not UTF-8"):
        read_split(tmp_path / "train.json", language="en")
    write_brat(tmp_path / "dev", a=(TEXT, ""))
    (tmp_path / "dev" / "a.txt").write_bytes(b"\xff")
    with pytest.raises(CorpusError, match=r"a\.txt:1:1: byte 0xff is not UTF-8"):
        read_split(tmp_path / "dev", language="en")


def test_a_folder_of_brat_is_a_split_and_lines_that_are_no_entities_are_counted(tmp_path):
    annotations = "T1\tPER 0 12\tAda Lovelace\nR1\tMet Arg1:T1 Arg2:T2\nT2\tLOC 24 32\tNew York\n#1\tNote T1\thm\n"
    write_brat(
        tmp_path / "en" / "dev",
        b=(TEXT, annotations + "T3\tX 0 3;17 20\tAda Bob\n"),
        a=("\ufeffRom\r\nist 😀 Bonn\n", "T1\tLOC 1 4\tRom\nT2\tLOC 12 16\tBonn\n"),
    )
    assert find_split(tmp_path, "en", "dev") == tmp_path / "en" / "dev"
    reader = folder_reader(tmp_path, name="c")
    split = reader.read("en", "dev")
    assert content(split) == ["Rom/B-LOC", "ist 😀 Bonn/B-LOC", *ENTITIES]
    assert (split.skipped_lines, split.spans) == (2, {"discontinuous": 1})
    assert [sentence.id for sentence in split.sentences] == ["dev:0", "dev:0", "dev:1"]
    before = reader.file_hash("en", "dev")
    (tmp_path / "en" / "dev" / "b.ann").write_text("", encoding="utf-8")
    assert reader.file_hash("en", "dev") != before


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ("\nT1 PER 0 3 Ada\n", r"a\.ann:2: 'T1 PER 0 3 Ada' is no entity"),
        ("T1\tPER 0 99\tAda\n", r"a\.ann:1: entity 0 to 99 does not lie in its text"),
        ("T1\tPER 1 4\tAda\n", r"a\.ann:1: entity 1 to 4 should be 'Ada', but the text has 'da '"),
        (f"T1\tPER 0 {'9' * 5000}\tAda\n", r"a\.ann:1: 'T1\\tPER 0 9{70}.*… is no entity"),
    ],
)
def test_a_broken_line_of_brat_is_named(tmp_path, annotations, message):
    write_brat(tmp_path / "train", a=(TEXT, annotations))
    with pytest.raises(CorpusError, match=message):
        read_split(tmp_path / "train", language="en")


def test_a_text_without_annotations_and_the_reverse_are_named(tmp_path):
    write_brat(tmp_path / "train", a=(TEXT, ""), b=(TEXT, ""))
    (tmp_path / "train" / "a.txt").unlink()
    (tmp_path / "train" / "b.ann").unlink()
    with pytest.raises(CorpusError, match=r"b\.txt: no b\.ann beside it.*\n.*a\.ann: no a\.txt beside it"):
        read_split(tmp_path / "train", language="en")


def test_hidden_files_belong_to_no_split(tmp_path):
    write_brat(tmp_path / "en" / "dev", a=(TEXT, "T1\tPER 0 12\tAda Lovelace\n"))
    before = folder_reader(tmp_path, name="c").file_hash("en", "dev")
    for name in ("dev/._a.txt", "dev/._a.ann", "dev/.b.ann", ".dev.tsv"):
        (tmp_path / "en" / name).write_bytes(b"\xff")
    check = check_corpus(tmp_path)
    assert (check.problems, check.unread, len(check.stats)) == ((), (), 1)
    assert folder_reader(tmp_path, name="c").file_hash("en", "dev") == before


def test_a_folder_of_brat_comes_through_a_url(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    memory.pipe({"/brat/en/train/a.txt": TEXT.encode(), "/brat/en/train/a.ann": b"T1\tPER 0 12\tAda Lovelace\n"})
    assert corpus_stats("memory://brat")[0].entities == {"PER": 1}


def test_check_and_statistics_show_what_was_decided(tmp_path):
    (tmp_path / "en").mkdir()
    read(tmp_path / "en", {"text": "Berlins Mauer", "label": [[0, 6, "LOC"]]})
    note = "en train: annotations by character offsets: 1 widened to whole words."
    assert format_check(check_corpus(tmp_path), "c").splitlines()[-1] == note
    assert format_stats(corpus_stats(tmp_path)).splitlines()[-1] == note


def test_a_file_of_spacy_without_spacy_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    (tmp_path / "train.spacy").write_bytes(b"")
    with pytest.raises(ModuleNotFoundError) as caught:
        read_split(tmp_path / "train.spacy", language="en")
    assert str(lack_of_extra(caught.value, "corpus")).endswith("pip install 'xtremedistil-ner[spacy]'")


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_documents_of_spacy_have_their_entities_and_other_words(tmp_path):
    spacy = pytest.importorskip("spacy")
    nlp = spacy.blank("en")
    docs = [nlp(TEXT), nlp("unlabelled"), nlp("don't")]
    docs[0].set_ents([docs[0].char_span(*PER[:2], label="PER"), docs[0].char_span(*LOC[:2], label="LOC")])
    docs[0].spans["sc"] = [docs[0][3:4]]
    docs[2].set_ents([docs[2].char_span(0, 2, label="X")])
    path = tmp_path / "train.spacy"
    spacy.tokens.DocBin(docs=docs, attrs=["ENT_IOB", "ENT_TYPE"]).to_disk(path)
    split = read_split(path, language="en")
    assert content(split) == [*ENTITIES, "don/B-X ' t"]
    assert (split.skipped_lines, split.spans) == (1, {"widened": 1, "other": 1})
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorpusError, match=r"train\.spacy: no file of spaCy"):
        read_split(path, language="en")

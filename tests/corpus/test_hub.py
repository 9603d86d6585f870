"""Datasets of the Hub: a repository in a folder, the Hub's cache with the Hub offline, and a Hub on this machine."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
from support.hub_mirror import COMMIT, WIKIANN_NAMES, hub_cache, write_card, write_mirror, write_table

from xtremedistil_ner.corpus.hub_reader import pin_revisions
from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.corpus.transfer import held_out_keys, iter_transfer, transfer_hash, transfer_languages
from xtremedistil_ner.errors import CorpusError, ResourceError
from xtremedistil_ner.languages import WIKIANN_LANGUAGES
from xtremedistil_ner.recipe.data_sections import CorpusSection, HubCorpusSection, HubTextSection, TransferSection
from xtremedistil_ner.recipe.reader import read_recipe

ADA = (["Ada", "Byron", "left"], ["B-PER", "I-PER", "O"])
OSLO = (["Oslo"], ["B-LOC"])
ACME = (["At", "Red", "Cross"], ["O", "B-ORG", "I-ORG"])
CORPUS = {
    "en": {"train": [ADA, OSLO, ACME], "dev": [ACME], "test": [OSLO, ADA]},
    "zh-classical": {"train": [OSLO], "dev": [OSLO], "test": [ACME]},
}


def hub(dataset_id, **fields):
    languages = fields.pop("languages", ())
    return CorpusSection(hub=HubCorpusSection(id=str(dataset_id), **fields), languages=languages)


def content(corpus, language, split):
    return [(list(sentence.words), list(sentence.tags)) for sentence in corpus.sentences(language, split)]


def test_every_configuration_is_a_language_and_every_split_is_read_whole(tmp_path):
    corpus = open_corpus(hub(write_mirror(tmp_path / "wikiann", CORPUS)))
    assert corpus.languages == ("en", "zh-classical")
    assert corpus.scheme.types == ("LOC", "ORG", "PER")
    assert {
        language: {split: content(corpus, language, split) for split in ("train", "dev", "test")}
        for language in corpus.languages
    } == CORPUS


def test_the_41_languages_of_wikiann_come_from_their_configurations(tmp_path):
    splits = {"train": [OSLO], "dev": [OSLO], "test": [OSLO]}
    write_mirror(tmp_path / "wikiann", dict.fromkeys(WIKIANN_LANGUAGES, splits))
    corpus = open_corpus(hub(tmp_path / "wikiann"))
    assert len(corpus.languages) == 41
    assert set(corpus.languages) == set(WIKIANN_LANGUAGES)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("where", ["card", "file", "recipe"])
def test_tags_come_by_name_whatever_the_order_of_their_numbers(tmp_path, seed, where):
    names = random.Random(seed).sample(WIKIANN_NAMES, 7)
    assert tuple(names) != WIKIANN_NAMES
    write_mirror(
        tmp_path / "mirror", CORPUS, names=names, card_names=names if where == "card" else None, embed=where == "file"
    )
    section = hub(tmp_path / "mirror", tag_names=names if where == "recipe" else ())
    assert content(open_corpus(section), "en", "train") == CORPUS["en"]["train"]


def test_numbers_that_nothing_names_are_refused(tmp_path):
    write_mirror(tmp_path / "mirror", CORPUS, card_names=None)
    with pytest.raises(CorpusError, match=r"config en, split train: column 'ner_tags' has numbers, .*tag_names"):
        open_corpus(hub(tmp_path / "mirror"))


@pytest.mark.parametrize("other", ["file", "recipe"])
def test_names_that_contradict_each_other_are_refused_with_both(tmp_path, other):
    shuffled = [*WIKIANN_NAMES[:1], *reversed(WIKIANN_NAMES[1:])]
    write_mirror(tmp_path / "mirror", CORPUS, card_names=shuffled, embed=other == "file")
    section = hub(tmp_path / "mirror", tag_names=WIKIANN_NAMES if other == "recipe" else ())
    with pytest.raises(CorpusError, match=r"README.md: O I-LOC B-LOC .*: O B-PER I-PER"):
        open_corpus(section)


def test_tags_may_be_text_and_columns_and_splits_have_any_names(tmp_path):
    for split in ("learn", "try"):
        write_table(tmp_path / "d" / "sr-Latn" / f"{split}-00000.parquet", [ADA], names=None, words="w", tags="t")
    write_card(tmp_path / "d", {"news.sr-Latn.v1": "sr-Latn"}, names=None, splits=("learn", "try"))
    section = hub(
        tmp_path / "d", config="news.{language}.v1", words="w", tags="t", train="learn", dev="try", test="none"
    )
    corpus = open_corpus(section)
    assert corpus.languages == ("sr-Latn",)
    assert content(corpus, "sr-Latn", "dev") == [ADA]
    assert not corpus.has("sr-Latn", "test") and corpus.sentences("sr-Latn", "test") == ()


def test_one_configuration_without_a_language_needs_the_recipe_to_name_it(tmp_path):
    write_mirror(tmp_path / "conll", {"all": CORPUS["en"]})
    corpus = open_corpus(hub(tmp_path / "conll", config="all", languages=("eo",)))
    assert {sentence.language for sentence in corpus.sentences("eo", "train")} == {"eo"}
    for languages in ((), ("eo", "en")):
        with pytest.raises(CorpusError, match=r"does not tell its language\. Name one language"):
            open_corpus(hub(tmp_path / "conll", config="all", languages=languages))
    with pytest.raises(CorpusError, match=r"no configuration 'conll'\. There are: all"):
        open_corpus(hub(tmp_path / "conll", config="conll", languages=("eo",)))


def test_a_language_that_no_configuration_has_is_refused_with_those_there_are(tmp_path):
    write_mirror(tmp_path / "mirror", CORPUS)
    with pytest.raises(CorpusError, match=r"no language xx\. There are: en, zh-classical"):
        open_corpus(hub(tmp_path / "mirror", languages=("en", "xx")))
    with pytest.raises(CorpusError, match=r"no configuration fits corpus.hub.config 'PAN-X.{language}'. There are: en"):
        open_corpus(hub(tmp_path / "mirror", config="PAN-X.{language}"))


def test_all_languages_of_a_section_are_those_of_its_list_that_the_dataset_has(tmp_path):
    write_mirror(tmp_path / "mirror", {**CORPUS, "no": CORPUS["en"]})
    named = {"languages": ("no", "xx", "en")}
    section = CorpusSection(hub=HubCorpusSection(id=str(tmp_path / "mirror"), **named))
    corpus = open_corpus(section)
    assert (corpus.languages, corpus.has_every_language) == (("no", "en"), True)
    assert open_corpus(section.model_copy(update={"languages": ("zh-classical",)})).languages == ("zh-classical",)
    with pytest.raises(CorpusError, match=r"mirror: no language xx\. There are: en, no, zh-classical"):
        open_corpus(section.model_copy(update={"languages": ("en", "xx")}))
    with pytest.raises(CorpusError, match=r"mirror: no language xx, yy\. There are"):
        open_corpus(CorpusSection(hub=HubCorpusSection(id=str(tmp_path / "mirror"), languages=("xx", "yy"))))


def test_repositories_without_configurations_have_them_as_folders(tmp_path):
    for language in ("en", "xx"):
        write_table(tmp_path / "r" / language / "train" / "0000.parquet", [ADA, OSLO], embed=True)
        write_table(tmp_path / "r" / language / "validation.parquet", [OSLO], embed=True)
    corpus = open_corpus(hub(tmp_path / "r"))
    assert corpus.languages == ("en", "xx")
    assert (content(corpus, "xx", "train"), content(corpus, "xx", "dev")) == ([ADA, OSLO], [OSLO])


def test_a_repository_with_one_language_is_the_default_configuration(tmp_path):
    write_table(tmp_path / "r" / "data" / "train-00000-of-00002.parquet", [ADA], embed=True)
    write_table(tmp_path / "r" / "data" / "train-00001-of-00002.parquet", [OSLO], embed=True)
    corpus = open_corpus(hub(tmp_path / "r", config="default", languages=("xx",)))
    assert content(corpus, "xx", "train") == [ADA, OSLO]
    assert [sentence.id for sentence in corpus.sentences("xx", "train")] == ["train:0", "train:1"]
    with pytest.raises(CorpusError, match="no configuration fits"):
        open_corpus(hub(tmp_path / "r"))


def test_other_formats_are_read_through_datasets(tmp_path):
    lines = [json.dumps({"tokens": words, "ner_tags": tags}) + "\n" for words, tags in CORPUS["en"]["train"]]
    (tmp_path / "r" / "en").mkdir(parents=True)
    (tmp_path / "r" / "en" / "train-1.jsonl").write_text("".join(lines), encoding="utf-8")
    write_card(tmp_path / "r", {"en": "en"}, names=None, splits=("train",))
    assert content(open_corpus(hub(tmp_path / "r")), "en", "train") == CORPUS["en"]["train"]


def test_files_that_no_reader_reads_are_refused(tmp_path):
    write_card(tmp_path / "r", {"en": "en"}, names=None, splits=("train",))
    (tmp_path / "r" / "en").mkdir()
    (tmp_path / "r" / "en" / "train-1.xml").touch()
    with pytest.raises(CorpusError, match=r"train-1\.xml: no table that is read here\. .*refs/convert/parquet"):
        open_corpus(hub(tmp_path / "r"))
    (tmp_path / "r" / "en" / "train-1.xml").rename(tmp_path / "r" / "en" / "train-1.jsonl")
    (tmp_path / "r" / "en" / "train-1.jsonl").write_text('{"tokens": [', encoding="utf-8")
    with pytest.raises(CorpusError, match=r"train-1\.jsonl: cannot be read"):
        open_corpus(hub(tmp_path / "r"))


@pytest.mark.parametrize(
    ("name", "content"), [("train.jsonl", ""), ("train.csv", "tokens,ner_tags\n"), ("train.csv", "")]
)
def test_files_without_rows_are_named(tmp_path, name, content):
    (tmp_path / "r" / "en").mkdir(parents=True)
    (tmp_path / "r" / "en" / name).write_text(content, encoding="utf-8")
    with pytest.raises(CorpusError, match=rf"{name}: (no rows|cannot be read|config)"):
        open_corpus(hub(tmp_path / "r"))
    corpus = open_corpus(hub(write_mirror(tmp_path / "mirror", CORPUS)))
    with pytest.raises(CorpusError, match=rf"{name}: (no rows|cannot be read)"):
        list(iter_transfer(corpus, text_section(tmp_path / "r"), "en", held_out=set()))


def test_what_a_download_leaves_in_hidden_folders_is_no_data(tmp_path):
    write_mirror(tmp_path / "r", CORPUS)
    write_table(tmp_path / "r" / ".cache" / "train-00000-of-00001.parquet", [OSLO])
    card = tmp_path / "r" / "README.md"
    card.write_text(card.read_text(encoding="utf-8").replace("en/train-*", "'**/train-*'"), encoding="utf-8")
    (tmp_path / "r" / "zh-classical" / "train-00000-of-00001.parquet").unlink()
    assert content(open_corpus(hub(tmp_path / "r", languages=("en",))), "en", "train") == CORPUS["en"]["train"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"words": "mots"}, r"no column 'mots' among tokens, ner_tags, langs\. Name it in corpus\.hub\.words"),
        ({"tags": "labels"}, r"no column 'labels' .*corpus\.hub\.tags"),
        ({"words": "ner_tags"}, r"'ner_tags' is list<.*int64>, not lists of texts"),
    ],
)
def test_columns_are_checked_by_name_and_type(tmp_path, fields, message):
    write_mirror(tmp_path / "mirror", CORPUS)
    with pytest.raises(CorpusError, match=rf"mirror, config en, split train: .*{message}"):
        open_corpus(hub(tmp_path / "mirror", **fields))


def test_bad_rows_are_named_with_dataset_configuration_split_and_row(tmp_path):
    bad = [ADA, (["a", ""], ["O", "O"]), OSLO, (["a"], ["O", "O"]), (["a\nb"], ["O"])]
    write_mirror(tmp_path / "mirror", {"en": {**CORPUS["en"], "dev": bad}})
    corpus = open_corpus(hub(tmp_path / "mirror"))
    with pytest.raises(CorpusError) as caught:
        corpus.sentences("en", "dev")
    lines = str(caught.value).splitlines()
    place = f"{tmp_path / 'mirror'}, config en, split validation, row "
    assert [line.removeprefix(place).partition(".")[0] for line in lines] == [
        "1: word 2 is empty",
        "3: 1 words but 2 tags",
        r"4: word 1, 'a\nb', has a line end",
    ]


def test_a_number_without_a_name_is_refused_with_its_row(tmp_path):
    write_mirror(tmp_path / "mirror", CORPUS, card_names=WIKIANN_NAMES[:3])
    with pytest.raises(CorpusError, match=r"split train, row 1: 5 is no tag. Tags are numbers from 0, O, to 2, I-PER"):
        open_corpus(hub(tmp_path / "mirror"))


def test_names_that_are_no_tags_are_refused_where_they_occur(tmp_path):
    names = ("O", "PER", *WIKIANN_NAMES[2:])
    write_mirror(tmp_path / "mirror", CORPUS, card_names=names)
    with pytest.raises(CorpusError, match=r"row 0: 'PER' is no tag"):
        open_corpus(hub(tmp_path / "mirror"))


def test_a_tag_outside_the_types_is_named_with_its_row(tmp_path):
    section = hub(write_mirror(tmp_path / "mirror", CORPUS)).model_copy(update={"types": ("PER",)})
    with pytest.raises(CorpusError, match=r"config en, split train, row 1: tag 'B-LOC': the types are PER"):
        open_corpus(section).sentences("en", "train")


def test_ids_are_split_and_row(tmp_path):
    corpus = open_corpus(hub(write_mirror(tmp_path / "mirror", {"en": {**CORPUS["en"], "dev": [OSLO] * 18}})))
    assert corpus.sentences("en", "dev")[17].id == "validation:17"


def test_the_hash_of_a_folder_follows_bytes_and_columns_and_not_its_place(tmp_path):
    def hashed(place, **fields):
        return open_corpus(hub(place, **fields)).content_hash("en", "dev")

    for name in ("one", "two"):
        write_mirror(tmp_path / name, CORPUS)
    assert hashed(tmp_path / "one") == hashed(tmp_path / "two")
    assert hashed(tmp_path / "one") != hashed(tmp_path / "one", tag_names=WIKIANN_NAMES)
    write_mirror(tmp_path / "two", {**CORPUS, "en": {**CORPUS["en"], "dev": [ADA]}})
    assert hashed(tmp_path / "one") != hashed(tmp_path / "two")


def test_a_folders_revision_is_its_content(tmp_path):
    revisions = set()
    for name, sentence in (("one", ADA), ("two", ADA), ("three", OSLO)):
        write_mirror(tmp_path / name, {"en": {**CORPUS["en"], "dev": [sentence]}})
        source = open_corpus(hub(tmp_path / name)).source
        assert source["hub"] == str(tmp_path / name)
        revisions.add(source["revision"])
    assert len(revisions) == 2


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The Hub's cache, empty; the Hub is offline."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def named_dataset(request):
    return f"org/{request.node.name.partition('[')[0][-60:]}"  # a process looks at one id once


def test_the_cache_serves_a_dataset_by_id_with_the_hub_offline(cache, request):
    dataset = named_dataset(request)
    write_mirror(hub_cache(cache, dataset), CORPUS)
    corpus = open_corpus(hub(dataset))
    assert corpus.languages == ("en", "zh-classical")
    assert content(corpus, "en", "test") == CORPUS["en"]["test"]
    assert corpus.source == {"hub": dataset, "revision": COMMIT}
    assert open_corpus(hub(dataset, revision=COMMIT)).source["revision"] == COMMIT


def test_a_cached_dataset_is_hashed_by_its_commit_and_like_the_same_snapshot_by_path(cache, request):
    dataset = named_dataset(request)
    snapshot = write_mirror(hub_cache(cache, dataset), CORPUS)
    by_id, by_path = open_corpus(hub(dataset)), open_corpus(hub(snapshot))
    assert by_path.source["revision"] == COMMIT
    hashes = [by_id.content_hash(language, split) for language in CORPUS for split in ("train", "dev", "test")]
    assert len(set(hashes)) == len(hashes)
    assert hashes == [by_path.content_hash(language, split) for language in CORPUS for split in CORPUS["en"]]


def test_only_the_languages_of_the_recipe_have_to_be_in_the_cache(cache, request):
    dataset = named_dataset(request)
    snapshot = write_mirror(hub_cache(cache, dataset), CORPUS)
    for path in (snapshot / "zh-classical").iterdir():
        path.unlink()
    assert open_corpus(hub(dataset, languages=("en",))).languages == ("en",)
    with pytest.raises(
        ResourceError, match=r"config zh-classical, split train: .* is not, or not wholly, in the Hub's"
    ):
        open_corpus(hub(dataset))


def test_a_missing_shard_is_found_before_reading(cache, request):
    dataset = named_dataset(request)
    snapshot = write_mirror(hub_cache(cache, dataset), CORPUS)
    (snapshot / "en" / "train-00000-of-00001.parquet").rename(snapshot / "en" / "train-00000-of-00002.parquet")
    with pytest.raises(ResourceError, match=r"split train: en/train-\* of commit 0123456789ab.*include 'en/train-\*'"):
        open_corpus(hub(dataset, languages=("en",)))


def test_a_dataset_that_is_not_in_the_cache_is_a_resource_error_that_says_what_is(cache, request):
    dataset = named_dataset(request)
    write_mirror(hub_cache(cache, dataset), CORPUS)
    with pytest.raises(ResourceError, match=rf"v2: not in the Hub's cache.* The cache has revision {COMMIT}\."):
        open_corpus(hub(dataset, revision="v2"))
    with pytest.raises(ResourceError, match=r"org/none at main: not in the Hub's cache, .*hf download org/none"):
        open_corpus(hub("org/none"))
    with pytest.raises(CorpusError, match=r"no such folder, and no such dataset"):
        open_corpus(hub("./no/such/folder"))


def test_a_broken_card_is_named(tmp_path):
    write_mirror(tmp_path / "mirror", CORPUS)
    for text in (
        "---\nconfigs: [1, 2]\n---\n",
        "---\nconfigs: [\n---\n",
        "---\nconfigs:\n- config_name: en\n  data_files: ../*\n---\n",
        "---\nconfigs:\n- config_name: en\n  data_files: a**\n---\n",
        "---\nconfigs:\n- config_name: en\n  data_files: ''\n---\n",
    ):
        (tmp_path / "mirror" / "README.md").write_text(text, encoding="utf-8")
        with pytest.raises(CorpusError, match=r"mirror/README.md: cannot be read"):
            open_corpus(hub(tmp_path / "mirror"))


@pytest.mark.parametrize("name", ["../../x", "en/../..", "", ".", "x" * 500, "a\nb", "\x1b[31m", "..\\x"])
def test_a_configuration_that_is_no_language_is_named_on_one_line(tmp_path, name):
    write_mirror(tmp_path / "mirror", CORPUS)
    files = "data_files:\n  - split: train\n    path: en/*"
    head = f"---\nconfigs:\n- config_name: {json.dumps(name)}\n  {files}\n---\n"
    (tmp_path / "mirror" / "README.md").write_text(head, encoding="utf-8")
    with pytest.raises(CorpusError, match="no configuration fits") as caught:
        open_corpus(hub(tmp_path / "mirror", config="{language}"))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_a_recipe_is_pinned_to_the_commits_of_its_branches(cache, request):
    dataset = named_dataset(request)
    write_mirror(hub_cache(cache, dataset), CORPUS)
    recipe = read_recipe(
        f"name: a\nteacher: {{checkpoint: b}}\ncorpus: {{hub: {{id: {dataset}}}}}\n"
        f"transfer: {{hub: {{id: {dataset}, text: tokens}}}}\n"
    )
    pinned = pin_revisions(recipe)
    assert (pinned.corpus.hub.revision, pinned.transfer.hub.revision) == (COMMIT, COMMIT)
    assert recipe.corpus.hub.revision == "main"
    assert open_corpus(pinned.corpus).source["revision"] == COMMIT


def text_section(place, **fields):
    return TransferSection(training_text=False, hub=HubTextSection(id=str(place), **fields))


def test_a_text_column_of_the_hub_is_transfer_text_without_duplicates_and_held_out_sentences(tmp_path):
    import pyarrow
    import pyarrow.parquet

    labelled = open_corpus(hub(write_mirror(tmp_path / "mirror", CORPUS)))
    for language in ("en", "qq"):
        (tmp_path / "text" / language).mkdir(parents=True)
        texts = ["New text.\nAt RedCross", None, "", "new text .", f"Only {language}"]
        table = pyarrow.table({"id": range(5), "text": texts, "words": [["No", "text."], None, [], ["b"], ["c"]]})
        pyarrow.parquet.write_table(table, tmp_path / "text" / language / "train.parquet")
    section = text_section(tmp_path / "text")
    found = list(iter_transfer(labelled, section, "en", held_out=held_out_keys(labelled)))
    assert [(s.id, s.words) for s in found] == [("train:0", ("New", "text", ".")), ("train:4", ("Only", "en"))]
    assert transfer_languages(labelled, section) == ("en", "qq", "zh-classical")
    words = text_section(tmp_path / "text", text="words")
    found = list(iter_transfer(labelled, words, "qq", held_out=set()))
    assert [s.words for s in found] == [("No", "text."), ("b",), ("c",)]
    assert transfer_hash(labelled, section, "en") != transfer_hash(labelled, words, "en")
    with pytest.raises(CorpusError, match=r"no column 'txt' among id, text, words\. Name it in transfer\.hub\.text"):
        list(iter_transfer(labelled, text_section(tmp_path / "text", text="txt"), "en", held_out=set()))


def test_words_of_a_labelled_dataset_can_be_transfer_text_of_another_split(tmp_path):
    corpus = open_corpus(hub(write_mirror(tmp_path / "mirror", CORPUS)))
    section = text_section(tmp_path / "mirror", text="tokens", split="validation")
    assert [s.words for s in iter_transfer(corpus, section, "en", held_out=set())] == [("At", "Red", "Cross")]
    with pytest.raises(CorpusError, match="config en, split extra: no such split"):
        list(iter_transfer(corpus, text_section(tmp_path / "mirror", split="extra"), "en", held_out=set()))


def test_corpus_modules_load_no_library_that_a_folder_does_not_need():
    libraries = ("datasets", "pyarrow", "pandas", "huggingface_hub", "fsspec", "torch")
    program = (
        "import sys; import xtremedistil_ner.corpus.check, xtremedistil_ner.corpus.transfer\n"
        f"sys.stdout.write(' '.join(name for name in {libraries} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""

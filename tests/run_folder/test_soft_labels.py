"""The soft-label store: what goes in comes out, at random, and every damage is named before use."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from xtremedistil_ner.errors import StoreError
from xtremedistil_ner.run_folder.artefacts import published_fingerprint
from xtremedistil_ner.run_folder.soft_labels import (
    LanguageCounts,
    count_lost_words,
    open_store,
    seal_store,
    store_fingerprint,
    write_shard,
)
from xtremedistil_ner.run_folder.whole_files import read_json, write_json

TAGS = ("O", "B-PER", "I-PER")
COUNTS = LanguageCounts(read=9, duplicates=1, held_out=2, kept=6, words=12, lost_words=3)
SHARDS = {
    "en-00000": [["Ada", "Byron"], ["x"], ["New\u00a0Delhi", "\u200b", "\u2028"]],
    "en-00001": [["one"]],
    "no-00000": [["Ørsted", "og", "日本"], ["\U0001f600", "!"]],
}
SENTENCES = [sentence for shard in SHARDS.values() for sentence in shard]


def random_rows(n_words, seed):
    random = np.random.default_rng(seed)
    return random.normal(size=(n_words, len(TAGS))).astype(np.float32), random.random(n_words) < 0.7


@pytest.fixture
def rows():
    """Logits and covered flags of each shard."""
    return {name: random_rows(sum(map(len, found)), seed) for seed, (name, found) in enumerate(sorted(SHARDS.items()))}


@pytest.fixture
def folder(tmp_path, rows):
    place = tmp_path / "soft_labels"
    place.mkdir()
    for name, sentences in SHARDS.items():
        logits, covered = rows[name]
        write_shard(place / name, sentences, logits, covered, language=name[:2], fingerprint=f"of {name}")
    seal_store(place, list(SHARDS), fingerprint="whole", tags=TAGS, counts={"en": COUNTS, "no": COUNTS})
    return place


def test_a_store_gives_back_words_logits_flags_and_counts(folder, rows):
    store = open_store(folder)
    assert [words for chunk in store.sentences() for words in chunk] == SENTENCES
    assert (store.n_sentences, store.n_words, store.tags, store.fingerprint) == (6, 12, TAGS, "whole")
    assert store.counts == {"en": COUNTS, "no": COUNTS}
    everything = np.arange(12)
    logits = np.concatenate([logits for logits, _ in rows.values()])
    np.testing.assert_array_equal(store.logits_at(everything), logits.astype(np.float16))
    np.testing.assert_array_equal(
        store.covered_at(everything), np.concatenate([covered for _, covered in rows.values()])
    )
    assert [shard.language for shard in store.shards] == ["en", "en", "no"]


def test_words_are_read_in_any_order_across_shards(folder, rows):
    store = open_store(folder)
    logits = np.concatenate([logits for logits, _ in rows.values()]).astype(np.float16)
    covered = np.concatenate([covered for _, covered in rows.values()])
    for positions in ([11, 0, 6, 6, 5], [7], [], list(range(11, -1, -1))):
        positions = np.array(positions, dtype=np.int64)
        np.testing.assert_array_equal(store.logits_at(positions), logits[positions])
        np.testing.assert_array_equal(store.covered_at(positions), covered[positions])


def test_runs_of_words_come_from_their_sentences(folder):
    store = open_store(folder)
    chosen, first, counts = np.array([5, 0, 2, 4]), np.array([1, 0, 1, 0]), np.array([1, 2, 2, 2])
    expected = [SENTENCES[s][f : f + c] for s, f, c in zip(chosen, first, counts, strict=True)]
    assert store.words_of(chosen, first, counts) == expected


def test_logits_are_mapped_and_not_read_into_memory(folder):
    assert all(isinstance(shard.logits, np.memmap) for shard in open_store(folder).shards)


def test_words_without_a_piece_are_counted(folder, rows):
    covered = rows["no-00000"][1]
    assert count_lost_words(folder / "no-00000") == (5, int((~covered).sum()))


def test_equal_inputs_give_equal_bytes(folder, tmp_path, rows):
    logits, covered = rows["en-00000"]
    again = tmp_path / "again"
    write_shard(again, SHARDS["en-00000"], logits, covered, language="en", fingerprint="of en-00000")
    for path in (folder / "en-00000").iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65520.0, -1e9])
def test_a_logit_that_float16_cannot_hold_is_refused_and_nothing_is_written(tmp_path, value):
    logits = np.zeros((3, 3), dtype=np.float32)
    logits[2, 1] = value
    with pytest.raises(StoreError, match=r"en-00000: the teacher's logits of word 2 are not finite"):
        write_shard(tmp_path / "en-00000", [["a", "b", "c"]], logits, np.ones(3, bool), language="en", fingerprint="f")
    assert list(tmp_path.iterdir()) == []


def test_the_largest_float16_is_kept(tmp_path):
    logits = np.full((1, 3), 65504.0, dtype=np.float32)
    write_shard(tmp_path / "en-00000", [["a"]], logits, np.ones(1, bool), language="en", fingerprint="f")
    seal_store(tmp_path, ["en-00000"], fingerprint="f", tags=TAGS, counts={})
    assert open_store(tmp_path).logits_at(np.array([0])).tolist() == [[65504.0] * 3]


def remove_shard(folder):
    shutil.rmtree(folder / "en-00001")


def remove_file(folder):
    (folder / "en-00001" / "logits.npy").unlink()


def truncate_file(folder):
    path = folder / "en-00001" / "logits.npy"
    path.write_bytes(path.read_bytes()[:-1])


def change_a_bit(folder):
    path = folder / "en-00001" / "logits.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def swap_shards(folder):
    (folder / "en-00001").rename(folder / "away")
    (folder / "en-00000").rename(folder / "en-00001")
    (folder / "away").rename(folder / "en-00000")


def swap_files(folder):
    shutil.copyfile(folder / "no-00000" / "logits.npy", folder / "en-00001" / "logits.npy")


def relabel_shard(folder):
    logits, covered = random_rows(1, seed=99)
    write_shard(folder / "en-00001", [["one"]], logits, covered, language="en", fingerprint="of en-00001")


DAMAGES = [remove_shard, remove_file, truncate_file, change_a_bit, swap_shards, swap_files, relabel_shard]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_names_the_shard(folder, damage):
    damage(folder)
    with pytest.raises(StoreError) as caught:
        open_store(folder)
    assert str(folder / ("en-00000" if damage is swap_shards else "en-00001")) in str(caught.value)
    assert "Remove" in str(caught.value)


@pytest.mark.parametrize("damage", [remove_shard, remove_file, truncate_file])
def test_a_store_with_a_hole_has_no_fingerprint_so_that_the_same_command_fills_it(folder, damage):
    assert store_fingerprint(folder) == "whole"
    damage(folder)
    assert store_fingerprint(folder) is None
    assert published_fingerprint(folder / "en-00000") == "of en-00000"


def test_an_unsealed_store_is_none(folder):
    (folder / "manifest.json").unlink()
    assert store_fingerprint(folder) is None
    with pytest.raises(StoreError, match=r"manifest\.json: missing or broken"):
        open_store(folder)


@pytest.mark.parametrize("key", ["shards", "tags", "languages", "fingerprint"])
def test_a_manifest_of_something_else_is_named(folder, key):
    manifest = read_json(folder / "manifest.json")
    del manifest[key]
    write_json(folder / "manifest.json", manifest)
    with pytest.raises(StoreError, match=r"manifest\.json: not the manifest of a store"):
        open_store(folder)


def test_no_pickle_is_ever_read(folder):
    shard = folder / "en-00001"
    np.save(shard / "logits.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    manifest = read_json(shard / "manifest.json")
    from xtremedistil_ner.run_folder.artefacts import MANIFEST
    from xtremedistil_ner.run_folder.whole_files import sha256_file

    path = shard / "logits.npy"
    manifest["files"]["logits.npy"] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    write_json(shard / MANIFEST, manifest)
    whole = read_json(folder / MANIFEST)
    whole["shards"][1]["manifest_sha256"] = sha256_file(shard / MANIFEST)
    write_json(folder / MANIFEST, whole)
    with pytest.raises(StoreError):
        open_store(folder)

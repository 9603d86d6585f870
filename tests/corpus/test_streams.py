"""Lines of plain and compressed text files."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random

import pytest
import zstandard

from xtremedistil_ner.corpus.streams import LONGEST_LINE_BYTES, open_raw, open_text
from xtremedistil_ner.errors import CorpusError

PACKERS = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
PACKED = [suffix for suffix in PACKERS if suffix]
NOISE = "".join(f"{random.Random(number).random()}\n" for number in range(3000)).encode()  # hardly compressible


@pytest.mark.parametrize("suffix", PACKERS)
def test_every_compression_gives_the_same_lines(tmp_path, suffix):
    path = tmp_path / f"text.txt{suffix}"
    path.write_bytes(PACKERS[suffix](NOISE))
    assert list(open_text(path)) == NOISE.decode().splitlines()


@pytest.mark.parametrize("suffix", PACKED)
def test_several_members_or_frames_are_read_to_the_end(tmp_path, suffix):
    path = tmp_path / f"text.txt{suffix}"
    path.write_bytes(PACKERS[suffix](b"one\n") + PACKERS[suffix](b"two\n"))
    assert list(open_text(path)) == ["one", "two"]


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("missing_bytes", [1, 1000])
def test_a_file_that_is_cut_short_is_named(tmp_path, suffix, missing_bytes):
    path = tmp_path / f"text.txt{suffix}"
    path.write_bytes(PACKERS[suffix](NOISE)[:-missing_bytes])
    with pytest.raises(CorpusError, match=rf"text\.txt\{suffix}: damaged or cut short"):
        list(open_text(path))


@pytest.mark.parametrize("suffix", PACKED)
def test_a_file_that_is_not_what_its_name_says_is_named(tmp_path, suffix):
    path = tmp_path / f"text.txt{suffix}"
    path.write_bytes(b"plain text, not compressed at all\n" * 9)
    with pytest.raises(CorpusError, match="damaged or cut short"):
        list(open_text(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CorpusError, match=r"absent\.txt: no such file"):
        list(open_text(tmp_path / "absent.txt"))


@pytest.mark.parametrize("suffix", PACKERS)
def test_the_rest_of_a_line_that_is_too_long_is_never_held(tmp_path, suffix):
    path = tmp_path / f"text.txt{suffix}"
    path.write_bytes(PACKERS[suffix](NOISE + b"one\n" + NOISE.replace(b"\n", b"") * 70 + b"\ntwo\n"))
    lines = list(open_raw(path))
    assert [line[:4] for line in lines[3000:]] == [b"one\n", NOISE[:4], b"two\n"]
    assert max(map(len, lines)) == LONGEST_LINE_BYTES + 1
    with pytest.raises(CorpusError, match=rf"text\.txt{suffix}:3002: this line is longer than 1 MiB"):
        list(open_text(path))


@pytest.mark.parametrize("suffix", PACKED)
def test_a_file_that_expands_as_no_text_does_is_refused(tmp_path, suffix):
    path = tmp_path / f"text.txt{suffix}"
    path.write_bytes(PACKERS[suffix]((b"\0" * 999 + b"\n") * (1 << 15)))
    with pytest.raises(CorpusError, match=r"expands to more than 300 times its size"):
        sum(map(len, open_raw(path)))


def test_a_small_file_expands_to_four_mebibytes_at_most(tmp_path):
    """7 kB would be 5 MiB of the shortest sentences, and these 200 MB of memory."""
    path = tmp_path / "train.tsv.gz"
    sentence = b"a\tO\n\n"
    path.write_bytes(gzip.compress(sentence * (1 << 19)))
    assert sum(map(len, open_raw(path))) == 5 << 19
    path.write_bytes(gzip.compress(sentence * (1 << 20)))
    with pytest.raises(CorpusError, match=r"expands to more than 300 times its size"):
        sum(map(len, open_raw(path)))


def test_invalid_utf_8_is_reported_with_line_and_column(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("gut\nschön ".encode() + b"\xff da\n")
    lines = open_text(path)
    assert next(lines) == "gut"
    with pytest.raises(CorpusError, match=r"text\.txt:2:7: byte 0xff is not UTF-8"):
        next(lines)


def test_lines_end_at_line_feeds_only_and_lose_carriage_return_and_byte_order_mark(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeffa\u2028b\r\n\ufeffc\x85d\n\ne".encode())
    assert list(open_text(path)) == ["a\u2028b", "\ufeffc\x85d", "", "e"]

"""Files are written whole; hashes of values."""

from __future__ import annotations

import pytest

from xtremedistil_ner.run_folder.whole_files import make_fingerprint, read_json, write_json


def test_json_is_written_whole_and_never_with_nan(tmp_path):
    path = tmp_path / "report.json"
    write_json(path, {"f1": 0.5})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"f1": float("nan")})
    assert read_json(path) == {"f1": 0.5}
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def test_a_fingerprint_depends_on_values_and_not_on_the_order_of_keys():
    assert make_fingerprint({"a": 1, "b": [2]}) == make_fingerprint({"b": [2], "a": 1})
    assert make_fingerprint({"a": 1}) != make_fingerprint({"a": 2})
    assert make_fingerprint("a", "b") != make_fingerprint("ab")

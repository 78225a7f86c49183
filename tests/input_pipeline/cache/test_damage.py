"""Prepared data that is damaged: found, said, and prepared again."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from input_pipeline import dataset
from input_pipeline.cache import manifest, mapped_array, prepared
from input_pipeline.datasets import image_folder
from tests.input_pipeline.image_files import both, load


def spoil(path, kind):
    content = bytearray(path.read_bytes())
    if kind == "delete":
        path.unlink()
    elif kind == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "flip":
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    else:
        path.write_bytes(b"\x93garbage" * 40)


@pytest.mark.parametrize("kind", ["delete", "truncate", "flip", "garbage"])
def test_every_damaged_file_is_named_and_prepared_again(folder, caplog, kind):
    data = load(folder)
    expected = both(data).read(range(12))["image"]
    place = pathlib.Path(data.facts["prepared_in"])
    files = [path for path in place.rglob("*") if path.is_file()]
    assert len(files) > 6
    for path in files:
        if kind == "delete" and path.name == manifest.NAME:
            continue  # as an older version has left it
        caplog.clear()
        spoil(path, kind)
        again = both(load(folder))
        np.testing.assert_array_equal(again.read(range(12))["image"], expected)
        assert f"{path} " in caplog.text
        assert "prepared again" in caplog.text


def test_damaged_block_of_interrupted_preparation_is_made_again(
    folder, monkeypatch, caplog
):
    monkeypatch.setattr(image_folder, "_BLOCK_FILES", 4)

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepared, "_table_facts", stop)
        with pytest.raises(KeyboardInterrupt):
            load(folder)
    (shard,) = (folder.parent / "cache").glob("*/*.work/blocks/000001/train.array*")
    spoil(shard, "flip")
    resumed = both(load(folder)).read(range(12))["image"]
    assert "the block is prepared again" in caplog.text
    fresh = both(load(folder, cache=folder.parent / "other")).read(range(12))["image"]
    np.testing.assert_array_equal(resumed, fresh)


def test_cache_that_is_damaged_and_cannot_be_written_is_answer(folder, monkeypatch):
    place = pathlib.Path(load(folder).facts["prepared_in"])
    spoil(place / "facts.json", "flip")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(prepared.shutil, "rmtree", refuse)
    with pytest.raises(dataset.DataError, match="facts.json is not .*data.cache"):
        load(folder)


def test_advice_for_damaged_record_works(folder, monkeypatch):
    """A file too large to be compared as a whole: reading finds out."""
    monkeypatch.setattr(manifest, "WHOLE_BYTES", 0)
    monkeypatch.setattr(manifest, "_ENDS", 16)
    data = load(folder)
    expected = data.train.read(range(len(data.train)))["image"]
    place = pathlib.Path(data.facts["prepared_in"])
    (shard,) = place.glob("images/*/*/*-train.array_record*")
    content = bytearray(shard.read_bytes())
    for start in (100, len(content) // 2):  # a record, and the header of the file
        damaged = bytearray(content)
        damaged[start : start + 3000] = bytes(3000)
        shard.write_bytes(damaged)
        with pytest.raises(dataset.DataError, match=f"Delete {place} and run"):
            both(load(folder)).read(range(12))
    shutil.rmtree(place)
    again = load(folder).train
    np.testing.assert_array_equal(again.read(range(len(again)))["image"], expected)


@pytest.mark.parametrize("kind", ["delete", "truncate", "flip", "garbage"])
@pytest.mark.parametrize("ending", [".npy", ".json"])
def test_damaged_array_is_made_again(tmp_path, caplog, kind, ending):
    array, calls = np.arange(1000.0), []

    def write(draft):
        calls.append(draft)
        np.save(draft, array)
        return {"shape": (1000,)}

    stored, note = mapped_array.cached("kind", [1], str(tmp_path), write)
    assert note == {"shape": [1000]}
    assert mapped_array.cached("kind", [1], str(tmp_path), write) == (stored, note)
    assert len(calls) == 1
    spoil(stored.with_suffix(ending), kind)
    stored, note = mapped_array.cached("kind", [1], str(tmp_path), write)
    np.testing.assert_array_equal(np.load(stored), array)
    assert note == {"shape": [1000]}
    assert len(calls) == 2
    assert kind == "delete" or "prepared again" in caplog.text


def test_drafts_of_killed_processes_are_removed(tmp_path):
    import socket

    folder = tmp_path / "kind"
    folder.mkdir()
    dead = folder / f".abc.999999999.{socket.gethostname()}.npy"
    other = folder / ".abc.999999999.another-machine.npy"
    for path in (dead, other):
        path.write_bytes(b"half")
    mapped_array.cached("kind", [1], str(tmp_path), lambda d: np.save(d, np.ones(3)))
    assert not dead.exists()
    assert other.exists()


def test_manifest_is_sealed(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(manifest.seal({"a": [1, 2.5]}))
    assert manifest.unseal(path) == {"a": [1, 2.5]}
    path.write_text(json.dumps({"value": {"a": [1, 3.5]}, "crc": "0"}))
    assert manifest.unseal(path) is None

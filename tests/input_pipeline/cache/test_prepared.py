"""Preparing a folder: interruptions, several processes, a cache in use."""

import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from input_pipeline import dataset
from input_pipeline.cache import array_records, prepared
from input_pipeline.datasets import image_folder
from input_pipeline.formats import image as image_format
from input_pipeline.records import columns
from tests.input_pipeline.image_files import both, load

ROOT = pathlib.Path(__file__).parents[3]

KILLED = """
import os, signal, sys
from input_pipeline.formats import image as image_format
from input_pipeline.datasets import image_folder
image_folder._BLOCK_FILES = 4
decode, calls = image_format.decode, []
def deadly(*args):
    calls.append(args)
    if len(calls) > 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(*args)
image_format.decode = deadly
path, cache = sys.argv[1:]
image_folder.load(path=path, cache=cache, size=16, workers=1, progress=False)
"""


def test_killed_preparation_resumes_at_first_open_block(folder, monkeypatch):
    cache = folder.parent / "cache"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(cache)], cwd=ROOT, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    monkeypatch.setattr(image_folder, "_BLOCK_FILES", 4)
    seen, decode = [], image_format.decode
    monkeypatch.setattr(
        image_format, "decode", lambda *args: (seen.append(args[0]), decode(*args))[1]
    )
    resumed = both(load(folder))
    assert len(seen) == 8  # the first of three blocks was finished
    fresh = both(load(folder, cache=folder.parent / "other"))
    assert resumed.table["filename"] == fresh.table["filename"]
    np.testing.assert_array_equal(
        resumed.read(range(12))["image"], fresh.read(range(12))["image"]
    )
    assert not list(cache.glob("*/*.work"))


class Interrupted(Exception):
    pass


@pytest.mark.parametrize(
    ("module", "function"),
    [(array_records, "_gather"), (columns, "write"), (prepared, "_table_facts")],
)
def test_interruption_while_shards_are_written_is_resumed(
    folder, monkeypatch, module, function
):
    def interrupt(*args, **kwargs):
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(module, function, interrupt)
        with pytest.raises(Interrupted):
            load(folder)
    monkeypatch.setattr(image_format, "decode", interrupt)  # nothing is decoded again
    assert len(both(load(folder))) == 12


def test_leftovers_of_finished_preparation_are_removed(folder):
    place = pathlib.Path(load(folder).facts["prepared_in"])
    left = place.with_suffix(".work") / "blocks" / "000000"
    left.mkdir(parents=True)
    load(folder)
    assert not place.with_suffix(".work").exists()


def test_several_processes_make_same(folder, monkeypatch):
    monkeypatch.setattr(image_folder, "_BLOCK_FILES", 4)
    many = both(load(folder, workers=2))
    monkeypatch.undo()
    one = both(load(folder, cache=folder.parent / "other"))
    assert many.table["filename"] == one.table["filename"]
    np.testing.assert_array_equal(
        many.read(range(12))["image"], one.read(range(12))["image"]
    )


def test_second_process_waits_and_then_opens(folder, monkeypatch, caplog):
    first = load(folder)
    place = pathlib.Path(first.facts["prepared_in"])
    hidden = place.with_name("hidden")
    os.rename(place, hidden)
    monkeypatch.setattr(image_format, "decode", None)  # it would fail to decode itself
    with open(place.with_suffix(".lock"), "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = []
        waiting = threading.Thread(target=lambda: found.append(load(folder)))
        waiting.start()
        time.sleep(0.3)
        assert waiting.is_alive()
        os.rename(hidden, place)
    waiting.join(10)
    assert len(found[0].train) == len(first.train)


def test_cache_that_cannot_be_written_is_named(folder):
    (folder.parent / "cache").write_text("in the way")
    with pytest.raises(dataset.DataError, match="data.cache"):
        load(folder)

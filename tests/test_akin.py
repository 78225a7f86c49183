"""The Python API on a run of a few steps."""

import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

import akin
import main
from reporting.figures import run_figures
from tests.train_lib import tiny_run
from train_lib.errors import InputError

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run opened with `akin.open`, its network TinyNet."""
    folder = tmp_path_factory.mktemp("akin")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        cache = folder / "cache"
        cache.mkdir()
        patch.setenv("AKIN_CACHE", str(cache))
        (cache / "xla").symlink_to(jax.config.jax_compilation_cache_dir)
        patch.setattr(main, "_prepare_jax", lambda: None)
        patch.setattr(run_figures, "write", lambda folder, history: {})
        arguments = tiny_run.arguments(folder / "run", train__epochs=0.5)
        assert main.main(arguments, build=tiny_run.build) == 0
        yield akin.open(folder / "run", build=tiny_run.build)


@pytest.fixture
def files(tmp_path):
    """Three PNG files of noise."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for path in paths:
        pixels = rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


def test_report_is_at_hand(run):
    assert 0 <= run.metrics["eval/brand/recall@1"]["value"] <= 1
    assert set(run.gates["instance"]) >= {"passed", "required", "value", "bound"}
    assert isinstance(run.alarms, list)
    assert run.verdict in repr(run)


def test_embeddings_of_files_are_those_of_their_pixels(run, files):
    z = run.embed(files)
    assert z.shape[0] == 3
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)
    pixels = [np.asarray(Image.open(path)) for path in files]
    np.testing.assert_array_equal(run.embed(pixels), z)
    np.testing.assert_array_equal(run.embed(files[1]), z[1:2])
    np.testing.assert_array_equal(run.embed(files[0].parent), z)


def test_search_ranks_by_cosine(run, files):
    hits = run.search(files[0], top=5)
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert all(hit["name"] for hit in hits)


def test_record_of_run_does_not_find_itself(run):
    first = run.search("id:0", top=3)
    assert 0 not in [hit["id"] for hit in first]


def test_wrong_input_is_named(run, tmp_path):
    with pytest.raises(InputError, match="no directory"):
        akin.open(tmp_path / "none")
    with pytest.raises(InputError, match="top=0; expected 1"):
        run.search("id:0", top=0)
    with pytest.raises(ValueError, match="none"):
        run.embed(tmp_path / "none.png")
    with pytest.raises(InputError, match="got no images"):
        run.embed([])

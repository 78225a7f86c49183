"""Starting from another run or a file: every copy of the network, nothing else."""

import pathlib

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from reporting import run_dir as files
from tests.train_lib import tiny_run
from train_lib import pretrained, schedules, train_step
from train_lib.checkpoints import Checkpoints
from train_lib.config import load_recipe
from train_lib.errors import InputError
from train_lib.experiment import Experiment

ROOT = pathlib.Path(__file__).parents[2]
FILE = ROOT / "tests" / "models" / "recorded" / "mamba.safetensors"


def recipe(name, build=Experiment.from_config, **changes):
    overrides = {k.replace("__", "."): str(v) for k, v in changes.items()}
    config = load_recipe(f"{ROOT}/configs/{name}.py:smoke", overrides).config
    return build(config)


def first_state(experiment):
    objective = experiment.objective(10, axis_name=None)
    tx = experiment.optimizer(experiment.schedule(10, schedules.Horizon(0, 10)))
    batch, seed = experiment.example_batch(), experiment.config.seed
    init = jax.jit(lambda: train_step.init_state(objective, tx, seed, batch))
    return init()


def save_run(experiment, folder):
    """Write a workdir with a checkpoint of a state; return the state."""
    state = first_state(experiment)
    described = {"config": files.plain(experiment.config)}
    files.write_config(folder, described)
    checkpoints = Checkpoints(folder / files.CHECKPOINTS, keep=1)
    checkpoints.save(3, state, {}, {}, best=None)
    checkpoints.close()
    return state


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def differ(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return any(np.any(np.asarray(x) != np.asarray(y)) for x, y in pairs)


def tiny(name, **changes):
    return recipe(name, build=tiny_run.build, **changes)


def test_every_copy_starts_as_runs_network_and_heads_stay(tmp_path):
    saved = save_run(tiny("triplet_mri", seed=5, transform__coils=1), tmp_path)
    config = tiny("triplet_mri", transform__coils=1, model__init_from=tmp_path)
    moco = tiny("moco_effnet", model__init_from=tmp_path)
    # Scans of one coil have two channels: an image has three, so it does not fit.
    state = first_state(moco)
    with pytest.raises(InputError, match="another network"):
        pretrained.start_from(moco, state.params, state.extra)
    fresh = first_state(config)
    assert differ(fresh.params, saved.params)
    params, extra = pretrained.start_from(config, fresh.params, fresh.extra)
    assert_same(params, saved.params)
    assert_same(extra, saved.extra)


def test_target_network_starts_as_online_one(tmp_path):
    saved = save_run(tiny("moco_effnet", seed=5), tmp_path)
    config = tiny("moco_effnet", model__init_from=tmp_path, objective__hidden_dim=24)
    fresh = first_state(config)
    params, extra = pretrained.start_from(config, fresh.params, fresh.extra)
    network = saved.params["encoder"]["backbone"]
    assert differ(fresh.params["encoder"]["backbone"], network)
    assert_same(params["encoder"]["backbone"], network)
    assert_same(extra["target_params"]["backbone"], network)
    # Heads of another width stay, and so does every predictor.
    assert_same(params["encoder"]["projector"], fresh.params["encoder"]["projector"])
    assert_same(params["predictor"], fresh.params["predictor"])


@pytest.mark.parametrize("frozen", [(), ("backbone", "projector")])
def test_projector_comes_along_where_both_have_it(tmp_path, frozen):
    saved = save_run(tiny("simsiam_resnet", seed=5), tmp_path)
    config = tiny("fastap_resnet", model__init_from=tmp_path, objective__frozen=frozen)
    fresh = first_state(config)
    params, extra = pretrained.start_from(config, fresh.params, fresh.extra)
    mine = params | extra["frozen"]
    for part in ("backbone", "projector"):
        assert_same(mine[part], saved.params["encoder"][part])
        theirs = saved.extra["batch_stats"]["encoder"].get(part, {})
        assert_same(extra["batch_stats"][part], theirs)
    assert differ(
        mine["projector"], (fresh.params | fresh.extra["frozen"])["projector"]
    )
    assert_same(params["head"], fresh.params["head"])
    other = tiny(
        "fastap_resnet", model__init_from=tmp_path, objective__proj_dim=20
    )  # a projector of another width stays at random
    fresh = first_state(other)
    params, _ = pretrained.start_from(other, fresh.params, fresh.extra)
    assert_same(params["projector"], fresh.params["projector"])
    assert_same(params["backbone"], saved.params["encoder"]["backbone"])


def test_network_starts_from_file_and_its_input_stays():
    fields = {"model__width": 16, "model__layers": 2, "model__states": 4}
    config = recipe("infonce_mamba", **fields, model__init_from=FILE)
    fresh = first_state(config)
    params, _ = pretrained.start_from(config, fresh.params, fresh.extra)
    tensors = load_file(FILE)
    backbone = params["predictor"]["backbone"]
    given = tensors["layers.1.mixer.A_log"]
    np.testing.assert_array_equal(backbone["mixers_1"]["a_log"], given)
    assert_same(params["predictor"]["out"], fresh.params["predictor"]["out"])


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_folder_of_hugging_face_is_file_of_weights(tmp_path, name):
    fields = {"model__width": 16, "model__layers": 2, "model__states": 4}
    (tmp_path / "config.json").write_text('{"architectures": ["MambaModel"]}')
    (tmp_path / name).write_bytes(FILE.read_bytes())  # told apart by its first bytes
    config = recipe("infonce_mamba", **fields, model__init_from=tmp_path)
    fresh = first_state(config)
    params, _ = pretrained.start_from(config, fresh.params, fresh.extra)
    given = load_file(FILE)["layers.1.mixer.A_log"]
    backbone = params["predictor"]["backbone"]
    np.testing.assert_array_equal(backbone["mixers_1"]["a_log"], given)
    assert pretrained.other_embed(config) is None
    pretrained.check_path(config.config)
    config.config.model.init_from = str(tmp_path / name)
    again, _ = pretrained.start_from(config, fresh.params, fresh.extra)
    assert_same(params, again)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", r"without checkpoints and weights; expected the workdir of"),
        ("model.safetensors.index.json", r"weights in several files; .*max_shard_size"),
    ],
)
def test_folders_without_weights_in_one_file(tmp_path, name, message):
    (tmp_path / name).write_text('{"architectures": ["MambaModel"]}')
    config = recipe("infonce_mamba", model__init_from=tmp_path)
    for ask in (lambda: pretrained.start_from(config, {}, {}),
                lambda: pretrained.check_path(config.config)):  # fmt: skip
        with pytest.raises(InputError, match=message):
            ask()


def test_weights_that_do_not_match_are_named(tmp_path):
    experiment = recipe("infonce_mamba", model__init_from=tmp_path / "nothing")
    state = first_state(experiment)
    with pytest.raises(InputError, match=r"nothing'; expected the workdir of a run"):
        pretrained.start_from(experiment, state.params, state.extra)
    experiment.config.model.init_from = str(FILE)  # two layers, this network has one
    with pytest.raises(InputError, match=r"init_from: .*left over: layers\.1"):
        pretrained.start_from(experiment, state.params, state.extra)
    save_run(recipe("infonce_mamba", model__expand=3), tmp_path)
    experiment.config.model.init_from = str(tmp_path)
    with pytest.raises(InputError, match="expand = 3 there and 2 here"):
        pretrained.start_from(experiment, state.params, state.extra)
    experiment = recipe("triplet_mri", model__init_from=FILE)
    with pytest.raises(InputError, match="'cnn'.*read for efficientnet, mamba, r"):
        pretrained.start_from(experiment, {}, {})

"""The real command line with a network that compiles in a second.

Run as a script: `python tiny_run.py ARGUMENTS OF main.py`.
"""

import dataclasses
import pathlib
import sys
import types

ROOT = pathlib.Path(__file__).parents[2]
OVERRIDES = {
    "data.brands": "25",
    "data.val_fraction": "0.2",
    "data.size": "16",
    "transform.size": "16",
    "train.batch_size": "16",
    "train.log_every_steps": "1",
    "train.checkpoint_every_epochs": "0.4",
    "train.epochs": "2",
    "evaluate.batch_size": "32",
    "evaluate.every_epochs": "1",
    "evaluate.loss_batches": "0",
}


def arguments(workdir, **more) -> list[str]:
    """Command line of a run of twelve steps."""
    fields = OVERRIDES | {k.replace("__", "."): str(v) for k, v in more.items()}
    recipe = "--config=configs/moco_effnet.py:smoke"
    return [recipe, f"--workdir={workdir}"] + [
        f"--config.{k}={v}" for k, v in fields.items()
    ]


def build(config, **parts):
    """Build the parts of a config, with TinyNet in place of its network.

    Args:
        config: Config.
        **parts: Further parts to replace, such as `load`.
    """
    from tests import tiny
    from train_lib.experiment import Experiment

    def model(axis_name=None, **_):
        return tiny.TinyNet(axis_name=axis_name)

    experiment = Experiment.from_config(config)
    return dataclasses.replace(experiment, model=model, build=build, **parts)


def build_with_data(change):
    """Return a `build` whose dataset is what `change(data)` makes of it."""

    def build_changed(config):
        load = build(config).load
        return build(config, load=lambda **fields: change(load(**fields)))

    return build_changed


def leave_out_pictures() -> None:
    """No figures and no TensorBoard: half of the seconds of such a process."""
    from reporting.figures import run_figures
    from train_lib import writers

    board = types.SimpleNamespace(write_scalars=lambda *_: None)
    writers.Writer._board = lambda self, kind: board
    run_figures.write = lambda folder, events: {}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    import main

    leave_out_pictures()
    sys.exit(main.main(sys.argv[1:], build=build))

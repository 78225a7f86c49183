"""FastAP on ultrasound: frames of the same posture rank before all others.

    python main.py --config=configs/fastap_resnet.py --workdir=runs/us2
        on procedural cine; `--config.model.init_from=runs/us` goes on from a run of
        configs/simsiam_resnet.py, and `--config` of both, in one command, runs both
    python main.py --config=configs/fastap_resnet.py:real,joint --config.data.path=FILE
        your own cine with a table: parts of a joint's range are labels
    python main.py --config=configs/fastap_resnet.py:real,pseudo --config.data.path=FILE
        no labels: stable segments of the motion are, `data.reference=IMAGE` picks some
    python main.py --config=configs/fastap_resnet.py:real,views --config.data.path=FILE
        no labels at all: the two views of a frame find each other

Variants are those of the first stage and combine with commas. `objective.frozen` keeps
the backbone, or backbone and projector, as they begin.
"""

from ml_collections import ConfigDict

from configs import simsiam_resnet


def get_config(arg: str = "") -> ConfigDict:
    """The recipe; `arg` names variants, separated by commas."""
    asked = [name for name in arg.split(",") if name]
    known = {**simsiam_resnet.VARIANTS, **VARIANTS}
    for name in asked:
        if name not in known:
            raise ValueError(f"got variant {name!r}; choices: {', '.join(known)}")
    first = [name for name in asked if name in simsiam_resnet.VARIANTS]
    config = simsiam_resnet.get_config(",".join(first)).unlock()
    _second_stage(config, first)
    for name in asked:
        if name in VARIANTS:
            VARIANTS[name](config)
    return config.lock()


def _second_stage(config: ConfigDict, variants: list[str]) -> None:
    heads = config.objective
    config.objective = ConfigDict(
        {
            "name": "fast_ap",
            "relevance": "label",
            "bins": 10,
            "pulse": "triangular",
            "sigma": 0.05,
            # The projector is the first stage's and starts as it ended.
            "hidden_dim": heads.hidden_dim,
            "proj_dim": heads.proj_dim,
            "embed_dim": 128,
            "frozen": (),
        }
    )
    config.data.delta = 0
    config.optimizer = ConfigDict(
        {
            "name": "adamw",
            "learning_rate": 4e-3,
            "weight_decay": 1e-4,
            "momentum": 0.9,
            "b2": 0.999,
            "clip_norm": 0.0,
            "no_decay": ("1d",),
            "constant": (),
        }
    )
    config.schedule.update(decay_per="step", warmup_epochs=1.0)
    config.train.update(batch_size=64, epochs=14.0, samples_per_class=4)
    config.train.checkpoint_every_epochs = config.evaluate.every_epochs = 7.0
    config.evaluate.baselines = ("pixels", "untrained", "start")
    del config.gates["loss"]
    config.gates.learned = {
        "metric": "train/loss",
        "op": "<",
        "value": "chance",
        "times": 0.7,
        "required": True,
    }
    if "above_untrained" in config.gates:
        error = config.gates.above_untrained.metric.endswith("/error")
        gate = simsiam_resnet.below if error else simsiam_resnet.above
        config.gates.above_start = gate("baseline:start")
        for name in config.gates:
            config.gates[name].required = True
        # Medians of errors have wide intervals where most frames are nearly right.
        config.gates.above_start.required = not error
    if "full" in variants:
        _pseudo(config)
        config.objective.update(bins=25, embed_dim=256)
        config.optimizer.learning_rate = 1e-3
        config.train.update(epochs=200.0)
    if "smoke" in variants:
        config.objective.embed_dim = 16
        config.schedule.warmup_epochs = 0.25
        config.train.update(batch_size=16, epochs=2.0)
        config.evaluate.every_epochs = 1.0
        for gate in config.gates.values():
            gate.required = False


def _views(config: ConfigDict) -> None:
    config.objective.relevance = "views"
    config.train.samples_per_class = 1


def _pseudo(config: ConfigDict) -> None:
    config.data.label = "pseudo"
    config.data.pseudo = ConfigDict(
        {
            "window": 5,
            "percentile": 20.0,
            "least": 3,
            "reference_percentile": 30.0,
        }
    )


VARIANTS = {"views": _views, "pseudo": _pseudo}

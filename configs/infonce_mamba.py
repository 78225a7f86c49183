"""Articles: which vector comes next? A Mamba, InfoNCE and a cosine in one space.

    python main.py --config=configs/infonce_mamba.py --workdir=runs/articles
        drawn articles whose best possible score is known: nothing to download
    python main.py --config=configs/infonce_mamba.py:real --config.data.path=FILE.npz
        your own vectors of 384 with article and position; another width by
        --config.transform.width=N
    python main.py --config=configs/infonce_mamba.py:full --config.data.path=FILE
        the scale of the report: mamba_s, 768-d vectors, 4 x 256 with 1,024 candidates
    python main.py --config=configs/infonce_mamba.py:v1 --workdir=runs/v1
        the report's first try: InfoNCE behind a head of its own, weights .70 and .30
    python main.py --config=configs/infonce_mamba.py:tree --workdir=runs/tree
        the report's decision tree as gates: more epochs, or the other try

Variants combine with commas; `smoke` shrinks any of them to seconds. docs/articles.md
says what is asked and why; docs/recipes.md what was measured.
"""

from ml_collections import ConfigDict

SIMPLE = ("persistence", "mean", "fitted_average", "exponential_average", "ridge")


def get_config(arg: str = "") -> ConfigDict:
    """The recipe; `arg` names variants, separated by commas."""
    config = ConfigDict(
        {
            "seed": 0,
            "model": {
                "name": "mamba",
                "width": 128,
                "layers": 2,
                "states": 8,
                "expand": 2,
                "kernel": 4,
                "rank": 0,
                "project": True,
                "epsilon": 1e-5,
                "scan": "auto",
                "chunk": 64,
                "dtype": "float32",
                "sync_batchnorm": False,
                "init_from": "",
            },
            "objective": {
                "name": "next_vector",
                "temperature": 0.07,
                "infonce_weight": 0.85,
                "cosine_weight": 0.15,
                "head": (),
                "residual_from": "last",
                "rank": 0,
                "false_negatives": "keep",
                "own_context": "mask",
                "same_article_negatives": 0,
                "key_block_size": 0,
            },
            "data": {
                "name": "topics",
                "train": 3000,
                "validation": 300,
                "length": 24,
                "topics": 4,
                "topic": 0.25,
                "stay": 0.35,
                "move": 0.7,
                "noise": 0.9,
                "cross_article_negatives": 4,
            },
            "transform": {
                "name": "corruption",
                "context": 5,
                "width": 64,
                "dropout": 0.2,
                "span": 0.1,
            },
            "optimizer": {
                "name": "adamw",
                "learning_rate": 2e-3,
                "weight_decay": 0.05,
                "momentum": 0.9,
                "b2": 0.99,
                "clip_norm": 1.0,
                # By name: a_log has two axes and is no matrix.
                "no_decay": ("1d", "a_log$"),
            },
            "schedule": {
                "name": "cosine",
                "epochs": 0.0,
                "warmup_epochs": 1.0,
                "end_lr": 0.0,
                "milestones": (),
                "factor": 0.1,
                "patience": 0,
            },
            "train": {
                "batch_size": 256,
                "samples_per_class": 1,
                "epochs": 10.0,
                "grad_cache_chunks": 1,
                "negatives": "global",
                "log_every_steps": 20,
                "checkpoint_every_epochs": 2.0,
                "keep_checkpoints": 2,
                "monitor": "eval/next/recall@5",
                "monitor_mode": "max",
                "patience": 0,
                "threads": 1,
                "prefetch": 4,
                "price_per_hour": 0.0,
            },
            "evaluate": {
                "every_epochs": 1.0,
                "batch_size": 256,
                "loss_batches": 4,
                "final_sets": (),
                "baselines": (*SIMPLE, "best", "untrained"),
                "examples": "next",
                "example_queries": 12,
                "sets": {
                    "next": {
                        "name": "next_vector",
                        "k": (1, 5, 10, 50),
                        "pool": 0,
                        "max_queries": 10_000,
                    },
                    "geometry": {"name": "geometry"},
                },
            },
            "alarms": {
                "stop": ("not_finite", "collapse", "no_positives"),
                "ignore": (),
            },
            "gates": {
                "best_recall": _gate("recall@5", "baseline:best", times=0.9),
                "best_cosine": _gate("cosine", "baseline:best", times=0.9),
                **_baseline_gates(),
            },
        }
    )
    config.schedule.epochs = config.train.get_oneway_ref("epochs")
    _same_everywhere(config)
    variants = {
        "real": _real, "full": _full, "v1": _v1, "tree": _tree, "smoke": _smoke,
    }  # fmt: skip
    for name in filter(None, arg.split(",")):
        if name not in variants:
            raise ValueError(f"got variant {name!r}; choices: {', '.join(variants)}")
        variants[name](config)
    return config.lock()


def _same_everywhere(config: ConfigDict) -> None:
    """What the data brings is what views and objective are made for."""
    for name in ("context", "width"):
        config.data[name] = config.transform.get_oneway_ref(name)
    config.data.same_article_negatives = config.objective.get_oneway_ref(
        "same_article_negatives"
    )


def _gate(figure: str, value: str, **more) -> dict:
    return {
        "metric": f"eval/next/{figure}",
        "op": ">",
        "value": value,
        "required": True,
        **more,
    }


def _baseline_gates() -> dict:
    """Above every simple prediction, and its interval; soon above a mere copy."""
    gates = {
        f"{figure.partition('@')[0]}_above_{baseline}": _gate(
            figure, f"baseline:{baseline}", outside_interval=True
        )
        for figure in ("recall@5", "cosine")
        for baseline in SIMPLE
    }
    # Two epochs after the warm-up of one: before that no rate was what it should be.
    gates["soon_above_persistence"] = _gate("cosine", "baseline:persistence", at=3.0)
    return gates


def _from_files(config: ConfigDict, width: int) -> None:
    """Vectors of a file, of which nobody knows the best prediction."""
    config.transform.width = width
    with config.unlocked():
        config.data = ConfigDict(
            {
                "name": "articles",
                "path": "",
                "key": "embedding",
                "article": "article",
                "position": "position",
                "title": "title",
                "val_fraction": 0.2,
                "cross_article_negatives": 4,
                "max_rejected": 0.01,
                "cache": "",
            }
        )
        _same_everywhere(config)
        config.gates = ConfigDict(_baseline_gates())
    config.evaluate.baselines = (*SIMPLE, "untrained")


def _real(config: ConfigDict) -> None:
    _from_files(config, 384)
    # Few articles: a small network, from a mean that fades, among so many vectors of
    # the own article as the pool has.
    config.model.update(width=64, layers=1)
    config.objective.update(residual_from="mixture", rank=32, same_article_negatives=6)
    config.transform.update(dropout=0.0, span=0.0)
    config.optimizer.update(learning_rate=2.5e-4)
    config.train.update(batch_size=1024, samples_per_class=4, epochs=4.0)
    # A prediction that is found lies farther out than one of least error, which is near
    # the middle of everything: cosines stand in the report and decide nothing.
    for name, gate in config.gates.items():
        figure, _, baseline = name.partition("_above_")
        gate.required = figure == "recall" and baseline != "exponential_average"
    config.gates.soon_above_persistence.required = True


def _full(config: ConfigDict) -> None:
    """mamba_s: 53,394,432 parameters before the output layer."""
    _from_files(config, 768)
    config.model.update(width=768, layers=14, states=16, dtype="bfloat16")
    config.optimizer.learning_rate = 1e-4 / 4
    config.train.update(
        batch_size=1024, grad_cache_chunks=4, epochs=20.0, patience=3, threads=8
    )


def _tree(config: ConfigDict) -> None:
    """The report's decisions: two epochs to show promise, two more while it does."""
    other = "switch:configs/infonce_mamba.py:v1"
    config.gates.promise = {
        "metric": "eval/next/cosine",
        "value": 0.5,
        "at": 2.0,
        "near": 0.4,
        "otherwise": f"extend:2; {other}",
        "required": True,
    }
    config.gates.found = {
        "metric": "eval/next/recall@5",
        "op": ">",
        "value": 0.1,
        "otherwise": other,
        "required": True,
    }


def _v1(config: ConfigDict) -> None:
    """What the report stopped: two objectives in two spaces."""
    config.objective.update(head=(512, 256), infonce_weight=0.7, cosine_weight=0.3)


def _smoke(config: ConfigDict) -> None:
    """Seconds instead of minutes: every part runs, nothing is learned or required."""
    config.model.update(width=16, layers=1, states=4, dtype="float32")
    config.train.update(
        epochs=2.0, batch_size=32, grad_cache_chunks=1, log_every_steps=1, threads=1
    )
    config.evaluate.update(batch_size=64, example_queries=4)
    if config.data.name == "topics":
        config.data.update(train=24, validation=8, length=12)
        config.transform.update(width=16)
    for name in ("promise", "found"):
        if name in config.gates:
            with config.unlocked():
                del config.gates[name]
    for gate in config.gates.values():
        gate.required = False
        if "at" in gate:
            gate.at = 2.0

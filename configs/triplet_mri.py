"""Triplets on multi-coil scans: the same slice is found again under other masks.

    python main.py --config=configs/triplet_mri.py --workdir=runs/mri
        random phantoms, 8 coils, 128 px, nothing to download, 11 minutes on 2 CPU
        cores; its own other measurement in 10,000 R@1 .99, raw pixels .71
    python main.py --config=configs/triplet_mri.py:margin05 --workdir=runs/margin05
        the stress test: margin .5
    python main.py --config=configs/triplet_mri.py:info_nce --workdir=runs/info_nce
        in-batch InfoNCE in place of triplets
    python main.py --config=configs/triplet_mri.py:scans --config.data.path=DIR
        measured k-space (HDF5, npy, cfl, mat): 4x finds its own 8x among all scans and
        1,000 phantoms; let train.batch_size be the whole of a small archive
    python main.py --config=configs/triplet_mri.py:slices --config.data.path=FILE.npz
        magnitude images in two contrasts, also a folder or stack of images: one
        contrast is searched in the other where a table says which belong together
    python main.py --config=configs/triplet_mri.py:resnet --workdir=runs/resnet
        ResNet-18 in place of the plain network

Anchors are measured at 4x with 8 % of the lines in the middle, positives at 8x with
4 %. Variants combine with commas; `smoke` shrinks any of them to seconds. docs/mri.md
says what is simulated and why; docs/results.md what was measured.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str = "") -> ConfigDict:
    """Return the recipe; `arg` names variants, separated by commas."""
    config = base.get_config()
    config.data = {"name": "phantoms"}
    config.transform = {
        "name": "undersampling",
        "size": 128,
        "coils": 8,
        "snr": 20.0,
        "view1": {"acceleration": 4.0, "center_fraction": 0.08},
        "view2": {"acceleration": 8.0, "center_fraction": 0.04},
    }
    config.model = {"name": "cnn"}
    config.objective = {"name": "triplet", "margin": 1.0}
    config.optimizer.update(learning_rate=1.6e-2, weight_decay=1e-4)
    config.schedule.update(name="plateau", factor=0.5, patience=2)
    config.train.update(
        batch_size=16, patience=5, monitor="eval/pairs/hard_loss", monitor_mode="min"
    )
    config.evaluate.update(
        batch_size=64, loss_batches=8, final_sets=("hard",), examples="hard"
    )
    config.evaluate.sets = {
        "pairs": {"name": "pairs"},
        "hard": {
            "name": "pairs",
            "galleries": (1000, 10000),
            "near_duplicates": True,
            "conditions": {
                "snr": (2.0, 5.0, 10.0, 20.0, 40.0),
                "acceleration": (2.0, 4.0, 6.0, 8.0, 12.0),
            },
        },
        "geometry": {"name": "geometry", "view": "view2"},
    }
    config.gates = {
        "loss": base.gate("eval/pairs/triplet_loss", "<=", 0.01),
        "violations": base.gate("eval/pairs/violations", "<=", 0.01),
        "recall": base.gate("eval/pairs/recall@1", ">=", 0.99),
        "positives": base.gate("eval/pairs/d_pos", "<=", 0.3),
        "negatives": base.gate("eval/pairs/d_neg", ">=", 1.1),
    }
    return base.apply_variants(config, arg, VARIANTS)


def _resnet(config: ConfigDict) -> None:
    config.model = {"name": "resnet", "features": 256, "convolution": "direct"}


def _margin05(config: ConfigDict) -> None:
    config.objective.margin = 0.5


def _info_nce(config: ConfigDict) -> None:
    config.objective = {"name": "info_nce", "temperature": 0.2}


def _scans(config: ConfigDict) -> None:
    """An archive of measured scans, searched among all of them and phantoms."""
    config.data = {
        "name": "kspace",
        "path": "",
        "size": 128,
        "coils": 8,
        "val_fraction": 0.2,
        "train_on": "all",
        "phantom_records": 800,
        "distractors": 1000,
        "max_rejected": 0.0,
    }
    _archive(config, batch_size=16, epochs=250.0, temperature=0.05)
    config.evaluate.sets.hard.update(galleries=(-1,), near_duplicates=False)
    config.gates = {
        "found": base.gate("eval/hard/in_all/recall@1", ">", "baseline:pixels")
    }


def _archive(
    config: ConfigDict, *, batch_size: int, epochs: float, temperature: float
) -> None:
    """Few records that are much alike: all of a batch at once, little motion."""
    _info_nce(config)
    config.objective.temperature = temperature
    config.transform.update(rotate=3.0, shift=1.0)
    config.optimizer.learning_rate = 0.256 / batch_size  # 1e-3 a step
    config.schedule.name = "cosine"
    config.train.update(
        batch_size=batch_size, epochs=epochs, checkpoint_every_epochs=epochs / 4,
        patience=0,
    )  # fmt: skip
    config.evaluate.every_epochs = epochs / 4


def _slices(config: ConfigDict) -> None:
    """The same place in the other contrast; training does not know the pairs."""
    config.data = {
        "name": "slices",
        "path": "",
        "train_on": "all",
        "phantom_records": 800,
        "distractors": 0,
    }
    _archive(config, batch_size=44, epochs=80.0, temperature=0.1)
    config.train.least_steps = 160
    # Another pulse sequence shows the same tissue with another brightness.
    config.transform.contrast = 1.0
    config.evaluate.sets = {
        "pairs": config.evaluate.sets.pairs,
        "contrast": {
            "name": "retrieval",
            "optional": True,
            "relevance": "label",
            "cross": "source",
            "query_view": "view1",
            "gallery_view": "view2",
            "k": (1, 5),
        },
        "geometry": config.evaluate.sets.geometry,
    }
    config.evaluate.update(final_sets=(), examples="contrast")
    config.gates = {
        "found": base.above("eval/contrast/recall@1", "baseline:pixels"),
        "masks": base.above("eval/pairs/recall@1", "baseline:pixels", required=False),
    }


def _smoke(config: ConfigDict) -> None:
    """Seconds instead of minutes: every part runs, nothing is learned or required."""
    config.model.width = 0.25
    config.transform.update(size=32, coils=2)
    if config.data.name == "phantoms":
        config.data.update(train=64, validation=16, distractors=32, near_duplicates=2)
        config.evaluate.sets.hard.galleries = (32,)
    elif config.data.name == "kspace":
        config.data.update(size=32, coils=2, phantom_records=64, distractors=32)
    else:
        config.data.phantom_records = 64
    if "hard" in config.evaluate.sets:
        config.evaluate.sets.hard.conditions = {"acceleration": (8.0,)}
    config.train.update(epochs=2.0, least_steps=0, log_every_steps=1)
    config.evaluate.update(batch_size=32, example_queries=4)
    base.drop_requirements(config)


VARIANTS = {
    "margin05": _margin05,
    "info_nce": _info_nce,
    "scans": _scans,
    "slices": _slices,
    "resnet": _resnet,
    "smoke": _smoke,
}

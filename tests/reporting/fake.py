"""A workdir as a run would leave it, without a run."""

import json
import math
import re
from pathlib import Path

import numpy as np

from reporting import examples, run_dir

SCORE = re.compile("(recall|precision|map|accuracy)")
HEADLINES = ("recall@1", "accuracy", "map")
KINDS = {
    "nar": ("error", "lower"),
    "error": ("error", "lower"),
    "cosine": ("diagnostic", "higher"),
    "ssim@1": ("diagnostic", "higher"),
    "effective_rank": ("diagnostic", "higher"),
    "held_out": ("loss", "lower"),
}
LABELS = {
    "pixels": "raw pixels",
    "untrained": "untrained network",
    "persistence": "copy of the last vector",
    "best": "best possible",
}
CHANCE = 4.436  # 4 τ ln N at τ .2, N 256
STEPS_AN_EPOCH = 10
GATES = {
    "learned": {
        "metric": "train/loss",
        "op": "<=",
        "value": "chance",
        "times": 0.7,
    },
    "brand": {
        "metric": "eval/brand/recall@1",
        "op": ">",
        "value": "baseline:pixels",
        "outside_interval": True,
    },
    "early": {
        "metric": "eval/brand/recall@1",
        "value": 0.2,
        "at": 2,
        "required": False,
    },
}


def metric(value, n=400, chance=0.02, spread=0.04):
    low, high = max(value - spread, 0.0), value + spread
    return {"value": value, "n": n, "chance": chance, "low": low, "high": high}


def typed(metrics):
    """Metrics with the facts that evaluators write."""
    return {
        tag: value | facts(tag) if isinstance(value, dict) else value
        for tag, value in metrics.items()
    }


def facts(tag):
    name = tag.rpartition("/")[2]
    kind, better = KINDS.get(name, ("diagnostic", ""))
    if SCORE.match(name):
        kind, better = "score", "higher"
    return {"kind": kind, "better": better, "headline": name in HEADLINES}


def shown(name):
    """The fields of a baseline's event."""
    return {
        "baseline": name,
        "label": LABELS.get(name, name),
        "ceiling": name == "best",
    }


def train_event(folder, step, loss, **metrics):
    tags = {
        "train/loss": loss,
        "train/loss_chance": CHANCE,
        "train/lr": 1e-3 * (1 + math.cos(math.pi * step / 100)) / 2,
        "perf/examples_per_sec": 1500.0 + step,
        "perf/input_wait": 0.05,
        "diag/candidates": 256.0,
        "diag/embedding_std": 0.08,
        "diag/embedding_std_chance": 1 / math.sqrt(128),
    } | metrics
    run_dir.append_event(
        folder,
        "train",
        step=step,
        epoch=step / STEPS_AN_EPOCH,
        metrics=tags,
        time=1000.0 + step,
    )


def evaluation(folder, kind, step, brand, **fields):
    run_dir.append_event(
        folder,
        kind,
        step=step,
        epoch=step / STEPS_AN_EPOCH,
        metrics=typed(
            {
                "eval/brand/recall@1": metric(brand),
                "eval/brand/recall@10": metric(min(brand * 1.5, 1.0), chance=0.2),
                "eval/brand/nar": metric(0.5 - brand / 2, chance=0.5),
                "eval/brand/noto_to_twemoji/recall@1": metric(brand),
                "eval/brand/left_out": metric(12.0, 412, math.nan, 0.0),
                "eval/geometry/effective_rank": metric(
                    40.0, chance=math.nan, spread=1.0
                ),
            }
        ),
        time=1000.5 + step,
        **fields,
    )


def make(folder, *, epochs=10, final=True, brand=0.9, pixels=0.3, state="finished"):
    """A run that learned; `final=False` leaves it as a kill would."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    total = 10 * STEPS_AN_EPOCH
    config = {
        "gates": GATES,
        "train": {"batch_size": 256, "epochs": 10},
        "schedule": {"name": "cosine"},
    }
    difference = {"train.epochs": [30.0, 10.0]}
    described = {"config": config, "recipe": "configs/x.py:smoke"}
    run_dir.write_config(folder, described | {"difference": difference})
    loss = {"kind": "loss", "better": "lower"}
    run_dir.write_metric_facts(folder, {"train/loss": loss})
    facts = {"name": "logos", "rejected": {"truncated": 2, "not an image": 1}}
    run_dir.write_json(folder / run_dir.DATA, facts | {"training_records": 1234567})
    run_dir.write_json(folder / run_dir.ENVIRONMENT, {"python": "3.12", "devices": 1})
    segment = {
        "why": "start",
        "time": 1000.0,
        "from_step": 0,
        "total_steps": total,
        "horizon": [0, total],
        "learning_rate_before": 0.0,
        "learning_rate_after": 1e-5,
        "unreadable_checkpoints": [],
    }
    run_dir.append_line(folder / run_dir.RESUMES, segment)
    evaluation(folder, "baseline", 0, pixels, **shown("pixels"))
    evaluation(folder, "baseline", 0, 0.1, **shown("untrained"))
    for step in range(1, epochs * STEPS_AN_EPOCH + 1):
        train_event(folder, step, CHANCE * (0.5 + 0.5 * math.exp(-step / 20)))
        if step % (2 * STEPS_AN_EPOCH) == 0:
            last = final and step == epochs * STEPS_AN_EPOCH
            now = pixels + (brand - pixels) * step / (epochs * STEPS_AN_EPOCH)
            evaluation(folder, "eval", step, now, **({"final": True} if last else {}))
    run_dir.write_heartbeat(
        folder,
        state,
        step=epochs * STEPS_AN_EPOCH,
        total_steps=total,
        epoch=float(epochs),
        eta_seconds=60.0,
        examples_per_sec=1500.0,
    )
    return folder


def add_gallery(folder, name="ring & bar"):
    rng = np.random.default_rng(0)
    pictures = {i: rng.integers(0, 256, (32, 32, 3), np.uint8) for i in range(12)}
    queries = [
        {
            "query": i,
            "name": name,
            "neighbors": [
                {"id": 3 + j, "name": name, "score": 0.9 - 0.1 * j, "relevant": j != i}
                for j in range(5)
            ],
        }
        for i in range(3)
    ]
    examples.write(folder, queries, pictures)


def strict_json(path):
    """Parses JSON as strictly as a browser does."""

    def refuse(word):
        raise ValueError(f"{word} is not JSON")

    return json.loads(Path(path).read_text("utf-8"), parse_constant=refuse)

"""Audit of labels, made once before the first step of a run."""

import dataclasses
import math
from typing import Any

import numpy as np

from evaluators.baselines.common.baseline import Context
from evaluators.common import label_information
from evaluators.common.groups import record_groups
from evaluators.common.protocols import Embed
from input_pipeline import loader
from input_pipeline.dataset import Split
from reporting import run_dir as files
from reporting.page import data_sections
from train_lib.run import Run
from train_lib.writers import Writer

PAIRS = 20_000  # drawn, for what needs columns alone
SEEN = 1_000  # pairs whose records are embedded
BATCHES = 8  # drawn, for losses
DRAW = 2**20  # an epoch that no run comes to


def measure(run: Run, network: Embed, writer: Writer) -> None:
    """Audit labels that make positives; set the lowest loss that they allow.

    Args:
        run: The run; its `loss_lower_bound` is set.
        network: Embed function of the weights that the run starts from.
        writer: Writer of the run.

    Writes `label_audit.json` unless it is there and still holds, and sets
    `run.loss_lower_bound`. Does nothing where a record's other view is its positive.
    """
    audit = files.read_audit(run.workdir)
    if audit and audit.get("measured_on", run.measured_on) == run.measured_on:
        run.loss_lower_bound = audit.get("loss_lower_bound")
        return
    kind = run.experiment.positives
    if kind == "instance":
        return
    writer.state("evaluating")
    audit: dict[str, Any] = _audit(run, network, kind)
    audit["measured_on"] = run.measured_on
    files.write_audit(run.workdir, audit)
    run.loss_lower_bound = audit.get("loss_lower_bound")
    writer.tell("%s", data_sections.tell_audit(audit))


def _audit(run: Run, network: Embed, kind: str) -> dict:
    config, split = run.config, run.data.train
    if kind == "label":
        label = np.asarray(split.table["label"])[:, None]
        columns = {"codes": label, "code_weights": np.float32(label >= 0)}
        split = dataclasses.replace(split, table=split.table | columns)
    partners = loader.PositivePairSampler(split, config.seed)
    rng = np.random.default_rng([config.seed, 4])
    anchors = rng.permutation(len(split))[:PAIRS]
    drawn = partners.draw(anchors, DRAW)
    social = ~partners.alone[anchors]
    audit = {
        "positives": kind,
        "records": len(split),
        "pairs": int(social.sum()),
        "alone": float(partners.alone.mean()),
        "nearer": _nearer(run, network, anchors[social][:SEEN], drawn[social][:SEEN]),
    }
    if kind == "label":
        return audit
    codes, pairs = split.table["codes"], (anchors[social], drawn[social])
    audit["common"] = label_information.common_codes_only(
        codes, split.code_names, *pairs
    )
    lowest = _lowest(config, split, partners, rng)
    chance = run.objective.chance(config.train.batch_size)
    return audit | {
        "lowest": lowest,
        "loss_chance": chance,
        "loss_lower_bound": chance * lowest["share"],
    }


def _nearer(
    run: Run, network: Embed, anchors: np.ndarray, partners: np.ndarray
) -> dict[str, dict]:
    """Return how near positives are without training on labels."""
    if not len(anchors):
        return {}
    split = run.data.train
    rng = np.random.default_rng([run.config.seed, 5])
    others = anchors + 1 + rng.integers(len(split) - 1, size=len(anchors))
    sides = np.stack([anchors, partners, others % len(split)])
    rows, back = np.unique(sides, return_inverse=True)
    back = back.reshape(sides.shape)
    groups = record_groups(run.data, [(split, anchors)])
    nearness = {}
    for name, embed in _encoders(run, network).items():
        z = embed(split, rows)
        assert z is not None, "records as they are can always be embedded"
        anchor, positive, other = (z[side] for side in back)
        nearness[name] = label_information.nearness(anchor, positive, other, groups)
    return nearness


def _encoders(run: Run, network: Embed) -> dict[str, Embed]:
    name = "start" if run.config.model.init_from else "untrained"
    encoders = {name: network}
    if "pixels" not in run.experiment.baseline_names:
        return encoders
    context = Context(
        data=run.data, images=run.images, untrained=network, start=network
    )
    pixels = run.experiment.baseline("pixels").fit(context)
    return {"pixels": pixels, **encoders}


def _lowest(
    config: Any,
    split: Split,
    partners: loader.PositivePairSampler,
    rng: np.random.Generator,
) -> dict:
    """Return the losses that the codes allow, in nats."""
    size = config.train.batch_size
    separate = config.train.negatives == "per_chunk"
    candidates = size // config.train.grad_cache_chunks if separate else size
    distribution = label_information.PartnerDistribution(
        split.table["codes"], split.table["code_weights"]
    )
    rows = np.stack(
        [rng.permutation(len(split))[:candidates] for _ in range(BATCHES)]
    )  # [b, N]
    keys = np.stack([partners.draw(r, DRAW + i) for i, r in enumerate(rows)])
    # The loss asks both ways: records among partners, and partners among records.
    ways = ((rows, keys), (keys, rows))
    soft = [
        label_information.soft_lower_bound(
            split.table, a[:, : label_information.ANCHORS], k
        )
        for a, k in ways
    ]
    chance = math.log(candidates)
    critic = label_information.density_ratio_loss(distribution, rows, keys)
    value = float(np.mean(soft))
    return {
        "candidates": candidates,
        "chance": chance,
        "soft": value,
        "density_ratio": critic,
        "information": max(chance - critic, 0.0),
        "share": value / chance if chance else 0.0,
    }

"""One term for one thing: replaced terms are no identifier, tag, field or heading."""

import io
import json
import pathlib
import re
import tokenize

import pytest

from train_lib import config as config_lib

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = (
    "configs", "losses", "objectives", "models", "input_pipeline", "evaluators",
    "train_lib", "reporting", "docs",
)  # fmt: skip
# Old term -> the term to use.
IDENTIFIERS = {
    "floors": "baselines", "loss_floor": "loss_lower_bound", "soft_floor": "baseline",
    "picture": "image", "pictures": "images", "mark": "logo", "marks": "logos",
    "holdout": "val_fraction", "hold_out": "val_filter", "held_back": "held_out",
    "Partners": "PositivePairSampler", "SideBySide": "MPerClassSampler",
    "hands": "chunks of a class", "per_class": "samples_per_class",
    "twins": "near_duplicates", "strangers": "cross_article_negatives",
    "siblings": "same_article_negatives", "fading": "exponential_average",
    "copy_last": "persistence", "accumulate": "negatives",
    "contrastive": "infonce_weight", "autoregressive": "cosine_weight",
    "Session": "Run", "Ended": "StopTraining", "serving": "inference",
    "thin_spread": "partial_collapse", "crowded": "low_uniformity",
    "unaligned": "views_not_aligned", "under_floor": "not_above_baseline",
    "moved_bound": "gate_changed", "resemblance": "ssim_at_chance",
    "no_hits": "zero_recall", "rate_jump": "lr_jump", "neighbour": "neighbor",
    "neighbours": "neighbors", "colour": "color", "normalise": "normalize",
}  # fmt: skip
# Terms that have other meanings in code, but name no field of a config.
FIELDS = {
    "floors", "gallery", "gallery_queries", "chunks", "tile", "layer", "residual",
    "final", "each", "temporal", "hidden", "features_dim", "augment", "holdout",
}  # fmt: skip


def modules():
    return [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")] + [
        ROOT / "main.py",
        ROOT / "akin.py",
    ]


def identifiers(path):
    text = path.read_text(encoding="utf-8")
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    return {
        (token.string, token.start[0])
        for token in tokens
        if token.type == tokenize.NAME
    }


@pytest.mark.parametrize("folder", FOLDERS)
def test_replaced_terms_are_no_identifiers(folder):
    found = [
        f"{path.relative_to(ROOT)}:{line} {name} -> {IDENTIFIERS[name]}"
        for path in (ROOT / folder).rglob("*.py")
        for name, line in sorted(identifiers(path), key=lambda item: item[1])
        if name in IDENTIFIERS
    ]
    assert found == []


def test_replaced_terms_are_no_config_fields():
    for path in (ROOT / "configs").glob("*.py"):
        if path.stem == "base":
            continue
        config = config_lib.load_recipe(str(path), {}).config
        names = {
            part for name in config_lib.flatten(config) for part in name.split(".")
        }
        assert names & (FIELDS | IDENTIFIERS.keys()) == set(), path.stem


def test_replaced_terms_are_no_tags():
    for path in (ROOT / "tests" / "recorded").glob("*/metrics.jsonl"):
        tags = {
            tag
            for line in path.read_text(encoding="utf-8").splitlines()
            for tag in json.loads(line)["metrics"]
        }
        words = {part for tag in tags for part in re.split("[/@]", tag)}
        assert words & IDENTIFIERS.keys() == set(), path


def test_replaced_terms_are_no_headings():
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        text = path.read_text(encoding="utf-8")
        headings = " ".join(re.findall(r"^#+ (.*)$", text, re.MULTILINE))
        words = set(re.findall(r"\w+", headings))
        assert words & IDENTIFIERS.keys() == set(), path.name

"""Fields of configs: flat, compared, and those that may change between starts."""

from typing import Any

from ml_collections import ConfigDict

from field_types import Config

# What may change between two starts on a workdir: none of it alters the steps made.
FREE = (
    "train.epochs", "train.least_steps", "schedule.epochs", "train.log_every_steps",
    "train.threads", "train.checkpoint_every_epochs", "train.keep_checkpoints",
    "train.prefetch", "train.patience", "train.price_per_hour", "evaluate.", "gates.",
    "alarms.", "data.path", "data.cache", "data.workers", "data.memory_mb",
    "data.max_rejected",
)  # fmt: skip


def flatten(config: Config | dict, prefix: str = "") -> dict[str, Any]:
    """Return dotted names and values of all fields."""
    flat = {}
    for key, value in config.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, (ConfigDict, dict)) and len(value):
            flat |= flatten(value, name)
        else:
            flat[name] = value
    return flat


def difference(config: Config, default: Config) -> dict[str, list]:
    """Return the fields in which two configs differ: name -> [default, here]."""
    here, there = flatten(config), flatten(default)
    names = sorted(here.keys() | there.keys())
    return {
        n: [there.get(n), here.get(n)] for n in names if here.get(n) != there.get(n)
    }


def merge(saved: dict | None, described: dict | None) -> dict | None:
    """Return the config of a run: what was saved with a checkpoint decides.

    Args:
        saved: Config in a checkpoint; None without one.
        described: Config in `config.json`; None where it is missing or damaged.

    Returns:
        `saved` with the fields of `FREE` as `config.json` has them, which is written at
        every start; one of the two where there is no other; None without any.
    """
    if saved is None or described is None:
        return described if saved is None else saved
    changed = difference(ConfigDict(described), ConfigDict(saved))
    if all(name.startswith(FREE) for name in changed):
        return described
    return saved  # a damaged file that still is JSON

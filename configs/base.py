"""What recipes share: common sections, and helpers for gates.

A recipe calls `get_config()`, sets the fields in which it differs from the defaults of
its parts, and returns `apply_variants(config, arg, VARIANTS)`. Every other field has
the default that stands in the signature of its part; docs/configuration.md lists them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Return a config with the sections that do not depend on the task."""
    config = ConfigDict({"seed": 0, "train": {"epochs": 10.0}})
    config.schedule = {"name": "cosine"}
    # The learning rate ends where the run ends.
    config.schedule.epochs = config.train.get_oneway_ref("epochs")
    config.optimizer = {"name": "adamw", "no_decay": ("1d",)}
    config.evaluate = {"sets": {"geometry": {"name": "geometry"}}}
    config.gates = {}
    return config


def apply_variants(
    config: ConfigDict, arg: str, variants: Mapping[str, Callable[[ConfigDict], None]]
) -> ConfigDict:
    """Change a config by the variants that the command line names, and lock it.

    Args:
        config: Config of the recipe.
        arg: Names of variants, separated by commas; applied in this order.
        variants: Name -> function that changes the config.

    Raises:
        ValueError: There is no such variant; lists the choices.
    """
    for name in filter(None, arg.split(",")):
        if name not in variants:
            raise ValueError(f"got variant {name!r}; choices: {', '.join(variants)}")
        variants[name](config)
    return config.lock()


def gate(metric: str, op: str, value: float | str, **fields: Any) -> dict[str, Any]:
    """Return a gate: what a metric has to reach.

    Args:
        metric: Tag, such as "eval/brand/recall@1".
        op: "<", "<=", ">" or ">=".
        value: Number, or a level of the same run: "chance", "baseline:pixels".
        **fields: Further fields of a gate; docs/reporting.md lists them.
    """
    return {"metric": metric, "op": op, "value": value, "required": True, **fields}


def above(metric: str, level: str, **fields: Any) -> dict[str, Any]:
    """Return a gate: a metric is above a level, and so is its 95 % interval."""
    return gate(metric, ">", level, **{"outside_interval": True, **fields})


def below(metric: str, level: str, **fields: Any) -> dict[str, Any]:
    """Return a gate: a metric is below a level, and so is its 95 % interval."""
    return gate(metric, "<", level, **{"outside_interval": True, **fields})


def drop_requirements(config: ConfigDict) -> None:
    """Make all gates advisory, for runs that are too short to learn anything."""
    for fields in config.gates.values():
        fields.required = False

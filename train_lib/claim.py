"""What a workdir remembers of its run: the one place that decides whose it is.

A workdir is claimed once something was trained in it, that is, once it has a checkpoint
or an evaluation. Until then any run may start there: a refused start, and one that was
killed before its first checkpoint, claim nothing. What it remembers is the config and
the content of the data, as its newest checkpoint has them; `config.json` is for readers
and adds what may change between two starts.
"""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

from reporting import run_dir as files
from reporting.formatting import count
from train_lib.checkpoints import Checkpoints
from train_lib.config import ConfigError, Recipe
from train_lib.config_fields import FREE, difference, flatten, merge
from train_lib.errors import InputError

# Sections on which the score of a baseline depends, beside the content of the data.
_MEASURED_BY = ("seed", "data", "transform", "model", "objective", "evaluate")
_NOT_MEASURED_BY = (
    "data.path", "data.cache", "data.workers", "data.memory_mb", "evaluate.baselines",
    "evaluate.every_epochs", "evaluate.examples", "evaluate.example_queries",
    "evaluate.loss_batches", "evaluate.final_sets", "evaluate.batch_size",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Memory:
    """What a claimed workdir remembers.

    Attributes:
        config: Config that its last start asked for, as plain values.
        content_hash: Hash of the content of its data; "" where it is not known.
        step: Step of its newest checkpoint; None without one.
    """

    config: dict[str, Any]
    content_hash: str
    step: int | None


def remember(workdir: pathlib.Path) -> Memory | None:
    """Return what a workdir remembers; None where no run has claimed it.

    Raises:
        InputError: It is claimed, and neither a checkpoint nor `config.json` says by
            which config.
    """
    checkpoints = Checkpoints(workdir / files.CHECKPOINTS, read_only=True)
    if not checkpoints.steps():
        if not any(event["kind"] == "eval" for event in files.read_events(workdir)):
            return None
    step, host = checkpoints.read_host() or (None, {})
    described = files.read_config(workdir)
    config = merge(
        host.get("requested"), described.get("requested") or described.get("config")
    )
    if config is None:
        raise InputError(
            f"got {workdir}, whose {files.CONFIG} is damaged or missing, and no "
            "checkpoint has a copy that can be read; expected one of them. Bring the "
            "file back from a copy, or choose another --workdir"
        )
    return Memory(config, host.get("content_hash", ""), step)


def compare(recipe: Recipe, workdir: pathlib.Path) -> dict[str, list]:
    """Return what changed since the workdir's last start: name -> [then, now].

    Raises:
        ConfigError: Something changed that would make it another run.
        InputError: It cannot be told which run has claimed the workdir.
    """
    memory = remember(workdir)
    if memory is None:
        return {}
    new = files.plain(recipe.config)
    changed = difference(ConfigDict(new), ConfigDict(memory.config))
    wrong = {k: v for k, v in changed.items() if not k.startswith(FREE)}
    if wrong:
        raise ConfigError(
            [
                f"config.{name}: got {now!r} in a workdir started with {then!r}; "
                "expected the same, or another --workdir"
                for name, (then, now) in wrong.items()
            ]
        )
    return changed


def check_data(workdir: pathlib.Path, content_hash: str) -> None:
    """Refuse data that is not what the run was trained on so far.

    Raises:
        InputError: The content of the data has changed.
    """
    memory = remember(workdir)
    if memory is None or memory.content_hash in ("", content_hash):
        return
    was, records = files.read_data(workdir), ""
    if was.get("content_hash") == memory.content_hash:
        sides = [was.get(f"{side}_records") for side in ("training", "validation")]
        if all(isinstance(n, int) for n in sides):
            records = f", {count(sides[0])} training and {count(sides[1])} held out"
    at = "" if memory.step is None else f" at step {memory.step}"
    raise InputError(
        f"config.data: got data with content hash {content_hash} for the run in "
        f"{workdir}, which is{at} with other data ({memory.content_hash}{records}); "
        "expected the same records. Bring the data back to what it was, or train in "
        f"another --workdir: --config.model.init_from={workdir} starts there from this "
        "network"
    )


def measured_on(config: ConfigDict, content_hash: str) -> str:
    """Return 16 digits of what the scores of baselines depend on."""
    fields = {
        name: value
        for name, value in flatten(files.plain(config)).items()
        if name.startswith(_MEASURED_BY) and not name.startswith(_NOT_MEASURED_BY)
    }
    text = json.dumps([fields, content_hash], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""A run: its parts, and the state that it starts or goes on from."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, TypeAlias

from jax.sharding import Mesh

from evaluators.baselines.common.baseline import Images
from evaluators.common.evaluator import EvaluatorBase
from evaluators.common.metric import Metrics
from evaluators.common.protocols import Embed
from field_types import Config
from input_pipeline.dataset import Data
from objectives.common.objective import Objective, Tree
from train_lib import schedules
from train_lib.checkpoints import Checkpoints
from train_lib.experiment import Experiment
from train_lib.progress import Progress
from train_lib.train_step import Step, TrainState

BindEmbed: TypeAlias = Callable[[Tree, Tree], Embed]
HeldOutLoss: TypeAlias = Callable[[TrainState], Metrics]


@dataclasses.dataclass
class Run:
    """The parts of a run, built once; arrays of its state are not among them."""

    experiment: Experiment
    workdir: pathlib.Path
    data: Data
    facts: dict[str, Any]  # of the data, for data.json
    measured_on: str  # what the scores of baselines depend on
    mesh: Mesh
    epoch_steps: int
    total_steps: int
    granted: float  # epochs among them that gates have added
    gates: dict[str, dict]
    objective: Objective
    schedule: schedules.Schedule
    step: Step
    embed: BindEmbed
    images: Images
    evaluators: dict[str, EvaluatorBase]
    held_out: HeldOutLoss
    checkpoints: Checkpoints
    progress: Progress
    # What its checkpoints say of it; see `run_setup.describe_identity`.
    identity: dict[str, Any] = dataclasses.field(default_factory=dict)
    loss_lower_bound: float | None = None  # the lowest that the labels allow

    @property
    def config(self) -> Config:
        """Config of the run."""
        return self.experiment.config

    def epoch(self, step: int) -> float:
        """Return the epochs that are done after a step."""
        return step / self.epoch_steps


@dataclasses.dataclass
class RestoredRun:
    """State from which a run starts or goes on, with the loader in place."""

    state: TrainState
    batches: Any
    step: int
    why: str
    segment: dict[str, Any]  # its line in resumes.jsonl

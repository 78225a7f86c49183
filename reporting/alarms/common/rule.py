"""What an alarm is, and what the rules that raise one look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reporting import history


@dataclass(frozen=True)
class Limits:
    """When a rule speaks up."""

    points: int = 10  # logged points that a trend has to last
    near_chance: float = 0.05  # share of the loss's reach
    rising: float = 0.02  # of the chance level
    partial_collapse: float = 0.5  # of 1/√d
    collapsed_spread: float = 0.05  # of 1/√d
    collapsed_points: int = 3
    effective_rank: float = 4.0
    settling: float = 0.1  # share of the run in which a spread is not judged
    judging: float = 0.5  # share of the run after which baselines have to be beaten
    input_wait: float = 0.2
    saturated: float = 0.999
    solved: float = 0.97  # what a baseline reaches where a task needs no training
    horizon: float = 0.02
    low_uniformity: float = 0.2  # of the uniformity of directions spread evenly
    views_not_aligned: float = 0.9  # of the distance of random records
    few: int = 100  # queries
    lr_jump: float = 2.0  # times, at a resume
    spike: float = 0.25  # of the loss's reach
    near_ties: float = 0.9  # share of queries
    duplicates: float = 0.01  # share of records
    same: float = 1 - 1e-6  # cosine of a record with itself
    gap: float = 0.1  # between training and evaluation
    ssim_at_chance: float = 0.05  # SSIM above that of random pairs
    weak_loss: float = 0.6  # share of chance below which labels let no loss fall
    common_only: float = 0.5  # share of positive pairs
    nearer: float = 0.6  # how often a positive is nearer than another record
    high_baseline: float = 0.5  # share of chance
    near_lower_bound: float = 0.5  # share of the loss's reach
    flat: float = 0.15  # of it, between two means of points


@dataclass(frozen=True)
class Run:
    """What the rules look at.

    Attributes:
      events: the run's history.
      batch_size: records a step, over all devices.
      total_steps: length of the run; None judges what is there as if it were all.
      horizon: step at which the learning-rate schedule ends.
      segments: the run's starts and resumes, as `workdir.read_resumes` gives them.
      data: what is in data.json.
      audit: what is in label_audit.json.
      examples: queries with their neighbors.
      limits: when a rule speaks up.
    """

    events: list[dict]
    batch_size: int | None = None
    total_steps: int | None = None
    horizon: int | None = None
    segments: Sequence[Mapping] = ()
    data: Mapping = field(default_factory=dict)
    audit: Mapping = field(default_factory=dict)
    examples: Sequence[Mapping] = ()
    limits: Limits = Limits()

    @property
    def progress(self) -> float:
        """Share of the run that is done; 1 where its length is unknown."""
        if history.finished(self.events) or not self.total_steps:
            return 1.0
        return history.reached(self.events)[0] / self.total_steps


def alarm(name: str, tag: str, step: float, seen: str, advice: str) -> dict:
    """An alarm: what was seen, and what to try; `alarms.check` adds its severity."""
    return {
        "name": name,
        "tag": tag,
        "step": int(step),
        "seen": seen,
        "advice": advice,
        "message": f"{seen} {advice}",
    }

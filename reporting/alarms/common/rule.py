"""What an alarm is, what its rule looks at, and how it enters the registry."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from reporting.history import History, Metric, is_finite

Severity = Literal["warn", "stop"]

# Limits that several rules share; each is a default in their signatures.
POINTS = 10  # logged points that a trend has to last
SETTLING = 0.1  # share of the run in which embeddings are not judged
JUDGING = 0.5  # share of the run after which baselines have to be beaten
FEW_QUERIES = 100


class Finding(NamedTuple):
    """What a rule found.

    Attributes:
        tag: The metric or the field that it is about.
        step: The step at which it was seen.
        seen: What was seen, as a sentence.
        advice: What to try.
    """

    tag: str
    step: float
    seen: str
    advice: str


Findings = Iterable[Finding]


@dataclass(frozen=True)
class Run:
    """What the rules look at.

    Attributes:
        history: The run's events.
        batch_size: Records a step, over all devices.
        total_steps: Length of the run; None judges what is there as if it were all.
        horizon: Step at which the learning-rate schedule ends.
        segments: The run's starts and resumes.
        data: What is in data.json.
        audit: What is in label_audit.json.
        examples: Queries with their neighbors.
    """

    history: History
    batch_size: int | None = None
    total_steps: int | None = None
    horizon: int | None = None
    segments: Sequence[Mapping[str, Any]] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    audit: Mapping[str, Any] = field(default_factory=dict)
    examples: Sequence[Mapping[str, Any]] = ()

    @property
    def progress(self) -> float:
        """Share of the run that is done; 1 where its length is unknown."""
        if self.history.finished or not self.total_steps:
            return 1.0
        return self.history.step / self.total_steps

    @property
    def evaluated_at(self) -> int:
        """Step of the latest evaluation; 0 before the first."""
        last = self.history.last("eval")
        return last["step"] if last else 0

    def evaluated(self, name: str) -> Iterator[tuple[str, Metric]]:
        """Yield the evaluated metrics of a name that have a value."""
        for tag in self.history.named(name):
            metric = self.history.metrics()[tag]
            if tag.startswith("eval/") and is_finite(metric["value"]):
                yield tag, metric


@dataclass(frozen=True)
class Rule:
    """An alarm: the function that finds it, and what the config may say of it.

    Attributes:
        name: Name of the function and of the alarm.
        find: The function.
        severity: What the alarm does by default.
        shows: What it shows, in one line for the docs.
    """

    name: str
    find: Callable[..., Findings]
    severity: Severity
    shows: str

    @property
    def limits(self) -> dict[str, float]:
        """The rule's limits with their defaults, from its signature."""
        parameters = inspect.signature(self.find).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    def describe(self, finding: Finding, stops: bool) -> dict[str, Any]:
        """Return a finding as an alarm: an event without its kind and epoch."""
        return {
            "name": self.name,
            "severity": "stop" if stops else "warn",
            "tag": finding.tag,
            "step": int(finding.step),
            "seen": finding.seen,
            "advice": finding.advice,
            "message": f"{finding.seen} {finding.advice}",
        }


FOLDER = Path(__file__).parents[1]  # of the modules that register alarms
REGISTRY: dict[str, Rule] = {}
Find = TypeVar("Find", bound=Callable[..., Findings])


def alarm(*, severity: Severity = "warn", shows: str) -> Callable[[Find], Find]:
    """Register a function as the rule of the alarm that has its name.

    The function takes a `Run` and yields findings; its keyword-only arguments are the
    limits of the rule, with their defaults.

    Args:
        severity: "stop" where it ends a run unless the config says otherwise.
        shows: What it shows, in one line for the docs.
    """

    def register(find: Find) -> Find:
        name = getattr(find, "__name__", "")
        REGISTRY[name] = Rule(name, find, severity, shows)
        return find

    return register


def rules() -> dict[str, Rule]:
    """Return name to rule, ordered by module and place in it."""
    for module in pkgutil.iter_modules([str(FOLDER)]):
        if not module.ispkg:
            importlib.import_module(f"reporting.alarms.{module.name}")
    return dict(
        sorted(
            REGISTRY.items(),
            key=lambda item: (
                item[1].find.__module__,
                item[1].find.__code__.co_firstlineno,
            ),
        )
    )


def docs_table() -> str:
    """Return the alarms as a Markdown table: name, what it shows, limits, severity."""
    rows = ["| alarm | raised where | limits | by default |", "|---|---|---|---|"]
    for rule in rules().values():
        limits = ", ".join(f"`{k}={v:g}`" for k, v in rule.limits.items())
        rows.append(f"| `{rule.name}` | {rule.shows} | {limits} | {rule.severity} |")
    return "\n".join(rows)

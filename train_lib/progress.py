"""State of decisions on measurements: best step, patience, plateau."""

import dataclasses
import math
from typing import Any


@dataclasses.dataclass
class Progress:
    """State of the loop that is saved with every checkpoint.

    Attributes:
        horizon_start: First step of the learning rate's curve.
        horizon_end: Where it ends.
        best_value: Best value of the monitored metric; None before the first.
        best_step: Step it was measured at.
        waited: Evaluations since then.
        plateau_waited: Evaluations since then or since the rate was last lowered.
        lr_scale: What the plateau schedule multiplies the rate by.
    """

    horizon_start: int
    horizon_end: int
    best_value: float | None = None
    best_step: int | None = None
    waited: int = 0
    plateau_waited: int = 0
    lr_scale: float = 1.0

    def observe(self, value: float, step: int, mode: str) -> bool:
        """Record a measurement; return whether it is the best so far."""
        sign = 1.0 if mode == "max" else -1.0
        better = not math.isnan(value) and (
            self.best_value is None or sign * value > sign * self.best_value
        )
        if better:
            self.best_value, self.best_step = value, step
            self.waited = self.plateau_waited = 0
        else:
            self.waited += 1
            self.plateau_waited += 1
        return better

    def lower_rate(self, patience: int, factor: float) -> bool:
        """Lower the scale once patience is used up; return whether it did."""
        if self.plateau_waited < max(patience, 1):
            return False
        self.lr_scale *= factor
        self.plateau_waited = 0
        return True

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Progress":
        """Return the state that `to_json` described."""
        return cls(**values)

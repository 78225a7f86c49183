"""State of decisions on measurements: best step, patience, plateau."""

import dataclasses
import math
from typing import Any

THRESHOLD = 1e-4  # share of the best value that is no improvement on a plateau


@dataclasses.dataclass
class Progress:
    """State of the loop that is saved with every checkpoint.

    Attributes:
        horizon_start: First step of the learning rate's curve.
        horizon_end: Where it ends.
        best_value: Best value of the monitored metric; None before the first.
        best_step: Step it was measured at.
        waited: Evaluations since then.
        plateau_best: Best value for the plateau schedule; None before the first.
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
    plateau_best: float | None = None

    def observe(self, value: float, step: int, mode: str) -> bool:
        """Record a measurement; return whether it is the best so far."""
        sign = 1.0 if mode == "max" else -1.0
        better = not math.isnan(value) and (
            self.best_value is None or sign * value > sign * self.best_value
        )
        if better:
            self.best_value, self.best_step = value, step
            self.waited = 0
        else:
            self.waited += 1
        if not math.isnan(value) and self._leaves_plateau(value, sign):
            self.plateau_best, self.plateau_waited = value, 0
        else:
            self.plateau_waited += 1
        return better

    def _leaves_plateau(self, value: float, sign: float) -> bool:
        """Return whether a value is better than the best by a relative threshold."""
        best = self.plateau_best
        if best is None:
            return True
        return sign * value > sign * best * (1 + sign * THRESHOLD)

    def lower_rate(self, patience: int, factor: float) -> bool:
        """Lower the scale after more bad evaluations than patience; return whether.

        With patience 2 the third evaluation without improvement lowers the rate, and
        one within 1e-4 of the best is none, as in PyTorch's `ReduceLROnPlateau`.
        """
        if self.plateau_waited <= patience:
            return False
        self.lr_scale *= factor
        self.plateau_waited = 0
        return True

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Progress":
        """Return the state that `to_json` described, of an earlier version too."""
        fields: dict[str, Any] = {"plateau_best": values.get("best_value")} | values
        return cls(**fields)

"""Learning rates as functions of the step, also of extended runs."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from annotated_types import Interval

Schedule: TypeAlias = Callable[[Any], jax.Array]  # of the step


class Horizon(NamedTuple):
    """Steps that a schedule spans, from `start` to `end`."""

    start: int
    end: int


def make_schedule(
    *,
    name: Literal["cosine", "step", "plateau", "constant"],
    peak: float,
    horizon: Horizon,
    warmup_steps: int,
    end_lr: Annotated[float, Interval(ge=0, le=1e4)] = 0.0,
    milestones: tuple[Annotated[float, Interval(gt=0, lt=1)], ...] = (),
    factor: Annotated[float, Interval(gt=0, le=1)] = 0.1,
    decay_per: Literal["step", "epoch"] = "step",
    epoch_steps: int = 1,
) -> Schedule:
    """Return a learning rate with linear warm-up from 0.

    With s steps after the start, w of warm-up and S to the horizon:
    warm-up `peak s / w`; cosine
    `end_lr + (peak - end_lr) (1 + cos(pi (s - w) / (S - w))) / 2`, and `end_lr` beyond
    the horizon; step `peak factor^k` after k milestones; plateau and constant stay at
    the peak (the loop lowers plateau through the state's scale).

    Args:
        name: Which curve.
        peak: Learning rate at the end of the warm-up.
        horizon: Steps that the curve spans.
        warmup_steps: Length of the warm-up, from `horizon.start`.
        end_lr: Learning rate at the horizon (cosine).
        milestones: Shares of the horizon in (0, 1) where the rate drops (step).
        factor: What it is multiplied by there (step).
        decay_per: How often a cosine moves after the warm-up: every step, or at the
            begin of every epoch, as SimSiam has it.
        epoch_steps: Steps of an epoch.

    Returns:
        A traceable function of the step.
    """
    span = max(horizon.end - horizon.start, 1)
    warmup_steps = min(warmup_steps, span)

    def schedule(step):
        s = jnp.asarray(step, jnp.float32) - horizon.start
        warm = peak * s / max(warmup_steps, 1)
        if name == "cosine":
            if decay_per == "epoch":
                s = jnp.floor(s / epoch_steps) * epoch_steps
            progress = (s - warmup_steps) / max(span - warmup_steps, 1)
            wave = 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(progress, 0.0, 1.0)))
            value = end_lr + (peak - end_lr) * wave
        elif name == "step":
            passed = sum((s >= m * span).astype(jnp.float32) for m in milestones)
            value = peak * jnp.power(factor, jnp.float32(passed))
        else:
            value = jnp.float32(peak)
        return jnp.where(step - horizon.start < warmup_steps, warm, value)

    return schedule


def extended(
    policy: str,
    old: Horizon,
    step: int,
    total: int,
) -> Horizon:
    """Return the horizon of a finished run that goes on to `total` steps.

    Args:
        policy: "rescale" stretches the curve over the whole new length, so that the
            rate jumps up to where the longer curve is; "continue" keeps the old curve,
            whose final rate then holds; "restart" begins a new curve here, warm-up and
            all.
        old: Horizon so far.
        step: Step at which the run goes on.
        total: New length of the run.
    """
    choices = {
        "rescale": Horizon(old.start, total),
        "continue": old,
        "restart": Horizon(step, total),
    }
    if policy not in choices:
        raise ValueError(f"got policy {policy!r}; choices: {', '.join(choices)}")
    return choices[policy]

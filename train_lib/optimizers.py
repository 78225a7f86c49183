"""Optimizers: AdamW, LARS and SGD, with weight decay masked by parameter name."""

import re
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from annotated_types import Interval


def named(params: Any, patterns: tuple[str, ...]) -> Any:
    """Return a tree of bools: whether one of the patterns names a parameter.

    Args:
        params: Tree of parameters.
        patterns: Regular expressions searched for in "/"-joined paths, for example
            "bias$". The name "1d" stands for every parameter of less than two axes.
    """

    def matches(path, p):
        name = "/".join(str(key.key) for key in path)
        if "1d" in patterns and jnp.ndim(p) < 2:
            return True
        return any(re.search(x, name) for x in patterns if x != "1d")

    return jax.tree_util.tree_map_with_path(matches, params)


def decay_mask(params: Any, no_decay: tuple[str, ...]) -> Any:
    """Return a tree of bools: whether a parameter decays."""
    return jax.tree.map(lambda x: not x, named(params, no_decay))


def scale_by_rates(
    schedule: optax.Schedule, steady: float, constant: tuple[str, ...]
) -> optax.GradientTransformation:
    """Scale updates by minus the learning rate, at a steady rate for some parameters.

    Args:
        schedule: Learning rate of a step, of all other parameters.
        steady: Learning rate of those named.
        constant: Which they are, see `named`.

    Returns:
        The gradient transformation.
    """

    def init(params):
        del params
        return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        del params
        rate = jnp.asarray(schedule(state.count))
        updates = jax.tree.map(
            lambda u, held: -(steady if held else rate) * u,
            updates,
            named(updates, constant),
        )
        count = optax.safe_increment(state.count)
        return updates, optax.ScaleByScheduleState(count=count)

    return optax.GradientTransformation(init, update)


def lars(
    schedule: optax.Schedule,
    *,
    weight_decay: float,
    momentum: float,
    trust: float = 1e-3,
) -> optax.GradientTransformation:
    """Return LARS as MoCo v3 has it: the rate is applied outside the momentum.

    For parameters of two or more axes `g += wd p`, `g *= trust |p| / |g|` (1 where
    either norm is 0); for all `mu = momentum mu + g`, `p -= lr mu`. optax.lars has the
    rate inside the momentum buffer, which differs whenever the rate changes, and by
    default decays and rescales biases too.

    Args:
        schedule: Learning rate of a step.
        weight_decay: wd >= 0.
        momentum: In [0, 1).
        trust: Trust coefficient.

    Returns:
        The gradient transformation.
    """

    def matrices(params):
        return jax.tree.map(lambda p: jnp.ndim(p) > 1, params)

    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=matrices),
        optax.masked(optax.scale_by_trust_ratio(trust_coefficient=trust), matrices),
        optax.trace(decay=momentum),
        optax.scale_by_learning_rate(schedule),
    )


def make_optimizer(
    *,
    name: Literal["adamw", "lars", "sgd"],
    schedule: optax.Schedule,
    weight_decay: Annotated[float, Interval(ge=0, le=1e3)] = 0.0,
    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.9,
    b2: Annotated[float, Interval(ge=0, lt=1)] = 0.999,
    clip_norm: Annotated[float, Interval(ge=0, le=1e9)] = 0.0,
    no_decay: tuple[str, ...] = (),
    steady: float = 0.0,
    constant: tuple[str, ...] = (),
) -> optax.GradientTransformation:
    """Return an optimizer whose updates are added to the parameters.

    Args:
        name: "adamw" (b1 = momentum), "lars" (decay and trust on matrices) or "sgd".
        schedule: Learning rate of a step.
        weight_decay: Decoupled for AdamW; added to the gradient for LARS and SGD.
        momentum: Of SGD and LARS, b1 of AdamW.
        b2: Of AdamW.
        clip_norm: Gradients of a larger global norm are scaled down to it; 0 for never.
        no_decay: What does not decay, see `named`.
        steady: The rate of what `constant` names, the peak of the schedule.
        constant: What keeps that rate from the first step to the last, see `named`;
            SimSiam's predictor does.

    Returns:
        The gradient transformation.

    Raises:
        ValueError: Unknown name, or LARS with `constant`.
    """

    def mask(params):
        return decay_mask(params, no_decay)

    if constant and name == "lars":
        raise ValueError("got optimizer.constant with lars; expected sgd or adamw")
    rates = (
        scale_by_rates(schedule, steady, constant)
        if constant
        else optax.scale_by_learning_rate(schedule)
    )
    if name == "adamw":
        core = optax.chain(
            optax.scale_by_adam(b1=momentum, b2=b2),
            optax.add_decayed_weights(weight_decay, mask=mask),
            rates,
        )
    elif name == "lars":
        core = lars(schedule, weight_decay=weight_decay, momentum=momentum)
    elif name == "sgd":
        core = optax.chain(
            optax.add_decayed_weights(weight_decay, mask=mask),
            optax.trace(decay=momentum),
            rates,
        )
    else:
        raise ValueError(f"got optimizer {name!r}; choices: adamw, lars, sgd")
    return (
        optax.chain(optax.clip_by_global_norm(clip_norm), core) if clip_norm else core
    )

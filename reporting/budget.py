"""Time and money: how fast a run is, what bounds it, when its gates fall due."""

from collections.abc import Mapping, Sequence
from typing import Any

from reporting import timeline
from reporting.formatting import count, duration, number, percent
from reporting.history import History
from reporting.timeline import Plan


def of_run(
    history: History,
    config: Mapping[str, Any],
    *,
    total_steps: int | None,
    epoch_steps: int | None = None,
    gates: Mapping[str, Mapping] | None = None,
    segments: Sequence[Mapping] = (),
) -> dict:
    """Return the forecast of a run whose lengths and price are in its config.

    Args:
        history: Its events.
        config: The config as plain values; sections that are missing are unknown.
        total_steps: Steps of the whole run, where known.
        epoch_steps: Steps of an epoch; read from the history where not given.
        gates: Gates as they were judged; those of the config by default.
        segments: The starts of the run, as `workdir.read_resumes` gives them.
    """
    train, evaluate = (config.get(name) or {} for name in ("train", "evaluate"))
    if not epoch_steps and history.epoch > 0:
        epoch_steps = round(history.step / history.epoch)
    shows_images = (config.get("transform") or {}).get("name") == "image"
    return forecast(
        history,
        batch_size=train.get("batch_size"),
        total_steps=total_steps,
        epoch_steps=epoch_steps,
        evaluate_epochs=evaluate.get("every_epochs") or 0.0,
        warmup_epochs=(config.get("schedule") or {}).get("warmup_epochs") or 0.0,
        price_per_hour=train.get("price_per_hour") or 0.0,
        gates=(config.get("gates") or {}) if gates is None else gates,
        began=segments[0].get("time") if segments else None,
        unit="images" if shows_images else "records",
    )


def forecast(
    history: History,
    *,
    batch_size: int | None,
    total_steps: int | None,
    epoch_steps: int | None,
    evaluate_epochs: float = 0.0,
    warmup_epochs: float = 0.0,
    price_per_hour: float = 0.0,
    gates: Mapping[str, Mapping] | None = None,
    began: float | None = None,
    unit: str = "records",
) -> dict:
    """Return speed, what bounds it, time and cost to the horizon and to each gate.

    Steps to come are as long as those since the last start, evaluations as the median
    of those made; before the first, as that of the untrained network.

    Args:
        history: The run's events.
        batch_size: Records a step.
        total_steps: Steps of the whole run.
        epoch_steps: Steps of an epoch.
        evaluate_epochs: Epochs from one evaluation to the next; 0 for the end alone.
        warmup_epochs: Where a gate `at="warmup"` falls due.
        price_per_hour: Price of an hour in any currency; 0 where unknown.
        gates: Name to `{metric, at, ...}`, from a config or as judged.
        began: Seconds since 1970 at the first start; else the first event's.
        unit: What a record is called.

    Returns:
        Speed (`examples_per_sec`, `seconds_per_step`, `early`), what bounds it
        (`input_wait`, `bound`), hours and costs `_spent`, `_left` and `_total`, what is
        left of steps and evaluations, and `gates` {name: {`judged`, `epoch`, `hours`,
        `hours_left`, `cost`}}. What is not known is None.
    """
    speed, events = _speed(history, batch_size), history.events
    over, step = history.finished, history.step
    ahead = Plan(
        step=step,
        total=step if over else total_steps,
        epoch_steps=epoch_steps,
        every=round(evaluate_epochs * epoch_steps) if epoch_steps else 0,
        warmup=warmup_epochs,
        pace=speed["seconds_per_step"],
        evaluation=timeline.evaluation_seconds(events, began),
        spent=timeline.clock(events, began)[-1] if events else 0.0,
        over=over,
    )
    judged = {
        name: _gate_time(dict(gate.items()), history, ahead, price_per_hour, began)
        for name, gate in (gates or {}).items()
        if hasattr(gate, "items")
    }
    lengths = _lengths(ahead, price_per_hour) | {"gates": judged, "unit": unit}
    return speed | lengths


def _lengths(ahead: Plan, price: float) -> dict[str, Any]:
    """Return what is left, and hours and costs of what is done, left and in total."""
    left = ahead.seconds_to(ahead.total)
    times = {
        "spent": ahead.spent,
        "left": left,
        "total": None if left is None else ahead.spent + left,
    }
    total, evaluations = ahead.total, ahead.evaluations_to(ahead.total)
    return {
        "evaluation_seconds": ahead.evaluation,
        "evaluations_left": evaluations,
        "steps_left": None if total is None else max(total - ahead.step, 0),
        "total_steps": total,
        "price_per_hour": price,
        **{f"hours_{name}": _hours(seconds) for name, seconds in times.items()},
        **{f"cost_{name}": _cost(seconds, price) for name, seconds in times.items()},
    }


def sentence(times: Mapping) -> str:
    """Return a forecast in one sentence; empty where nothing has been measured."""
    if times["examples_per_sec"] is None:
        return ""
    text = f"{number(times['examples_per_sec'])} {times['unit']}/s"
    if times["early"]:
        text += " (compilation included)"
    text += f", {bound(times)}"
    if times["hours_left"] is None:
        return text
    of = f"the end at step {count(times['total_steps'])}"
    text += f"; {duration(3600 * times['hours_left'])} to {of}"
    if times["evaluations_left"] and times["evaluation_seconds"] is None:
        text += ", evaluations not counted"
    if times["cost_left"] is not None:
        text += (
            f", which costs {number(times['cost_left'])} at "
            f"{number(times['price_per_hour'])} an hour"
        )
    return text


def bound(times: Mapping) -> str:
    """Return what a run's speed is bound by, in words."""
    if times["bound"] is None:
        return "what bounds it was not measured"
    waited = f"{percent(times['input_wait'])} of the time goes by waiting for data"
    return f"{times['bound']}-bound ({waited})"


def _speed(history: History, batch_size: int | None) -> dict:
    """Return speed and what bounds it, since the last start."""
    recent = timeline.since_start(history)
    speed = timeline.median(timeline.points(recent, "perf/examples_per_sec"))
    waited = timeline.median(timeline.points(recent, "perf/input_wait"))
    return {
        "examples_per_sec": speed,
        "seconds_per_step": batch_size / speed if batch_size and speed else None,
        "input_wait": waited,
        "bound": _bound(waited),
        "early": len(recent.points("perf/examples_per_sec", "train", 2)) == 1,
    }


def _gate_time(
    gate: dict, history: History, ahead: Plan, price: float, began: float | None
) -> dict:
    """Return when a gate was judged, or will be."""
    events = history.events
    if (when := timeline.judged_at(gate, events, ahead)) is not None:
        seconds = timeline.clock(events, began)[when]
        epoch, left = events[when]["epoch"], 0.0
    else:
        step = ahead.due(gate)
        left = ahead.seconds_to(step)
        steps = ahead.epoch_steps
        epoch = step / steps if step is not None and steps else None
        seconds = None if left is None else ahead.spent + left
    return {
        "judged": when is not None,
        "epoch": epoch,
        "hours": _hours(seconds),
        "hours_left": _hours(left),
        "cost": _cost(seconds, price),
    }


def _bound(waited: float | None) -> str | None:
    if waited is None:
        return None
    return "input" if waited > timeline.INPUT_BOUND else "compute"


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 3600


def _cost(seconds: float | None, price: float) -> float | None:
    return seconds / 3600 * price if seconds is not None and price else None

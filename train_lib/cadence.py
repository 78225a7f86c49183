"""When things are due: the one rule for logging, evaluation and checkpoints."""


def due(step: int, every: int, total: int, *, last: bool = True) -> bool:
    """Whether something that happens every `every` steps happens after this step.

    Args:
        step: Steps made so far, from 1.
        every: LogWindow in steps; 0 for never before the end.
        total: Steps of the whole run.
        last: Whether it happens after the last step in any case.
    """
    if step >= total:
        return last
    return every > 0 and step > 0 and step % every == 0

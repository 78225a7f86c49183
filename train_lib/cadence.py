"""When logging, evaluation and checkpoints are due."""


def due(step: int, every: int, total: int, *, last: bool = True) -> bool:
    """Return whether something that happens every `every` steps is due after a step.

    Args:
        step: Steps made so far, from 1.
        every: LogWindow in steps; 0 for never before the end.
        total: Steps of the whole run.
        last: Whether it happens after the last step in any case.
    """
    if step >= total:
        return last
    return every > 0 and step > 0 and step % every == 0

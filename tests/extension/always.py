"""An alarm that any run raises, to show that it is heard."""

from reporting.alarms.common.rule import Finding, Findings, Run, alarm


@alarm(shows="the run has logged a hinge of VICReg")
def hinge_logged(run: Run) -> Findings:
    """Find runs whose method logs a hinge.

    Args:
        run: The run.
    """
    if rows := run.history.points("train/hinge", last=1):
        yield Finding("train/hinge", rows[-1].step, "A hinge was logged.", "Go on.")

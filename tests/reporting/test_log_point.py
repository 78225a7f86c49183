"""A log point reads as many events late in a run as early."""

import pytest

from benchmarks import log_point
from reporting.alarms.common import check
from reporting.gates import decisions, judgment
from reporting.history import History


class CountedEvent(dict):
    """An event that counts how often any event is read."""

    reads = 0

    def __getitem__(self, key):
        CountedEvent.reads += 1
        return super().__getitem__(key)

    def get(self, key, default=None):
        CountedEvent.reads += 1
        return super().get(key, default)


def log_point_reads(points, **fields):
    """Reads of events at the second of two log points after so many."""
    steps = points * log_point.LOG_EVERY
    history = History(map(CountedEvent, log_point.events(steps)))
    gates = judgment.of_config({"gates": log_point.GATES})
    for _ in range(2):
        CountedEvent.reads = 0
        steps += log_point.LOG_EVERY
        event = log_point.event("train", steps, log_point.training(steps))
        history.append(CountedEvent(event))
        for alarm in check.unseen(check.check(history, **fields), history):
            record = log_point.event("alarm", steps, {}) | alarm
            history.append(CountedEvent(record))
        for judged in decisions.judge_due(gates, history, epochs=1e6):
            history.append(CountedEvent(judged))
        decisions.standing(gates, history, 10**9)
    return CountedEvent.reads


def test_log_point_reads_as_many_events_late_as_early():
    early, late = log_point_reads(100), log_point_reads(3000)
    assert early > 0
    # Gates search the epochs of a tag by halves: a few more reads, not more with each.
    assert late <= early + 50


def test_benchmark_fails_where_late_log_points_are_dearer(monkeypatch, capsys):
    monkeypatch.setattr(log_point, "POINTS", (40, 60))
    monkeypatch.setattr(log_point, "MOST", 1000.0)
    assert log_point.main(["--rounds=2"]) == 0
    assert "ratio" in capsys.readouterr().out
    monkeypatch.setattr(log_point, "MOST", 0.0)
    assert log_point.main(["--rounds=2"]) == 1


def test_resume_drops_events_beyond_its_step():
    history = History(log_point.events(1000))
    rising = check.check(history, ignore=("few_queries",))
    history.append(log_point.event("resume", 500, {}))
    assert history.step == 500
    again = History([*history.events])
    assert history.metrics() == again.metrics()
    assert check.check(history) == check.check(again)
    assert rising != check.check(history)


@pytest.mark.parametrize("count", [1, 7, 60])
def test_folds_fed_in_pieces_equal_those_fed_at_once(count):
    whole = History(log_point.events(1000))
    pieces = History()
    for place, event in enumerate(log_point.events(1000)):
        pieces.append(event)
        if place % count == 0:
            check.check(pieces)
    assert check.check(pieces) == check.check(whole)

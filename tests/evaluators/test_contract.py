"""The contract that every evaluator and every baseline keeps."""

import dataclasses
import importlib
import pkgutil

import numpy as np
import pytest

import evaluators
from evaluators import baselines, retrieval
from evaluators.baselines.common.baseline import BaselineBase
from evaluators.common.evaluator import EvaluatorBase
from evaluators.common.metric import Metric
from tests.evaluators.small_data import Data, build, embed, split


def exported(package, name):
    """Return the classes that the modules of a package export, by module."""
    return {
        info.name: getattr(
            importlib.import_module(f"{package.__name__}.{info.name}"), name
        )
        for info in pkgutil.iter_modules(package.__path__)
        if not info.ispkg
    }


EVALUATORS = exported(evaluators, "Evaluator")
BASELINES = exported(baselines, "Baseline")


@pytest.mark.parametrize("name", EVALUATORS)
def test_evaluator_has_defaults_and_tags_without_data(name):
    evaluator = EVALUATORS[name]()
    assert isinstance(evaluator, EvaluatorBase)
    assert all(
        field.default is not dataclasses.MISSING
        or field.default_factory is not dataclasses.MISSING
        for field in dataclasses.fields(evaluator)
    )
    tags = evaluator.tags()
    assert len(set(tags)) == len(tags) > 0
    with pytest.raises(ValueError, match="without a context"):
        evaluator.run(embed)


@pytest.mark.parametrize("name", BASELINES)
def test_baseline_has_label_and_defaults(name):
    baseline = BASELINES[name]()
    assert isinstance(baseline, BaselineBase)
    assert baseline.label
    assert baseline.ceiling == (name == "best")


def test_labels_of_baselines_differ():
    labels = [baseline.label for baseline in BASELINES.values()]
    assert len(set(labels)) == len(labels)


def test_runs_do_not_depend_on_earlier_runs():
    rng = np.random.default_rng(0)
    data = Data(split(rng, 30), split(rng, 20, first_id=30), {})

    def constant(split, rows, view=None):
        return np.full((len(rows), 8), 8**-0.5, np.float32)

    evaluator = build(retrieval, data)
    first = evaluator.run(embed)
    examples = first.examples(6)
    evaluator.run(constant)
    assert first.examples(6) == examples
    assert str(evaluator.run(embed).metrics) == str(first.metrics)


def test_metrics_carry_kind_direction_and_headline():
    rng = np.random.default_rng(0)
    data = Data(split(rng, 30), split(rng, 20, first_id=30), {})
    metrics = build(retrieval, data, relevance="codes", k=(1, 5)).run(embed).metrics
    headlines = {tag for tag, metric in metrics.items() if metric.headline}
    assert headlines == {"e/recall@1", "e/map"}
    assert metrics["e/ndcg@5"][5:] == ("score", "higher", False)
    assert metrics["e/nar"][5:] == ("error", "lower", False)
    assert metrics["e/left_out"][5:] == ("diagnostic", "", False)
    assert Metric._fields[5:] == ("kind", "better", "headline")

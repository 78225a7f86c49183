"""Sixteen faults that cost somebody a run, each made again: the report names them.

What training shows is trained here, small; what only figures show is written down with
the figures that were reported. Healthy runs of all recipes stand beside them.
"""

import dataclasses
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import main
from evaluators import next_vector
from evaluators.baselines import persistence
from evaluators.baselines.common.baseline import Context as BaselineContext
from evaluators.common.evaluator import Context
from evaluators.metrics import intervals
from input_pipeline import data_checks
from input_pipeline.datasets import topics
from losses import fast_ap
from reporting import examples as example_files
from reporting import run_dir as files
from reporting.figures import run_figures
from tests.reporting.replay import read, replay, score, told
from tests.train_lib import tiny_run

ROOT = pathlib.Path(__file__).parents[1]
RECORDED = pathlib.Path(__file__).parent / "recorded"


@pytest.fixture(scope="module", autouse=True)
def _tiny(tmp_path_factory):
    """The real command line with a network that compiles in a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("AKIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(main, "_prepare_jax", lambda: None)
        patch.setattr(run_figures, "write", lambda folder, events: {})
        yield


def in_two_classes(data):
    """Pictures and codes of two classes: positives share nothing else."""

    def paint(split, seed):
        rng, n = np.random.default_rng(seed), len(split)
        label = rng.integers(2, size=n)
        hue = np.random.default_rng(7).integers(30, 226, (2, 2, 2, 3))
        x = np.kron(hue, np.ones((1, 8, 8, 1)))[label] + rng.normal(
            0, 8, (n, 16, 16, 3)
        )
        table = split.table | {
            "codes": label[:, None].astype(np.int32),
            "code_weights": np.ones((n, 1), np.float32),
        }
        pictures = [{"image": image} for image in np.uint8(np.clip(x, 0, 255))]
        return dataclasses.replace(split, source=pictures, table=table)

    train, validation = paint(data.train, 0), paint(data.validation, 1)
    return data._replace(train=train, validation=validation)


def test_1_weak_code_pairs_stay_at_their_ceiling(tmp_path):
    plain = {
        f"transform__{view}__{name}": 0.0
        for view in ("view1", "view2")
        for name in ("color_jitter", "grayscale", "blur", "levels", "channel_permute")
    }
    arguments = tiny_run.arguments(
        tmp_path, objective__positives="codes", data__brands=100, train__batch_size=32,
        train__epochs=24, train__log_every_steps=5, train__checkpoint_every_epochs=99,
        evaluate__every_epochs=99, optimizer__learning_rate=0.1,
        **plain,
    )  # fmt: skip
    assert main.main(arguments, build=tiny_run.build_with_data(in_two_classes)) == 0
    found = told(tmp_path)
    assert "nats open" in found["weak_labels"]["seen"]
    assert "no more to teach" in found["label_ceiling"]["seen"]
    first = next(e for e in files.read_events(tmp_path) if e["kind"] == "train")
    ranking = first["metrics"]
    assert 0.5 < ranking["train/loss_lower_bound"] / ranking["train/loss_chance"] < 1


@pytest.fixture(scope="module")
def stuck(tmp_path_factory):
    """A rate of 0, candidates of a quarter of the batch, and a slow disk."""
    folder = tmp_path_factory.mktemp("stuck")

    def slow(data):
        return data._replace(
            train=dataclasses.replace(data.train, source=Slow(data.train))
        )

    arguments = tiny_run.arguments(
        folder, optimizer__learning_rate=0.0, train__grad_cache_chunks=4,
        train__batch_size=128, train__epochs=4, data__brands=100,
        train__negatives="per_chunk", train__threads=1, train__prefetch=1,
        evaluate__every_epochs=99, train__checkpoint_every_epochs=99,
    )  # fmt: skip
    assert main.main(arguments, build=tiny_run.build_with_data(slow)) == 0
    return folder


class Slow:
    """Records that take their time."""

    def __init__(self, split):
        self.source = split.source

    def __len__(self):
        return len(self.source)

    def __getitem__(self, row):
        return self.source[row]

    def read(self, rows):
        if len(rows) == 128:  # a batch, and not a look at the data
            time.sleep(0.4)
        return {
            name: np.stack([self.source[int(r)][name] for r in rows])
            for name in self.source[0]
        }


def test_2_run_at_chance(stuck):
    assert "has not left its chance level" in told(stuck)["near_chance"]["seen"]


def test_5_four_times_quarter_is_no_batch(stuck):
    seen = told(stuck)["few_candidates"]["seen"]
    assert "compared with 32 candidates, though a step holds 128 records" in seen


def test_16_input_bound(stuck):
    found = told(stuck)["input_bound"]["seen"]
    assert "of the time goes by waiting for data" in found
    assert read(stuck)["budget"]["bound"] == "input"


RECIPE = """
from configs import moco_effnet


def get_config(arg=""):
    config = moco_effnet.get_config("smoke").unlock()
    config.train.epochs = 10.0
    config.schedule.warmup_epochs = 3.2
    one = dict(metric="train/loss", op="<=", value=0.01)
    config.gates.early = dict(metric="eval/brand/recall@1", value=0.5, at=2.0)
    config.gates.strict, config.gates.lax = dict(one), dict(one, value=0.015)
    return config.lock()
"""


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """Faults of a config are all found before anything begins."""
    folder = tmp_path_factory.mktemp("refused")
    recipe = folder / "recipe.py"
    recipe.write_text(RECIPE)
    arguments = [f"--config={recipe}", f"--workdir={folder / 'run'}"]
    command = [*arguments, "--config.schedule.epochs=100"]
    assert main.main(command, build=tiny_run.build) == 2
    found = read(folder / "run")
    assert found["verdict"].startswith("REFUSED: Nothing was started.")
    return found["refusals"][0]["faults"]


def test_3_cosine_of_100_epochs_in_run_of_10(refused, tmp_path):
    assert any("horizon of 100 epochs for a run of 10" in fault for fault in refused)
    # Where a run has come to it all the same, as one that was cut short has.
    fields = {"train": {"batch_size": 128}, "schedule": {"name": "cosine"}}
    files.write_config(tmp_path, {"config": fields})
    files.append_line(
        tmp_path / files.RESUMES, {"total_steps": 40, "horizon": [0, 400]}
    )
    losses = [{"train/loss": -0.28, "train/lr": 0.0488}]
    seen = replay(tmp_path, train=losses)["schedule_horizon"]["seen"]
    assert "a cosine will have fallen by 2.45 % only" in seen


def test_6_gate_inside_warm_up(refused):
    (fault,) = (fault for fault in refused if "gates.early" in fault)
    assert "epoch 2.00 lies inside the warm-up of 3.20 epochs" in fault


def test_15_gates_on_one_metric_with_two_thresholds(refused, tmp_path):
    (fault,) = (fault for fault in refused if "two thresholds" in fault)
    assert "got <= 0.0100 where lax has 0.0150" in fault  # in order of their names
    # A bound that moved when a run went on is the same fault, later.
    segment = {"from_step": 80, "changed": {"gates.viol.value": [0.01, 0.015]}}
    files.append_line(tmp_path / files.RESUMES, segment)
    assert "gate_changed" in replay(tmp_path, train=[{"train/loss": 0.1}])


def test_4_longer_run_needs_extend_option(tmp_path):
    short = {"train__checkpoint_every_epochs": 99, "evaluate__every_epochs": 99}
    assert (
        main.main(
            tiny_run.arguments(tmp_path, train__epochs=1, **short), build=tiny_run.build
        )
        == 0
    )
    longer = tiny_run.arguments(tmp_path, train__epochs=2, **short)
    assert main.main(longer, build=tiny_run.build) == 2
    found = read(tmp_path)
    assert found["outcome"] == "PASS"  # what was reached stays
    assert "say how it goes on" in found["refusals"][0]["faults"][0]
    assert main.main([*longer, "--extend=rescale"], build=tiny_run.build) == 0
    assert "lr_jump" in told(tmp_path)
    before, after = (
        read(tmp_path)["resumes"][-1][f"learning_rate_{side}"]
        for side in ("before", "after")
    )
    assert before < 0.1 * after


@pytest.fixture(scope="module")
def articles():
    fields = {"context": 5, "width": 16, "same_article_negatives": 0}
    return topics.load(
        train=24, validation=12, length=20, topics=4, topic=0.25, stay=0.35, move=0.7,
        noise=0.9, cross_article_negatives=4, seed=0, progress=False, **fields,
    )  # fmt: skip


def test_7_prediction_no_better_than_persistence(articles, tmp_path):
    context = Context(data=articles, prefix="eval/next", seed=0)
    evaluator = next_vector.Evaluator(context=context)
    copy = persistence.Baseline().fit(
        BaselineContext(data=articles, images=None, untrained=None, start=None)
    )

    def nearly(split, rows, view=None):
        x = copy(split, rows, view)
        noise = 0.01 * np.random.default_rng(0).standard_normal(x.shape)
        x = x + np.float32(noise if view is None else 0)
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    baseline = {tag: m._asdict() for tag, m in evaluator.run(copy).metrics.items()}
    found = {tag: m._asdict() for tag, m in evaluator.run(nearly).metrics.items()}
    told = replay(tmp_path, evaluations=[found], baselines={"persistence": baseline})
    assert "copy of the last vector" in told["not_above_baseline"]["seen"]


def test_8_windows_of_article_on_both_sides(articles, tmp_path):
    odd = np.arange(len(articles.train)) % 2
    leaky = articles._replace(
        train=articles.train.take(odd == 0), validation=articles.train.take(odd == 1)
    )
    found = replay(tmp_path / "leaky", data=data_checks.describe(leaky))
    assert "windows held out overlap" in found["leaking_split"]["seen"]
    assert replay(tmp_path / "whole", data=data_checks.describe(articles)) == {}


def test_9_average_precision_on_reversed_bins(tmp_path):
    labels, own = jnp.arange(64) // 2, jnp.arange(64)

    @jax.jit
    def step(x):
        def loss(x):
            # Walked from the far end: the ranking by the opposite of each key.
            return fast_ap.fast_ap(x, -x, labels, labels, own, bins=10)[0]

        value, grad = jax.value_and_grad(loss)(x)
        _, aux = fast_ap.fast_ap(x, x, labels, labels, own, bins=10)
        return x - 20.0 * grad, value, aux

    x, train = jax.random.normal(jax.random.key(0), (64, 16)), []
    for _ in range(120):
        x, value, aux = step(x)
        train.append(
            {
                "train/loss": float(value),
                "train/loss_chance": 1 - 1 / 63,
                "train/positive_similarity": float(aux.positive_similarity),
                "train/negative_similarity": float(aux.negative_similarity),
            }
        )
    # It falls, and that is all that was looked at.
    assert train[-1]["train/loss"] < 0.7 * train[0]["train/loss"]
    z = np.asarray(x / jnp.linalg.norm(x, axis=1, keepdims=True))
    ap, chance = average_precisions(z, np.asarray(labels))
    half = 2 * ap.std() / np.sqrt(len(ap))
    low, high = ap.mean() - half, ap.mean() + half
    measured = score(ap.mean(), 640, chance, low, high)
    found = replay(tmp_path, train=train, evaluations=[{"eval/c/map": measured}])
    assert "drives apart what belongs together" in found["reversed_pairs"]["seen"]
    assert "the ranking is reversed" in found["below_chance"]["seen"]


def average_precisions(z, labels):
    """Of all rows among all others by plain loops, and what random order has."""
    values, m = [], len(z) - 1
    for i in range(len(z)):
        order = np.argsort(-(z @ z[i]), kind="stable")
        hits = labels[order[order != i]] == labels[i]
        values.append(np.mean([hits[: k + 1].mean() for k in np.flatnonzero(hits)]))
    return np.array(values), 1 - fast_ap.chance(m, int(hits.sum()))


def test_10_labels_without_positive(tmp_path):
    def alone(data):
        label = np.arange(len(data.train), dtype=np.int32)
        table = data.train.table | {"label": label}
        return data._replace(train=dataclasses.replace(data.train, table=table))

    arguments = ["--config=configs/fastap_resnet.py:smoke", f"--workdir={tmp_path}"]
    assert main.main(arguments, build=tiny_run.build_with_data(alone)) == 2
    (refusal,) = read(tmp_path)["refusals"]
    assert "there are no positives to rank first" in refusal["faults"][0]
    # Where only batches have none, the run is stopped.
    empty = {"train/loss": 0.0, "diag/queries_with_positive": 0.0}
    found = replay(tmp_path / "batches", train=[empty] * 3)
    assert found["no_positives"]["severity"] == "stop"
    assert read(tmp_path / "batches")["exit_code"] == 4


def test_11_query_that_finds_itself(tmp_path):
    near = [{"id": 0, "score": 1.0}, {"id": 23, "score": 0.838}]
    picture = np.zeros((4, 4, 3), np.uint8)
    query = {"query": 0, "name": "frame 0", "neighbors": near}
    example_files.write(tmp_path, [query], {0: picture, 23: picture})
    found = replay(tmp_path, evaluations=[{"eval/frames/ssim@1": 0.9518}])
    assert "found themselves (frame 0)" in found["self_match"]["seen"]


def test_12_resemblance_that_random_pairs_have_too(tmp_path):
    ssim = {"eval/frames/ssim@1": score(0.9518, 445, 0.93)}
    seen = replay(tmp_path, evaluations=[ssim])["ssim_at_chance"]["seen"]
    assert "0.952 where random pairs have 0.930" in seen


def test_13_none_of_ten_is_no_result(tmp_path):
    low, high = intervals.wilson(0.0, 10)
    missed = {"eval/codes/recall@100": score(0.0, 10, 0.0009, low, high)}
    seen = replay(tmp_path, evaluations=[missed])["zero_recall"]["seen"]
    assert "0 in 10 queries: with 95 % confidence the true value is below 0.278" in seen


def test_14_perfect_score_that_pixels_have_too(tmp_path):
    perfect = {"eval/phantoms/recall@1": score(1.0, 200, 0.005, 0.981, 1.0)}
    found = replay(tmp_path, evaluations=[perfect] * 7, baselines={"pixels": perfect})
    seen = found["saturated"]["seen"]
    assert (
        "100 % from the first evaluation on, and without training: raw pixels" in seen
    )

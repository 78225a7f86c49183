"""Reports of runs that ended in every way, looked at as a reader would."""

import base64
import io
import pathlib
import shlex
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import main
from reporting import content as content_lib
from reporting import report, run_dir, timeline
from reporting.figures import result_sheet
from reporting.figures import training as training_figures
from reporting.page import render, sections
from tests.reporting import fake
from tests.reporting.page_parser import Page


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = fake.make(tmp_path_factory.mktemp("good"))
    fake.add_gallery(folder)
    return folder, report.write(folder)


def test_json_has_fields_of_contract(good):
    folder, returned = good
    read = fake.strict_json(folder / "report.json")
    assert read["outcome"] == returned["outcome"] == "PASS"
    assert read["verdict"].startswith("PASS: Finished at step 100")
    assert report.exit_code(read) == 0
    gate = read["gates"]["brand"]
    expected = {
        "passed": True,
        "required": True,
        "metric": "eval/brand/recall@1",
        "op": ">",
        "value": pytest.approx(0.9),
        "bound": 0.3,
        "at": "end",
    }
    assert {key: gate[key] for key in expected} == expected
    brand = read["metrics"]["eval/brand/recall@1"]
    assert brand["value"] == pytest.approx(0.9)
    assert brand["baselines"]["untrained"]["value"] == 0.1
    assert brand["lift"] == pytest.approx(3.0)
    assert read["metrics"]["train/loss"]["chance"] == fake.CHANCE
    assert read["alarms"] == []
    assert read["data"]["rejected"]["truncated"] == 2
    assert read["versions"]["python"] == "3.12"
    assert read["throughput"]["examples"] == 25600
    # Medians without the first point: steps 2 to 100 ran at 1500 + step.
    assert read["throughput"]["examples_per_sec"] == 1551.0


def test_page_is_one_balanced_file_with_embedded_images(good):
    folder, _ = good
    page = Page((folder / "report.html").read_text("utf-8"))
    sections = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert sections == [
        "gates", "alarms", "curves", "metrics", "evaluations", "examples", "data",
        "candidates", "time-and-cost", "config", "segments", "rules", "environment",
        "how-to-reproduce",
    ]  # fmt: skip
    assert [link for link in page.links if not link.startswith("#")] == []
    assert len(page.images) == len(list((folder / "figures").iterdir())) > 6
    for source in page.images:
        head, _, code = source.partition(",")
        content = base64.b64decode(code)
        if head == "data:image/svg+xml;base64":
            assert ElementTree.fromstring(content).tag.endswith("svg")
        else:
            assert head == "data:image/png;base64"
            Image.open(io.BytesIO(content)).verify()
    assert not any(tag in ("script", "link") for tag, _ in page.tags)


@pytest.mark.parametrize("kind", ["md", "html"])
def test_markdown_and_html_begin_with_verdict(good, kind):
    folder, _ = good
    text = (folder / f"report.{kind}").read_text("utf-8")
    text = Page(text).text if kind == "html" else text
    said = [
        "PASS", "all 2 required gates passed", "0.900 is > 0.300", "None stands",
        "0.860 … 0.940", "3.00 ×", "left_out", "2 of the 3 queries shown",
        "1,234,567", "rejected.truncated", "train.epochs", "never retrieves itself",
        "1,551", "python",
    ]  # fmt: skip
    assert [words for words in said if words not in text] == []
    assert text.index("PASS") < text.index("Gates") < text.index("recall@1")
    assert "0.0000" not in text


def test_markdown_tables_have_as_many_cells_as_their_header(good):
    folder, _ = good
    width = None
    for line in (folder / "report.md").read_text("utf-8").splitlines():
        if not line.startswith("|"):
            width = None
            continue
        cells = line.replace("\\|", "").count("|")
        assert width in (None, cells), line
        width = cells


def test_links_to_figures_in_markdown_exist(good):
    folder, _ = good
    text = (folder / "report.md").read_text("utf-8")
    for path in (folder / "figures").iterdir():
        assert f"](figures/{path.name})" in text


def test_examples_have_frames_colored_by_relevance(good):
    folder, _ = good
    picture = np.asarray(Image.open(folder / "figures" / "examples.png").convert("RGB"))
    counts = [
        (picture == color).all(-1).sum()
        for color in (result_sheet.RIGHT, result_sheet.WRONG)
    ]
    # Of 15 neighbors 12 are right and 3 wrong.
    assert counts[0] == 4 * counts[1] > 0


def test_all_neighbors_are_drawn_however_many(tmp_path):
    picture = np.zeros((16, 16, 3), np.uint8)
    near = [{"id": i, "score": 0.5, "name": "x"} for i in range(23)]
    query = {"query": -1, "name": "query", "neighbors": near}
    sheet = result_sheet.draw([query], {-1: picture} | {n["id"]: picture for n in near})
    dark = (np.asarray(sheet) == 0).all(-1).sum()
    assert dark == 24 * 96 * 96  # black pictures of 96 pixels a side, no other black
    assert result_sheet.draw([query], {}).size == sheet.size


def test_same_files_give_same_report(good):
    folder, _ = good
    before = {p.name: p.read_bytes() for p in folder.rglob("*.*") if p.is_file()}
    report.write(folder)
    after = {p.name: p.read_bytes() for p in folder.rglob("*.*") if p.is_file()}
    assert before == after


def test_names_of_strangers_stay_text(tmp_path):
    folder = fake.make(tmp_path)
    bad = "<script>alert(1)</script>|x"
    run_dir.write_json(folder / run_dir.DATA, {"rejected": {bad: 1}, "name": bad})
    fake.add_gallery(folder, name=bad + "\n標章")
    report.write(folder)
    page = Page((folder / "report.html").read_text("utf-8"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert bad in page.text
    text = (folder / "report.md").read_text("utf-8")
    assert "<script" not in text
    assert "\\|x" in text


def test_reporting_is_light():
    code = (
        "import sys; from reporting import report, status;"
        "from reporting.page import search_table;"
        "heavy = {'jax', 'flax', 'tensorflow', 'train_lib'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    root = pathlib.Path(report.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_evaluations_table_has_metrics_of_gates(good):
    folder, _ = good
    events = run_dir.read_events(folder)
    text = (folder / "report.md").read_text("utf-8")
    table = text.split("## Evaluations")[1].split("##")[0].strip().splitlines()
    header = [cell.strip() for cell in table[0].strip("|").split("|")]
    assert header[:4] == ["epoch", "step", "train/loss", "train/lr"]
    assert "brand/recall@1" in header
    evaluations = [e for e in events if e["kind"] == "eval"]
    assert len(table) - 2 == len(evaluations)
    last = [cell.strip() for cell in table[-1].strip("|").split("|")]
    value = evaluations[-1]["metrics"]["eval/brand/recall@1"]["value"]
    assert float(last[header.index("brand/recall@1")]) == pytest.approx(value, abs=1e-3)


def write_words(folder):
    """Writes a report without its figures, which take seconds."""
    run = run_dir.RunDir(folder)
    result = content_lib.assemble(run)
    parts = sections.build(run, result, {})
    page = {"report": result, "title": "x", "folder": "x", "sections": parts}
    render.render(folder, page)
    return result


def assemble(folder):
    """Return the report's content without its images, which take seconds."""
    return content_lib.assemble(run_dir.RunDir(folder))


def section(folder, title):
    """The lines of a section in report.md."""
    text = (folder / "report.md").read_text("utf-8")
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0].strip()


def test_number_of_true_candidates_is_in_report(good):
    said = section(good[0], "Candidates")
    assert "compared with 256 candidates; a step holds 256 records." in said


def test_chunks_that_share_no_candidates_show(tmp_path):
    folder = fake.make(tmp_path, epochs=1)
    config = run_dir.read_config(folder)
    config["config"]["train"] |= {"batch_size": 1024, "chunks": 4}
    config["config"]["train"]["negatives"] = "separate"
    run_dir.write_json(folder / run_dir.CONFIG, config)
    write_words(folder)
    said = section(folder, "Candidates")
    assert (
        "compared with 256 candidates; a step holds 1,024 records in 4 chunks" in said
    )


def test_price_makes_costs(tmp_path):
    folder = fake.make(tmp_path, epochs=4, final=False, state="training")
    config = run_dir.read_config(folder)
    config["config"]["train"]["price_per_hour"] = 36.0  # a hundredth a second
    config["config"]["evaluate"] = {"every_epochs": 2.0}
    run_dir.write_json(folder / run_dir.CONFIG, config)
    result = write_words(folder)
    told = result["budget"]
    # Events are a second apart from step to step, but their speed says 256 / 1521 s.
    left = 60 * 256 / 1521.0 + 3 * 0.5
    assert told["cost_left"] == pytest.approx(left / 100)
    assert told["gates"]["early"]["cost"] == pytest.approx(20.5 / 100)
    said = section(folder, "Time and cost")
    assert "| early | 2.00 | 20.5 s | 0.205 | judged |" in said
    assert "| brand | 10.0 | 52.1 s | 0.521 | forecast |" in said


def test_command_makes_run_again(good, tmp_path):
    folder = fake.make(tmp_path / "my run", epochs=1)
    config = run_dir.read_config(folder)
    # What the command line set goes before what a variant changed as well.
    config["overrides"] = {
        "train.epochs": [30.0, 10.0],
        "data.path": ["", "/data/my marks"],
        "model.layers": [[1, 1], [2, 2]],
        "gone": [1, None],
    }
    run_dir.write_json(folder / run_dir.CONFIG, config)
    run_dir.write_json(folder / run_dir.ENVIRONMENT, {"commit": "abc1234-dirty"})
    write_words(folder)
    said = section(folder, "How to reproduce")
    command = said.split("```")[1].replace("\\\n", " ")
    words = shlex.split(command)
    arguments, overrides = main.parse(words[2:])
    assert words[:2] == ["python", "main.py"]
    assert arguments.config == ["configs/x.py:smoke"]
    assert arguments.workdir == "runs/my run"
    assert overrides == {
        "train.epochs": "10.0",
        "data.path": "/data/my marks",
        "model.layers": "[2, 2]",
    }
    assert "abc1234-dirty" in said
    assert "changes that no commit holds" in said
    assert "--config.train.epochs=10.0" in section(good[0], "How to reproduce")


def test_gate_that_was_judged_more_than_once_shows_it(good):
    judged = {
        "g": {
            "passed": False, "required": True, "metric": "m", "op": ">=", "value": 0.1,
            "bound": 0.2, "at": 2, "note": "why", "low": 0.05, "high": 0.15, "n": 40,
            "epoch": 4.0, "action": "stop",
            "history": [
                {"epoch": 2.0, "value": 0.1, "passed": False, "action": "extend",
                 "until": 4.0},
                {"epoch": 4.0, "value": 0.1, "passed": False, "action": "stop"},
            ],
        }
    }  # fmt: skip
    (table,) = sections.about_gates(judged).tables
    row = dict(zip(table.header, table.rows[0], strict=True))
    assert row["value (95 %)"] == "0.100 (0.0500 … 0.150)"
    assert (row["n"], row["judged at"]) == ("40", "epoch 4.00")
    assert table.notes[0] == [
        "g, judged so far: epoch 2.00 0.100, not passed → extend to epoch 4.00; "
        "epoch 4.00 0.100, not passed → stop."
    ]


def test_advice_is_styled_apart_from_finding(tmp_path):
    folder = fake.make(tmp_path, epochs=3, final=False, state="collapsed")
    said = {"name": "odd", "severity": "stop", "tag": "x", "message": "Odd. Do so."}
    said |= {"seen": "Odd.", "advice": "Do so."}
    run_dir.append_event(folder, "alarm", step=30, epoch=3.0, **said)
    write_words(folder)
    text = (folder / "report.html").read_text("utf-8")
    assert '<li class="bad">Odd. <span class="soft">Do so.</span></li>' in text
    assert "- **Stop.** Odd. Do so." in section(folder, "Alarms")


def test_resume_is_named_by_its_reason(tmp_path):
    horizons = [("start", [0, 60]), ("resumed", [0, 60]), ("extended", [0, 100])]
    horizons += [("extended", [0, 100]), ("extended", [90, 200])]
    told = [{"why": why, "horizon": horizon} for why, horizon in horizons]
    assert timeline.starts(told) == [
        "start", "resumed", "extended, rescale", "extended, continue",
        "extended, restart",
    ]  # fmt: skip
    folder = fake.make(tmp_path, epochs=6, final=False)
    run_dir.append_event(folder, "resume", step=60, epoch=6.0)
    history = run_dir.RunDir(folder).history
    _, rate = training_figures.loss(history, {60: "extended, rescale"})
    assert [text.get_text() for text in rate.axes[0].texts] == ["extended, rescale"]

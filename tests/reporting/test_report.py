"""Reports of runs that ended in every way, looked at as a reader would."""

import base64
import html.parser
import io
import math
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from reporting import alarms, gallery, report, workdir
from tests.reporting import fake


class Page(html.parser.HTMLParser):
    """The text of a page, what it refers to, and whether its tags are balanced."""

    VOID = {"meta", "img", "br", "link"}

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.images, self.tags, self.words = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(attrs["src"])
            assert attrs["alt"]
        if "href" in attrs:
            self.links.append(attrs["href"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = fake.make(tmp_path_factory.mktemp("good"))
    fake.add_gallery(folder)
    return folder, report.write(folder)


def test_json_has_the_fields_of_the_contract(good):
    folder, returned = good
    read = fake.strict_json(folder / "report.json")
    assert read["outcome"] == returned["outcome"] == "PASS"
    assert read["verdict"].startswith("PASS: Finished at step 100")
    assert report.exit_code(read) == 0
    gate = read["gates"]["brand"]
    assert gate | {"note": ""} == {
        "passed": True,
        "required": True,
        "metric": "eval/brand/recall@1",
        "op": ">",
        "value": pytest.approx(0.9),
        "bound": 0.3,
        "at": "end",
        "note": "",
    }
    brand = read["metrics"]["eval/brand/recall@1"]
    assert brand["value"] == pytest.approx(0.9)
    assert brand["floors"]["untrained"]["value"] == 0.1
    assert brand["lift"] == pytest.approx(3.0)
    assert read["metrics"]["train/loss"]["chance"] == fake.CHANCE
    assert read["alarms"] == []
    assert read["data"]["rejected"]["truncated"] == 2
    assert read["versions"]["python"] == "3.12"
    assert read["throughput"]["examples"] == 25600
    # Medians without the first point: steps 2 to 100 ran at 1500 + step.
    assert read["throughput"]["examples_per_sec"] == 1551.0


def test_page_is_one_balanced_file_with_its_pictures_inside(good):
    folder, _ = good
    page = Page((folder / "report.html").read_text("utf-8"))
    sections = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert sections == [
        "gates", "alarms", "metrics", "curves", "evaluations", "gallery", "data",
        "config", "rules", "timing", "segments", "versions",
    ]  # fmt: skip
    assert [link for link in page.links if not link.startswith("#")] == []
    assert len(page.images) == len(list((folder / "figures").glob("*.png"))) == 6
    for source in page.images:
        head, _, code = source.partition(",")
        assert head == "data:image/png;base64"
        Image.open(io.BytesIO(base64.b64decode(code))).verify()
    assert not any(tag in ("script", "link") for tag, _ in page.tags)


@pytest.mark.parametrize("kind", ["md", "html"])
def test_both_texts_say_what_matters_and_verdict_first(good, kind):
    folder, _ = good
    text = (folder / f"report.{kind}").read_text("utf-8")
    text = Page(text).text if kind == "html" else text
    said = [
        "PASS", "all 2 required gates passed", "0.900 is > 0.300", "None stands",
        "0.860 … 0.940", "3.00 ×", "brand 12 of 412", "2 of the 3 queries shown",
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


def test_figures_differ_from_blank_and_links_in_markdown_exist(good):
    folder, _ = good
    text = (folder / "report.md").read_text("utf-8")
    for path in (folder / "figures").glob("*.png"):
        assert f"](figures/{path.name})" in text
        assert np.asarray(Image.open(path).convert("L")).std() > 10


def test_gallery_frames_right_and_wrong_in_their_colours(good):
    folder, _ = good
    picture = np.asarray(Image.open(folder / "figures" / "gallery.png").convert("RGB"))
    counts = [
        (picture == color).all(-1).sum() for color in (gallery.RIGHT, gallery.WRONG)
    ]
    # Of 15 neighbours 12 are right and 3 wrong.
    assert counts[0] == 4 * counts[1] > 0


def test_all_neighbours_are_drawn_however_many(tmp_path):
    picture = np.zeros((16, 16, 3), np.uint8)
    near = [{"id": i, "score": 0.5, "name": "x"} for i in range(23)]
    query = {"query": -1, "name": "query", "neighbours": near}
    sheet = gallery.draw([query], {-1: picture} | {n["id"]: picture for n in near})
    dark = (np.asarray(sheet) == 0).all(-1).sum()
    assert dark == 24 * 96 * 96  # black pictures of 96 pixels a side, no other black
    assert gallery.draw([query], {}).size == sheet.size


def test_same_files_give_the_same_report(good):
    folder, _ = good
    before = {p.name: p.read_bytes() for p in folder.rglob("*.*") if p.is_file()}
    report.write(folder)
    after = {p.name: p.read_bytes() for p in folder.rglob("*.*") if p.is_file()}
    assert before == after


def assemble(folder):
    """The report's content without its pictures, which take seconds."""
    return report.assemble(folder, workdir.read_events(folder))


def test_failed_gate(tmp_path):
    result = assemble(fake.make(tmp_path, brand=0.33))
    assert result["outcome"] == "FAIL"
    assert report.exit_code(result) == 3
    # .33 is above the floor of .30, but .29 … .37 is not clear of .26 … .34.
    assert "not clear of 0.260 … 0.340" in result["verdict"]
    assert [a["name"] for a in result["alarms"]] == ["under_floor"]


def test_advisory_gate_does_not_fail_the_run(tmp_path):
    folder = fake.make(tmp_path)
    config = workdir.read_config(folder)
    config["config"]["gates"] = {
        "hope": {"metric": "train/loss", "op": "<", "value": 0.1, "required": False}
    }
    workdir.write_json(folder / workdir.CONFIG, config)
    result = assemble(folder)
    assert (result["outcome"], result["exit_code"]) == ("PASS", 0)
    assert result["gates"]["hope"]["passed"] is False


def test_killed_run(tmp_path):
    folder = fake.make(tmp_path, epochs=5, final=False, state="training")
    path = folder / workdir.METRICS
    path.write_bytes(path.read_bytes()[:-20])
    fake.train_event(folder, 49, 2.0, **{"train/x": math.nan})
    result = report.write(folder)
    fake.strict_json(folder / "report.json")
    assert (result["outcome"], result["exit_code"]) == ("UNFINISHED", 75)
    assert "at step 49 of 100" in result["verdict"]
    assert result["gates"]["learned"]["passed"] is None
    assert "waits" in Page((folder / "report.html").read_text("utf-8")).text


@pytest.mark.parametrize(("state", "code"), [("preempted", 75), ("failed", 1)])
def test_ends_without_an_evaluation(tmp_path, state, code):
    result = assemble(fake.make(tmp_path, epochs=2, final=False, state=state))
    assert (result["outcome"], result["exit_code"]) == ("UNFINISHED", code)


def test_diverged_run(tmp_path):
    folder = fake.make(tmp_path, epochs=3, final=False, state="diverged")
    fake.train_event(folder, 31, math.nan)
    result = assemble(folder)
    assert (result["outcome"], result["exit_code"]) == ("DIVERGED", 4)
    assert "train/loss is not a number at step 31" in result["verdict"]
    # After a resume from before it, the fault is no longer part of the history.
    workdir.append_event(folder, "resume", step=30, epoch=3.0)
    workdir.write_heartbeat(folder, "training", step=30, total_steps=100)
    assert assemble(folder)["outcome"] == "UNFINISHED"


def test_alarm_that_only_the_loop_knows_stands_if_it_ended_the_run(tmp_path):
    folder = fake.make(tmp_path, epochs=3, final=False, state="collapsed")
    said = {"name": "odd", "severity": "stop", "tag": "x", "message": "Odd."}
    workdir.append_event(folder, "alarm", step=30, epoch=3.0, **said)
    result = assemble(folder)
    assert result["verdict"] == "DIVERGED: Odd."
    fake.train_event(folder, 31, 2.0)
    workdir.write_heartbeat(folder, "training", step=31)
    result = assemble(folder)
    assert result["outcome"] == "UNFINISHED"
    assert [a["name"] for a in result["alarms_cleared"]] == ["odd"]


def test_collapse_is_what_the_verdict_says(tmp_path):
    folder = fake.make(tmp_path, epochs=3, final=False, state="collapsed")
    for step in (31, 32, 33):
        fake.train_event(folder, step, 2.0, **{"diag/embedding_std": 1e-4})
    (alarm,) = alarms.check(workdir.read_events(folder), total_steps=100)
    result = assemble(folder)
    assert result["exit_code"] == 4
    assert result["reason"] == alarm["message"]


def test_empty_workdir_and_none(tmp_path):
    result = report.write(tmp_path)
    assert (result["outcome"], result["exit_code"]) == ("UNFINISHED", 75)
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert "Nothing has been logged yet" in page.text
    assert "left no gallery" in page.text
    with pytest.raises(FileNotFoundError, match="expected a run's workdir"):
        report.write(tmp_path / "nowhere")


def test_names_of_strangers_stay_text(tmp_path):
    folder = fake.make(tmp_path)
    bad = "<script>alert(1)</script>|x"
    workdir.write_json(folder / workdir.DATA, {"rejected": {bad: 1}, "name": bad})
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
        "import sys; from reporting import report, status, search_table;"
        "heavy = {'jax', 'flax', 'tensorflow', 'train_lib'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    root = pathlib.Path(report.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_evaluations_are_a_table_of_what_gates_look_at(good):
    folder, _ = good
    events = workdir.read_events(folder)
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

"""The report in a browser: on a desk, on a telephone, in the dark and on paper."""

import shutil

import pytest

from reporting import report, run_dir
from tests.reporting import fake

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser: none of {', '.join(NAMES)} is installed"
)
WIDTHS, SCHEMES = (1280, 400), ("light", "dark")
# Whatever is cut off at the right and is in no box that scrolls.
CUT_OFF = """() => [...document.querySelectorAll("main *")].filter(e => {
  if (e.closest(".scroll") && !e.classList.contains("scroll")) return false;
  return e.getBoundingClientRect().right > innerWidth + 1;
}).map(e => e.outerHTML.slice(0, 80))"""
CONTRAST = """() => {
  const light = c => {
    const [r, g, b] = c.match(/[\\d.]+/g).map(x => x / 255).map(
      x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const section = document.querySelector("section");
  const card = light(getComputedStyle(section).backgroundColor);
  return [...document.querySelectorAll(".word, p, td, th, li, a, figcaption, .soft")]
    .map(e => light(getComputedStyle(e).color))
    .map(x => (Math.max(x, card) + .05) / (Math.min(x, card) + .05));
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with long names, a failed gate, an alarm, a resume and a gallery."""
    folder = fake.make(tmp_path_factory.mktemp("page"), brand=0.33)
    fake.add_gallery(folder, name="a name without end " * 5)
    facts = {"name": "logos", "fingerprint": "0123456789abcdef" * 4}
    run_dir.write_json(folder / run_dir.DATA, facts | {"path": "/data/" + "x" * 120})
    run_dir.append_event(folder, "resume", step=100, epoch=10.0)
    report.write(folder)
    return folder


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"]
        )
        yield found
        found.close()


@pytest.fixture
def opened(browser, folder):
    """Opens the report; fails where the browser complains or asks for anything."""
    faults, pages = [], []

    def open_page(width, scheme="light"):
        page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        page.on("console", lambda said: faults.append(said.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("requestfailed", lambda asked: faults.append(asked.url[:80]))
        page.on("request", lambda asked: requests.append(asked.url))
        requests = []
        page.goto((folder / "report.html").as_uri())
        asked = [url for url in requests if not url.startswith(("data:", "file:"))]
        assert asked == []
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert faults == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off_and_all_can_be_read(opened, width, scheme):
    page = opened(width, scheme)
    inside = "document.scrollingElement.scrollWidth <= innerWidth"
    assert page.evaluate(inside)
    assert page.evaluate(CUT_OFF) == []
    assert min(page.evaluate(CONTRAST)) >= 4.5  # WCAG AA
    drawn = "[...document.images].every(i => i.complete && i.naturalWidth > 0)"
    assert page.evaluate(drawn)


def test_page_follows_color_scheme_of_reader(opened):
    colors = {
        page.evaluate("getComputedStyle(document.body).backgroundColor")
        for page in (opened(1280, scheme) for scheme in SCHEMES)
    }
    assert len(colors) == 2


def test_gates_are_cards_on_telephone_and_table_on_desk(opened):
    shown = """() => {
      const row = document.querySelector("#gates tbody tr");
      const tops = [...row.cells].map(c => Math.round(c.getBoundingClientRect().top));
      const label = getComputedStyle(row.cells[1], "::before").content;
      return [new Set(tops).size, label];
    }"""
    rows, label = opened(1280).evaluate(shown)
    assert (rows, label) == (1, "none")
    rows, label = opened(400).evaluate(shown)
    assert rows > 5
    assert "gate" in label


def test_panels_lie_below_each_other_on_phone_and_side_by_side_on_desk(opened):
    columns = """() => {
      const panels = [...document.querySelectorAll("#curves .panels")].at(-1);
      const lefts = [...panels.children].map(e => e.getBoundingClientRect().left);
      return new Set(lefts.map(Math.round)).size;
    }"""
    assert opened(400).evaluate(columns) == 1
    assert opened(1280).evaluate(columns) > 1


def test_every_link_leads_to_section_with_verdict_above(opened):
    page = opened(1280)
    missing = """[...document.querySelectorAll("nav a")].filter(
      a => !document.querySelector(a.hash)).length"""
    assert page.evaluate(missing) == 0
    assert page.evaluate("document.querySelectorAll('nav a').length") > 8
    top = page.evaluate("document.querySelector('.word').getBoundingClientRect().top")
    assert top < 200
    assert page.inner_text(".word") == "FAIL"


def test_page_prints_light_and_fits_paper(opened):
    page = opened(794, "dark")  # A4 at 96 dots an inch
    page.emulate_media(media="print")
    assert page.evaluate(CUT_OFF) == []
    # A word of a few letters stays whole, however many columns there are.
    lines = """[...document.querySelectorAll("#gates td:first-child:not(.note) span")]
      .map(e => e.getClientRects().length)"""
    assert set(page.evaluate(lines)) == {1}
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
    wide = """[...document.querySelectorAll(".scroll")].filter(
      e => e.scrollWidth > e.clientWidth + 1).length"""
    assert page.evaluate(wide) == 0
    printed = page.pdf(format="A4", print_background=True)
    assert printed.startswith(b"%PDF")
    assert len(printed) > 50_000

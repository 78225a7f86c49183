"""Generated pages are up to date, and pages link to files that exist."""

import pathlib
import re

import pytest

from docs import generate

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("name", ["configuration.md", "alarms.md"])
def test_generated_page_is_up_to_date(name):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert text == generate.pages()[name], "run `python -m docs.generate`"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_lines_outside_tables_have_at_most_120_characters(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 120 and "|" not in line] == []

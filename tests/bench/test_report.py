"""The report of `make bench`: goals are judged, sections replaced, other words left alone."""

from pathlib import Path

import pytest
from bench.support.report import put_section, section

from bench import goals

REPORT = "# Performance\nwords\n<!-- one: begin -->\nold\n<!-- one: end -->\nmore words\n"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    file = tmp_path / "performance.md"
    file.write_text(REPORT)
    return file


def row(table: str, words: str) -> str:
    found = [line for line in table.splitlines() if words in line]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("name", "figure", "verdict"),
    [
        ("tls-to-scp", 2.0, "yes"),
        ("tls-to-scp", 1.999, "**no**"),
        ("start-up", 1.5, "yes"),
        ("start-up", 1.51, "**no**"),
    ],
)
def test_a_goal_is_reached_at_its_bound_and_not_beyond(
    name: str, figure: float, verdict: str
) -> None:
    table = goals.summary({name: figure})

    assert row(table, goals.GOALS[name].work).endswith(f"| {verdict} |")


def test_what_a_run_does_not_measure_stays_as_it_stood() -> None:
    before = goals.summary({"tls-to-scp": 2.5})

    table = goals.summary({"start-up": 1.0}, before)

    assert "2.5×" in row(table, "TLS, verified")
    assert "1×" in row(table, "--help")
    assert goals.NOT_MEASURED in row(table, "rsync")


def test_a_section_is_replaced_and_the_words_around_it_are_not(report: Path) -> None:
    put_section("one", "One", "about", "new", report)

    assert report.read_text() == REPORT.replace("old", "new")
    assert section("one", report) == "new"


def test_a_section_that_is_not_there_comes_last_with_its_title(report: Path) -> None:
    put_section("two", "Two", "What it asks.", "figures", report)
    put_section("two", "Two", "What it asks.", "other figures", report)

    assert report.read_text().startswith(REPORT.rstrip())
    assert report.read_text().count("## Two") == 1
    assert section("two", report) == "other figures"
    assert section("one", report) == "old"


def test_a_section_without_an_end_is_not_guessed(report: Path) -> None:
    report.write_text("<!-- one: begin -->\nall the rest")

    with pytest.raises(SystemExit, match="has no end"):
        put_section("one", "One", "about", "new", report)

    assert report.read_text() == "<!-- one: begin -->\nall the rest"

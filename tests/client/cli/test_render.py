"""Nothing unprintable reaches a terminal, and JSON loses nothing."""

import json
import unicodedata
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_client.cli.render import cell_width, json_line, pasteable, printable, rfc3339, table

any_text = st.text(st.characters(codec=None), max_size=60)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain.txt", "plain.txt"),
        ("naïve 日本語 🦊", "naïve 日本語 🦊"),
        ("a\u00a0b\u3000c", "a\u00a0b\u3000c"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\r\nb\tc\0", r"a\x0d\x0ab\x09c\x00"),
        ("\x7f\x9b2J", r"\x7f\x9b2J"),
        ("exe\u202egpj", r"exe\u202egpj"),
        ("a\u200bb\u2066c\ufeff", r"a\u200bb\u2066c\ufeff"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\U000e0041"),
        ("\u3164", r"\u3164"),
        ("\ue000", r"\ue000"),
        ("line\u2028sep", r"line\u2028sep"),
    ],
)
def test_what_could_steer_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(any_text)
def test_no_text_leaves_anything_unprintable(text: str) -> None:
    shown = printable(text)

    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert printable(shown) == shown
    shown.encode()


@given(any_text)
def test_json_is_plain_ascii_on_one_line_and_reads_back(text: str) -> None:
    line = json_line({"name": text})

    assert line.isascii()
    assert line.isprintable()
    # Two lone surrogates that make a pair are one character in JSON.
    assert json.loads(line)["name"] == text.encode("utf-16", "surrogatepass").decode(
        "utf-16", "surrogatepass"
    )


def test_a_table_is_aligned_by_what_a_terminal_shows() -> None:
    lines = list(table(("SIZE", "OWNER", "PATH"), [("1 B", "日本", "a"), ("10 kB", "bob", "b")]))

    assert lines == ["SIZE   OWNER  PATH", "1 B    日本   a", "10 kB  bob    b"]


def test_a_table_aligns_numbers_to_the_right() -> None:
    lines = list(table(("SIZE", "PATH"), [("1 B", "a"), ("10 kB", "b")], right=("SIZE",)))

    assert lines == [" SIZE  PATH", "  1 B  a", "10 kB  b"]


@given(st.lists(st.tuples(any_text, any_text), max_size=5))
def test_a_row_is_one_line_whatever_its_cells_hold(rows: list[tuple[str, str]]) -> None:
    lines = list(table(("ONE", "TWO"), rows))

    assert len(lines) == len(rows) + 1
    assert all(len(line.splitlines()) == 1 for line in lines)


def test_wide_and_combining_characters_count_as_the_terminal_counts() -> None:
    assert cell_width("abc") == 3
    assert cell_width("日本") == 4
    assert cell_width("e\u0301") == 1


def test_a_candidate_is_quoted_only_where_a_shell_needs_it() -> None:
    assert pasteable("alice:docs/test.txt") == "alice:docs/test.txt"
    assert pasteable("alice:naïve.txt") == "alice:naïve.txt"
    assert pasteable("alice:two words.txt") == "'alice:two words.txt'"
    assert pasteable("alice:$(rm).txt") == "'alice:$(rm).txt'"


def test_times_are_rfc_3339_in_utc() -> None:
    local = datetime(2024, 5, 1, 12, 0, tzinfo=timezone(timedelta(hours=2)))

    assert rfc3339(local) == "2024-05-01T10:00:00Z"
    assert rfc3339(local.replace(microsecond=250_000, tzinfo=UTC)) == "2024-05-01T12:00:00.250000Z"

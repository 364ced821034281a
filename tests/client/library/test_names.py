"""What is listed obeys the contract's rules for paths, whatever the disk holds."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_client.library.disk.names import (
    Unlistable,
    check_path,
    is_of_downloads,
    listed_name,
    printable,
)
from p2p_client.net.checks import is_lawful_path


@pytest.mark.parametrize(
    "name",
    [
        "a.txt",
        "aux.c",
        "CON.txt",
        "a:b",
        "-rf",
        "trailing. ",
        "Grüße",
        "ನ್\u200dನ",
        "👩\u200d🔬",
        ".env",
    ],
)
def test_awkward_but_lawful_names_are_listed_as_they_are(name: str) -> None:
    assert listed_name(name) == name


def test_a_decomposed_name_is_listed_composed() -> None:
    assert listed_name("e\u0301te\u0301") == "\u00e9t\u00e9"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a\\b", "backslash"),
        ("a\nb", "control"),
        ("\x1b[31m", "control"),
        ("a\x7f", "control"),
        ("a\x85b", "control"),
        ("evil\u202etxt.exe", "invisible"),
        ("\u2066a", "invisible"),
        ("a\u200bb", "invisible"),
        ("\ufeffa", "invisible"),
        ("a\u2028b", "unprintable"),
        ("\ue000", "unprintable"),
        ("\U000e0fff", "unprintable"),
        ("caf\udce9", "not UTF-8"),
        ("é" * 128, "longer"),
        ("\u0958" * 60, "longer"),  # NFC makes it longer
        ("", "no name"),
        ("..", "no name"),
    ],
)
def test_names_that_break_the_rules_are_refused_with_the_reason(name: str, why: str) -> None:
    with pytest.raises(Unlistable, match=why):
        listed_name(name)


def test_a_path_is_bounded_in_bytes_and_levels() -> None:
    check_path("/".join(["a"] * 64))
    check_path("a" * 1024)
    with pytest.raises(Unlistable, match="deeper"):
        check_path("/".join(["a"] * 65))
    with pytest.raises(Unlistable, match="longer"):
        check_path("a" * 1025)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (".talk.mp4.0123abcd.p2p-part", True),
        (".talk.mp4.0123abcd.p2p-journal", True),
        (".talk.mp4.0123abcd.p2p-journal.new", True),
        (".a\nb.0123abcd.p2p-part", True),
        ("talk.mp4.0123abcd.p2p-part", False),
        (".talk.mp4.0123ABCD.p2p-part", False),
        (".0123abcd.p2p-part", False),
        (".talk.mp4", False),
    ],
)
def test_unfinished_downloads_are_told_by_their_names(name: str, expected: bool) -> None:
    assert is_of_downloads(name) is expected


@given(st.text(st.characters(), max_size=40))
def test_whatever_is_listed_is_lawful_for_the_one_who_is_told(name: str) -> None:
    try:
        listed = listed_name(name)
    except Unlistable:
        return
    if "/" not in listed:  # no disk has such a name
        assert is_lawful_path(f"root/{listed}")
    assert listed == unicodedata.normalize("NFC", name)


@given(st.text(st.characters(), max_size=40))
def test_what_is_shown_of_a_bad_name_can_be_printed(name: str) -> None:
    shown = printable(name)
    shown.encode()
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown)

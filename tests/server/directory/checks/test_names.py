"""What passes the rule for paths can be printed on one line and laid below a folder."""

import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from p2p_server.directory.checks.names import (
    checked_peer_id,
    checked_user,
    is_media_type,
    path_fault,
)
from p2p_server.directory.errors import FieldInvalid
from p2p_server.directory.models import Limits

LIMITS = Limits()

awkward = st.text(
    st.one_of(
        st.sampled_from("/.\\\0\n\r\x1b\u202e\u200b\u200c\u200d\ufeff\u2028e\u0301éA a:-~"),
        st.characters(),
    ),
    max_size=80,
)


@given(path=awkward)
@example(path="a/b")
@example(path="..")
@example(path="\ud800")
def test_a_lawful_path_stays_below_its_folder_and_on_its_line(path: str) -> None:
    if path_fault(path, LIMITS):
        return

    parts = PurePosixPath("/folder", path).parts
    assert len(path.splitlines()) == 1
    assert path.encode()
    assert unicodedata.is_normalized("NFC", path)
    assert parts[:2] == ("/", "folder")
    assert ".." not in parts
    assert PurePosixPath("/folder", path).as_posix() == f"/folder/{path}"
    bad = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not {unicodedata.category(c) for c in path} & bad
    assert {c for c in path if unicodedata.category(c) == "Cf"} <= {"\u200c", "\u200d"}


@given(parts=st.lists(st.text("abcXYZ09._-~ +,;=@éß日本", min_size=1), min_size=1, max_size=10))
def test_ordinary_names_are_lawful(parts: list[str]) -> None:
    path = "/".join(part for part in parts if part not in {".", ".."})
    if not path or len(path.encode()) > 255:
        return

    assert path_fault(path, LIMITS) == ""


@pytest.mark.parametrize(
    ("path", "is_lawful"),
    [
        ("x" * 255, True),
        ("x" * 256, False),
        ("é" * 127 + "x", True),
        ("é" * 128, False),
        ("/".join(["x" * 204] * 5), True),  # 1,024 bytes
        ("/".join(["x" * 204] * 5) + "x", False),
        ("/".join("x" * 64), True),
        ("/".join("x" * 65), False),
    ],
)
def test_lengths_count_bytes_and_levels(path: str, is_lawful: bool) -> None:
    assert (path_fault(path, LIMITS) == "") is is_lawful


def test_the_message_names_an_unprintable_character_without_printing_it() -> None:
    assert path_fault("a\u202eb", LIMITS) == "the path has an unprintable character (U+202E)"


@pytest.mark.parametrize("name", ["a", "A1", "0", "a.b_c-d", "x" * 64])
def test_lawful_user_names(name: str) -> None:
    assert checked_user(name) == name


@given(name=st.text(max_size=70))
def test_a_user_name_is_ascii_and_begins_with_a_letter_or_digit(name: str) -> None:
    try:
        checked_user(name)
    except FieldInvalid:
        return
    assert name.isascii()
    assert name[0].isalnum()
    assert len(name) <= 64
    assert "\n" not in name


@pytest.mark.parametrize("text", ["x" * 15, "x" * 65, "x" * 16 + "\n", "x" * 15 + "/", ""])
def test_unlawful_peer_ids(text: str) -> None:
    with pytest.raises(FieldInvalid):
        checked_peer_id(text)


@pytest.mark.parametrize(
    ("text", "is_lawful"),
    [
        ("image/png", True),
        ("application/vnd.oasis.opendocument.text", True),
        ("image/svg+xml", True),
        ("image", False),
        ("image/", False),
        ("image/png\n", False),
        ("a/" + "b" * 125, True),
        ("a/" + "b" * 126, False),
    ],
)
def test_media_types(text: str, is_lawful: bool) -> None:
    assert is_media_type(text) is is_lawful

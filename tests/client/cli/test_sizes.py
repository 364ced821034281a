"""Every size that is shown can be typed back, and means nearly the same; nonsense is refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_client.cli.sizes import (
    LARGEST_BYTES,
    parse_size,
    show_rate,
    show_seconds,
    show_size,
)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("4096", 4096),
        ("10B", 10),
        ("10MB", 10_000_000),
        ("10 MB", 10_000_000),
        (" 1.5GiB ", 1_610_612_736),
        ("1k", 1000),
        ("1K", 1000),
        ("1Ki", 1024),
        ("1KiB", 1024),
        (".5MiB", 524_288),
        ("1.", 1),
        ("1.9", 1),
        ("9223372036854775807", LARGEST_BYTES),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-1",
        "+1",
        "1e5",
        "nan",
        "inf",
        "12q",
        "MB",
        "1.2.3",
        "1 000",
        "0x10",
        "١٢",
        "8EiB",
        "9223372036854775808",
        "9" * 31,
        "1iB",
        ".",
    ],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


@given(st.integers(0, LARGEST_BYTES))
def test_a_whole_number_of_bytes_reads_as_itself(size_bytes: int) -> None:
    assert parse_size(str(size_bytes)) == size_bytes


@given(st.integers(0, LARGEST_BYTES))
def test_a_shown_size_reads_back_within_its_digits(size_bytes: int) -> None:
    shown = show_size(size_bytes)

    assert len(shown) <= len("9.99 MB") or size_bytes < 1000
    if size_bytes < LARGEST_BYTES * 99 // 100:
        assert parse_size(shown) == pytest.approx(size_bytes, rel=0.006)


@given(st.integers(0, LARGEST_BYTES), st.integers(0, LARGEST_BYTES))
def test_a_larger_size_never_shows_as_a_smaller_one(one: int, other: int) -> None:
    low, high = sorted((one, other))
    if high < LARGEST_BYTES * 99 // 100:
        assert parse_size(show_size(low)) <= parse_size(show_size(high))


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert 0 <= parse_size(text) <= LARGEST_BYTES


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (12_345, "12.3 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (1_500_000_000, "1.50 GB"),
        (LARGEST_BYTES, "9.22 EB"),
    ],
)
def test_a_size_shows_three_digits(size_bytes: int, shown: str) -> None:
    assert show_size(size_bytes) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.00 s"),
        (0.314, "0.31 s"),
        (9.999, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (187, "3 min 07 s"),
        (7_500, "2 h 05 min"),
        (273_600, "3 d 04 h"),
    ],
)
def test_a_span_of_time_shows_its_two_largest_units(seconds: float, shown: str) -> None:
    assert show_seconds(seconds) == shown


def test_a_rate_without_time_is_a_dash() -> None:
    assert show_rate(10, 0) == "-"
    assert show_rate(50_000_000, 2) == "25.0 MB/s"

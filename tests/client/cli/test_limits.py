"""Limits that nobody could keep are refused in a sentence, before anything is done."""

import pytest

from p2p_client.cli.options import parse_rate
from p2p_client.config import SLOWEST_BYTES_PER_SECOND, Settings
from p2p_client.errors import UsageError


@pytest.mark.parametrize(
    ("text", "bytes_per_second"),
    [
        ("20MB", 20e6),
        ("20 MB/s", 20e6),
        ("512KiB", 524_288),
        ("16KiB/s", 16_384),
        ("1.5g", 1.5e9),
        ("1EB", 1e18),
    ],
)
def test_a_rate_is_read_as_people_write_it(text: str, bytes_per_second: float) -> None:
    assert parse_rate(text) == bytes_per_second


@pytest.mark.parametrize("text", ["0", "0MB/s", "1", "16383", "0.5", "15.9KiB"])
def test_a_limit_that_lets_nothing_through_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="too low: at least 16KiB a second"):
        parse_rate(text)


@pytest.mark.parametrize(
    "text", ["", "-1", "-5MB", "1e9", "nan", "inf", "abc", "20MB/h", "9999999EB", "8EiB", "--"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no rate: write it like"):
        parse_rate(text)


@pytest.mark.parametrize(
    "limit", [0, -1, -5e6, SLOWEST_BYTES_PER_SECOND - 1, float("nan"), float("inf")]
)
def test_a_program_cannot_set_such_a_limit_either(limit: float) -> None:
    with pytest.raises(UsageError, match="a limit of"):
        Settings(limit_up_bytes_per_second=limit)
    with pytest.raises(UsageError, match="a limit of"):
        Settings(limit_down_bytes_per_second=limit)


def test_a_peer_without_a_slot_or_a_stream_is_refused() -> None:
    for settings in ({"max_uploads": 0}, {"max_uploads": -1}, {"download_streams": 0}):
        with pytest.raises(UsageError, match="at least 1"):
            Settings(**settings)  # type: ignore[arg-type]

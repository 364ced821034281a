"""Ranges and chunk sizes: whatever is asked for, what is given stays within its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_client.upload.refusals import RangeInvalid
from p2p_client.upload.stream import (
    LARGEST_CHUNK_BYTES,
    SMALLEST_CHUNK_BYTES,
    chunk_bytes_of,
    end_of_range,
)

int64 = st.integers(-(1 << 63), (1 << 63) - 1)
sizes = st.integers(0, (1 << 63) - 1)


@given(int64, int64, sizes)
def test_a_range_lies_within_the_content_or_is_refused(offset: int, limit: int, size: int) -> None:
    if offset < 0 or offset > size or limit < 0:
        with pytest.raises(RangeInvalid):
            end_of_range(offset, limit, size)
        return
    end = end_of_range(offset, limit, size)
    assert offset <= end <= size
    assert end == size or end - offset == limit


@given(st.integers(-(1 << 31), (1 << 31) - 1))
def test_a_chunk_is_never_smaller_or_larger_than_agreed(wished: int) -> None:
    assert SMALLEST_CHUNK_BYTES <= chunk_bytes_of(wished) <= LARGEST_CHUNK_BYTES
    assert chunk_bytes_of(0) == LARGEST_CHUNK_BYTES

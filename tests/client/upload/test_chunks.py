"""A chunk encoded by hand is the chunk that protobuf makes, byte for byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.v1.peer_pb2 import FetchFileResponse
from p2p_client.upload.stream import head_of_chunk


@given(st.binary(min_size=1, max_size=1_000))
def test_a_chunk_is_what_protobuf_makes(data: bytes) -> None:
    assert head_of_chunk(len(data)) + data == FetchFileResponse(data=data).SerializeToString()


@pytest.mark.parametrize("size", [1, 127, 128, 16_383, 16_384, (1 << 20) - 1, 1 << 20])
def test_a_chunk_of_any_length_is_what_protobuf_makes(size: int) -> None:
    data = bytes(size)

    assert head_of_chunk(len(data)) + data == FetchFileResponse(data=data).SerializeToString()

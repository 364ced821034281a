"""h2load takes a refusal for an answer; `make bench-directory` does not."""

import pytest
from bench.directory.h2load import Said, check_bytes, handled, more_of, read
from bench.support.processes import Failed

SAID = """\
finished in 477.96ms, 4184.43 req/s, 260.86KB/s
requests: 2000 total, 2000 started, 2000 done, 1990 succeeded, 10 failed, 10 errored, 0 timeout
status codes: 1990 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 124.68KB (127675) total, 6.15KB (6300) headers (space savings 96.11%), 9.77KB (10000) data
"""
PAGE = """\
# TYPE p2p_rpc_handled_total counter
p2p_rpc_handled_total{code="OK",method="Heartbeat",reason="OK"} 7.0
p2p_rpc_handled_total{code="OK",method="Query",reason="OK"} 3.0
"""
REFUSED = 'p2p_rpc_handled_total{code="UNAUTHENTICATED",method="Heartbeat",reason="GONE"} 2.0\n'


def test_what_it_says_is_read() -> None:
    assert read(SAID) == Said(2_000, 1_990, 10_000, 4_184.43)


def test_another_program_is_not_read_as_it() -> None:
    with pytest.raises(Failed, match="something else: hello"):
        read("hello")


def test_answers_without_bytes_are_refusals() -> None:
    check_bytes(Said(2_000, 2_000, 10_000, 1.0), 5)
    with pytest.raises(Failed, match="9995 bytes"):
        check_bytes(Said(2_000, 2_000, 9_995, 1.0), 5)


def test_heartbeats_that_the_directory_refused_are_told_from_those_that_it_did_not() -> None:
    before = handled(PAGE)

    assert before == {"OK": 7}
    assert more_of(before, handled(PAGE + REFUSED)) == {"UNAUTHENTICATED": 2}

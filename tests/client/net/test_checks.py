"""Of single values from the network only lawful ones get past."""

import ipaddress
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_client.net.checks import (
    clamp,
    instant,
    is_bearer,
    is_lawful_path,
    is_media_type,
    lawful_endpoint,
    parse_literal,
)


@pytest.mark.parametrize(
    "path",
    [
        "a.txt",
        "photos/2024/a.jpg",
        "aux.c",
        "CON.txt",
        "a:b",
        "-rf",
        "dot. ",
        "é/漢/😀",
        "می\u200cخواهم",
        "x" * 255,
        "/".join("a" * 64),
        "...",
    ],
)
def test_lawful_though_awkward_paths_pass(path: str) -> None:
    assert is_lawful_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "/etc/passwd",
        "../../x",
        "a/../../b",
        "a/./b",
        "a//b",
        "a/",
        "C:\\x",
        "a\\b",
        "a\x00b",
        "a\nb",
        "a\x1b[2Jb",
        "a\x7f",
        "a\x9b",
        "a\u202eb",
        "a\u2066b",
        "a\u200bb",
        "a\u200eb",
        "a\u061cb",
        "a\u2028b",
        "a\ufeffb",
        "a\ue000b",
        "a\u0378b",
        "e\u0301",
        "x" * 256,
        "漢" * 86,
        "/".join("a" * 65),
        "/".join(["x" * 200] * 6),
    ],
)
def test_unlawful_paths_do_not(path: str) -> None:
    assert not is_lawful_path(path)


@given(st.text())
def test_a_lawful_path_stays_within_a_folder_and_a_line(path: str) -> None:
    if is_lawful_path(path):
        assert not {"", ".", ".."} & set(path.split("/"))
        assert not set(path) & set("\\\x00\n\r\x1b\u202e")
        assert unicodedata.normalize("NFC", path) == path
        assert len(path.encode()) <= 1_024


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_an_endpoint_gets_its_canonical_form(host: str, shown: str) -> None:
    endpoint = lawful_endpoint(host, 80)
    assert endpoint is not None
    assert endpoint.host == shown


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "files.lab",
        "0x7f.1",
        "127.1",
        "010.0.0.1",
        "0.0.0.0",
        "::",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "2001:db8::1%1",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "[::1]",
        "192.0.2.1:80",
        "192.0.2.1\n",
    ],
)
def test_nobody_sends_us_to_such_a_host(host: str) -> None:
    assert lawful_endpoint(host, 80) is None


@pytest.mark.parametrize("port", [-1, 0, 65_536, 1 << 31])
def test_nobody_sends_us_to_such_a_port(port: int) -> None:
    assert lawful_endpoint("192.0.2.1", port) is None


@given(st.one_of(st.text(max_size=20), st.ip_addresses().map(str)))
def test_a_literal_is_parsed_or_refused_never_more(host: str) -> None:
    literal = parse_literal(host)
    assert literal is None or ipaddress.ip_address(str(literal)) == literal


@pytest.mark.parametrize("text", ["", "a b", "a\n", "ä", "a\x00", "x" * 11])
def test_what_cannot_travel_as_a_bearer_does_not(text: str) -> None:
    assert not is_bearer(text, 10)


@pytest.mark.parametrize(
    ("text", "passes"),
    [("image/png", True), ("a/b+c", True), ("", False), ("image", False), ("a/b\x1b", False)],
)
def test_media_types_are_plain(text: str, passes: bool) -> None:
    assert is_media_type(text) is passes


@given(st.floats())
def test_a_clamped_number_is_within_its_bounds(value: float) -> None:
    assert 0.2 <= clamp(value, 0.2, 30.0) <= 30.0


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(-(1 << 31), (1 << 31) - 1))
def test_any_timestamp_is_a_time_one_can_reckon_with(seconds: int, nanos: int) -> None:
    at = instant(seconds, nanos)
    assert at.utcoffset() is not None
    assert 1970 <= at.year < 9_950

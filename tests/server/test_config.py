"""Flags become a Config, or are refused with a sentence."""

from pathlib import Path

import pytest

from p2p_server.config import (
    Address,
    PostgresUrl,
    UsageError,
    database_of,
    parse_address,
    parse_lease,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("[::]:50051", Address("::", 50051)),
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("localhost:1", Address("localhost", 1)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", ":", "host", "host:", ":1", "::1:5", "[::1]", "h:65536", "h:-1", "h:1 ", "h:1\n", "h:٣"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="--listen"):
        parse_address(text)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("::", False), ("10.0.0.1", False)],
)
def test_loopback(host: str, is_loopback: bool) -> None:
    assert Address(host, 1).is_loopback is is_loopback


@pytest.mark.parametrize("seconds", [0, -1, 0.5, float("nan"), float("inf"), 3_601])
def test_leases_that_make_no_sense(seconds: float) -> None:
    with pytest.raises(UsageError, match="--lease"):
        parse_lease(seconds)


@pytest.mark.parametrize(
    ("store", "state_dir", "path"),
    [
        (None, Path("/state"), Path("/state/directory.db")),
        ("/a/b.db", Path("/state"), Path("/a/b.db")),
        ("b.db", None, Path("b.db")),
        ("sqlite:///a/b.db", None, Path("/a/b.db")),
        ("sqlite:////a/b.db", None, Path("/a/b.db")),
    ],
)
def test_where_the_database_is(store: str | None, state_dir: Path | None, path: Path) -> None:
    assert database_of(store, state_dir) == path


@pytest.mark.parametrize(
    "store", ["", "mysql://h/d", "postgresql://[h/d", "sqlite://", "sqlite:///", "sqlite://h/d"]
)
def test_databases_of_no_known_kind(store: str) -> None:
    with pytest.raises(UsageError, match="--store"):
        database_of(store, None)


def test_without_flags_the_database_is_in_the_user_s_state_folder() -> None:
    path = database_of(None, None)

    assert isinstance(path, Path)
    assert path.is_absolute()
    assert path.parts[-2:] == ("p2p-server", "directory.db")


def test_a_database_is_named_without_its_password() -> None:
    database = database_of("postgresql://ann:secret@db.example:5433/p2p?sslmode=require", None)

    assert isinstance(database, PostgresUrl)
    assert database.url.endswith("sslmode=require")
    assert str(database) == "postgresql://db.example:5433/p2p"


@pytest.mark.parametrize("secret", ["se/cret", "se?cret", "se#cret", "se@cret", "1/cret"])
def test_a_password_is_not_shown_even_if_it_breaks_the_url(secret: str) -> None:
    shown = str(PostgresUrl(f"postgresql://ann:{secret}@db.example/p2p?sslmode=require"))

    assert shown == "postgresql://db.example/p2p"

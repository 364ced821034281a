"""Global options mean the same before and after the command, and nothing else is ever moved."""

import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st

from p2p_client.cli import options
from p2p_client.cli.main import program
from p2p_client.cli.options import (
    GlobalOptions,
    hoist,
    parse_address,
    parse_addresses,
    parse_fingerprint,
    parse_user,
)
from p2p_client.config import Address
from p2p_client.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "hoisted", "rest"),
    [
        ("search a --json", ["--json"], ["search", "a"]),
        ("--json search a", ["--json"], ["search", "a"]),
        ("join h:1 --user bob", ["--user", "bob"], ["join", "h:1"]),
        ("join h:1 --user=bob", ["--user=bob"], ["join", "h:1"]),
        ("get x -v --insecure -o y", ["-v", "--insecure"], ["get", "x", "-o", "y"]),
        ("search -- --json -v", [], ["search", "--", "--json", "-v"]),
        ("--json search -- --user", ["--json"], ["search", "--", "--user"]),
        ("get x -o --json", [], ["get", "x", "-o", "--json"]),
        ("search --owner --user bob", [], ["search", "--owner", "--user", "bob"]),
        ("search --owner=a --json", ["--json"], ["search", "--owner=a"]),
        ("--user --json peers", ["--user", "--json"], ["peers"]),
        ("", [], []),
    ],
)
def test_global_options_are_brought_before_the_command(
    arguments: str, hoisted: list[str], rest: list[str]
) -> None:
    assert hoist(arguments.split()) == (hoisted, rest)


any_arguments = st.lists(
    st.one_of(
        st.sampled_from(sorted(options.GLOBAL_FLAGS | options.GLOBAL_VALUES)),
        st.sampled_from(sorted(options.COMMAND_VALUES)),
        st.sampled_from(["--", "search", "--user=x", "--json=x", "-ofile", ""]),
        st.text(max_size=5),
    )
)


def test_a_global_option_without_its_value_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--user needs a value"):
        hoist(["get", "x", "--user"])


@given(any_arguments)
def test_no_argument_is_lost_or_made_up(arguments: list[str]) -> None:
    arguments = [*arguments, "last"]

    hoisted, rest = hoist(arguments)

    assert sorted(hoisted + rest) == sorted(arguments)


@given(any_arguments)
def test_what_follows_two_dashes_is_never_touched(arguments: list[str]) -> None:
    assert hoist(["search", "--", *arguments]) == ([], ["search", "--", *arguments])


def _parameters() -> dict[str, bool]:
    """Every option of every command, and whether a value follows it."""
    found: dict[str, bool] = {}
    waiting = [typer.main.get_command(program())]
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        for parameter in command.params:
            for name in parameter.opts:
                if name.startswith("-"):
                    found[name] = not getattr(parameter, "is_flag", False)
    return found


def test_the_tables_of_options_are_those_of_the_commands() -> None:
    parameters = _parameters()
    own = options.GLOBAL_FLAGS | options.GLOBAL_VALUES | {"--version", "--help", "-h"}
    own |= {"--install-completion", "--show-completion"}

    assert {name for name, takes in parameters.items() if takes} - own == options.COMMAND_VALUES
    assert all(parameters[name] for name in options.GLOBAL_VALUES)
    assert not any(parameters[name] for name in options.GLOBAL_FLAGS)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("files.lab:50051", Address("files.lab", 50051)),
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("[::1]:80", Address("::1", 80)),
        (" h:1 ", Address("h", 1)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", ":", "h", "h:", ":1", "h:x", "h:65536", "h:-1", "h:1:2", "h:\u0663", "a b:1", "user@h:1"],
)
def test_what_is_no_address_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        parse_address(text)


@pytest.mark.parametrize("text", ["[::1]", "[::1", "[::1]x", "::1", "http://h:1", "h:1/x"])
def test_brackets_need_a_port_and_urls_are_no_addresses(text: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        parse_address(text)


def test_directories_have_a_default_port_and_may_be_several() -> None:
    assert parse_addresses("a, b:1,[::1],fd00::7") == (
        Address("a", 50051),
        Address("b", 1),
        Address("::1", 50051),
        Address("fd00::7", 50051),
    )
    with pytest.raises(UsageError):
        parse_addresses(" , ")
    for text in ("a:0", "h:1:2", "a,fd00::x"):
        with pytest.raises(UsageError):
            parse_addresses(text)


@pytest.mark.parametrize("text", ["", "-a", "a b", "a/b", "ä", "a" * 65, "a\n"])
def test_what_is_no_user_name_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_user(text)


def test_a_fingerprint_may_have_colons_and_capitals() -> None:
    assert parse_fingerprint(":".join(["AB"] * 32)) == "ab" * 32
    for text in ("ab", "xy" * 32, "ab" * 33):
        with pytest.raises(UsageError):
            parse_fingerprint(text)


def test_what_a_command_is_given_wins_over_the_global_options() -> None:
    settings = GlobalOptions(server="a:1", user="alice").settings(server="b:2")

    assert settings.server == (Address("b", 2),)
    assert settings.user == "alice"
    assert settings.insecure is None

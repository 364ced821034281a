"""Clients of each language, built once, as users of a network of real processes."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conformance.clients import LANGUAGES, Command, Speaker, ToolchainAbsent, command_of
from tests.support.programs.network import Network

SpeakerOf = Callable[[str, str], Speaker]
SpeakersOf = Callable[[str], list[Speaker]]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with Network(tmp_path) as network:
        yield network


@pytest.fixture(scope="session")
def client() -> Callable[[str], Command]:
    """The client of a language; skips the test where its toolchain is absent."""

    def built(language: str) -> Command:
        try:
            return command_of(language)
        except ToolchainAbsent as absent:
            pytest.skip(f"no {language} client: {absent}")

    return built


@pytest.fixture
def speaker(network: Network, client: Callable[[str], Command]) -> SpeakerOf:
    """A user of that name with the client of that language."""

    def new(name: str, language: str) -> Speaker:
        return Speaker(network, name, client(language))

    return new


@pytest.fixture
def speakers(network: Network) -> SpeakersOf:
    """A user of each language whose client can be had here, named after both. What is absent is
    told by the tests that try one language each."""

    def new(name: str) -> list[Speaker]:
        found = []
        for language in LANGUAGES:
            with contextlib.suppress(ToolchainAbsent):
                found.append(Speaker(network, f"{name}-{language}", command_of(language)))
        return found

    return new

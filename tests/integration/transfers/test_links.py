"""Downloads over several hosts whose links are slow, and are cut: what is used, what is lost.

Each source has a host and a capped link of its own, so only several together are fast; the
directory has a host too. Nothing is said about speed here: `make bench` measures it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.support.programs.hosts import Host, hosts, why_not
from tests.support.programs.network import Network, User
from tests.support.programs.processes import Program, Record, json_lines

REASON = why_not(limits=True)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.netns,
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
]

RATE = "40mbit"
SOURCE_COUNT = 3
CONTENT = os.urandom(24 << 20)
IN_FLIGHT_BYTES = 16 << 20
EVENTS_STANDING_STILL = 5


@dataclass
class Swarm:
    """A directory, sources that share one content, and bob, each on a host of its own."""

    directory: Host
    sources: list[Host]
    bobs: Host
    bob: User
    server: str

    def get(self) -> Program:
        return self.bob.start("--server", self.server, "--json", "get", "film.mkv")

    @property
    def fetched(self) -> bytes:
        return (self.bob.folder / "film.mkv").read_bytes()


@pytest.fixture
def swarm(network: Network) -> Iterator[Swarm]:
    with hosts(SOURCE_COUNT + 2) as (here, bobs, *sources):
        directory = network.directory(listen="0.0.0.0:0", prefix=here.prefix)
        server = f"{here.address}:{directory.port}"
        for number, host in enumerate(sources):
            host.limit(RATE)
            user = network.user(f"source{number}", prefix=host.prefix)
            user.file("film.mkv", CONTENT)
            share = user.start("--server", server, "--json", "share", "film.mkv")
            assert share.wait_for_event("ready")["endpoint"] is not None
        yield Swarm(here, sources, bobs, network.user("bob", prefix=bobs.prefix), server)


def verified(get: Program, size_bytes: int) -> None:
    get.wait_for_event("progress", where=lambda event: event["verified_bytes"] >= size_bytes)


def stands_still(get: Program) -> bool:
    """Whether the last few events say that nothing comes any more."""
    counts = [
        event["fetched_bytes"]
        for event in json_lines(get.stdout)
        if event.get("event") == "progress"
    ]
    last = counts[-EVENTS_STANDING_STILL:]
    return len(last) == EVENTS_STANDING_STILL and len(set(last)) == 1


def finished(get: Program) -> Record:
    ended = get.wait(within_seconds=90)
    assert ended.ok
    return ended.event("finished")


def test_sources_behind_slow_links_are_used_together(swarm: Swarm) -> None:
    done = finished(swarm.get())

    assert swarm.fetched == CONTENT
    assert set(done["sources"]) == {"source0", "source1", "source2"}


def test_a_cut_link_costs_only_what_was_in_flight(swarm: Swarm) -> None:
    get = swarm.get()
    verified(get, 6 << 20)

    swarm.sources[0].cut()

    done = finished(get)
    assert swarm.fetched == CONTENT
    assert done["fetched_bytes"] < len(CONTENT) + IN_FLIGHT_BYTES
    assert {"source1", "source2"} <= set(done["sources"])


def test_a_download_goes_on_while_the_directory_is_cut_off(swarm: Swarm) -> None:
    get = swarm.get()
    verified(get, 2 << 20)

    swarm.directory.cut()

    finished(get)
    assert swarm.fetched == CONTENT


def test_a_downloader_that_is_cut_off_for_a_moment_goes_on_by_itself(swarm: Swarm) -> None:
    get = swarm.get()
    verified(get, 6 << 20)

    swarm.bobs.cut()
    get.wait_for(stands_still)
    swarm.bobs.mend()

    finished(get)
    assert swarm.fetched == CONTENT

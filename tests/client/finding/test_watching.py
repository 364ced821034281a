"""A watch goes on by itself: cut, refused, restarted, and fed with lies."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import grpc
import pytest
from tests.support.directory.fake import FakeDirectory

from p2p.v1 import directory_pb2 as pb
from p2p_client import Peer, Settings
from p2p_client.errors import DirectoryRefused
from p2p_client.finding import watching
from p2p_client.models import Happened, Query, WatchEvent


@pytest.fixture
async def directory() -> AsyncIterator[FakeDirectory]:
    async with FakeDirectory() as running:
        yield running


@pytest.fixture
async def peer(
    directory: FakeDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Peer]:
    monkeypatch.setattr(watching, "FIRST_PAUSE_SECONDS", 0.01)
    settings = Settings(server=(directory.address,), user="bob", state_dir=tmp_path / "bob")
    async with Peer(settings) as running:
        yield running


def response(
    *kinds: Happened, token: str = "", path: str = "a.txt", digest: str = "d" * 64
) -> pb.WatchResponse:
    """Events of one peer, alice, and of one resource of hers."""
    answer = pb.WatchResponse(resume_token=token)
    answer.peers.add(peer_id="p" * 22, user="alice")
    for kind in kinds:
        about = kind in {Happened.APPEARED, Happened.CHANGED, Happened.GONE}
        name = f"RESOURCE_{kind.name}" if about else kind.name
        event = answer.events.add(kind=pb.WatchEventKind.Value(f"WATCH_EVENT_KIND_{name}"))
        if kind not in {Happened.STARTED_ANEW, Happened.CAUGHT_UP}:
            event.peer_id = "p" * 22
        if about:
            event.resource.path, event.resource.digest = path, digest
            event.resource.manifest_digest = "e" * 64
    return answer


async def seen(peer: Peer, count: int) -> list[Happened]:
    """The kinds of the first events."""
    found: list[WatchEvent] = []
    async with aclosing(peer.watch(Query(text="a"))) as events:
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    return [event.kind for event in found]


async def test_a_lost_connection_is_resumed_at_the_last_token(
    directory: FakeDirectory, peer: Peer
) -> None:
    directory.watched.put_nowait(response(Happened.PEER_CAME, token="t1"))
    directory.watched.put_nowait((grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN"))
    directory.watched.put_nowait(response(Happened.PEER_LEFT, token="t2"))

    assert await seen(peer, 2) == [Happened.PEER_CAME, Happened.PEER_LEFT]
    assert [request.resume_token for request in directory.watches] == ["", "t1"]
    assert {request.query.text for request in directory.watches} == {"a"}


@pytest.mark.parametrize("reason", ["WATCH_TOO_SLOW", "OVERLOADED", "STORE_UNAVAILABLE"])
async def test_what_passes_is_waited_out(directory: FakeDirectory, peer: Peer, reason: str) -> None:
    directory.watched.put_nowait(response(Happened.PEER_CAME, token="t1"))
    directory.watched.put_nowait((grpc.StatusCode.RESOURCE_EXHAUSTED, reason))
    directory.watched.put_nowait(response(Happened.PEER_LEFT, token="t2"))

    assert await seen(peer, 2) == [Happened.PEER_CAME, Happened.PEER_LEFT]


async def test_a_forgotten_session_is_opened_anew(directory: FakeDirectory, peer: Peer) -> None:
    directory.watched.put_nowait(response(Happened.PEER_CAME, token="t1"))
    directory.watched.put_nowait((grpc.StatusCode.UNAUTHENTICATED, "SESSION_UNKNOWN"))
    directory.watched.put_nowait(response(Happened.PEER_LEFT, token="t2"))
    await peer.join()
    registered = directory.calls["Register"]
    directory.lie["Watch"] = lambda _: directory.forget_sessions()

    assert await seen(peer, 2) == [Happened.PEER_CAME, Happened.PEER_LEFT]
    assert directory.calls["Register"] > registered
    assert directory.watches[-1].resume_token == "t1"


async def test_a_refused_token_is_dropped_and_said(directory: FakeDirectory, peer: Peer) -> None:
    directory.watched.put_nowait(response(Happened.PEER_CAME, token="t1"))
    directory.watched.put_nowait((grpc.StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID"))
    directory.watched.put_nowait(response(Happened.PEER_CAME, token="t2"))

    assert await seen(peer, 3) == [
        Happened.PEER_CAME,
        Happened.STARTED_ANEW,
        Happened.PEER_CAME,
    ]
    assert directory.watches[-1].resume_token == ""


async def test_a_watch_that_cannot_begin_fails(directory: FakeDirectory, peer: Peer) -> None:
    directory.refuse["Watch"] = (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS")

    with pytest.raises(DirectoryRefused) as refused:
        await seen(peer, 1)

    assert refused.value.reason == "TOO_MANY_WATCHERS"


async def test_events_that_break_a_rule_are_dropped(directory: FakeDirectory, peer: Peer) -> None:
    odd = response(Happened.PEER_CAME)
    odd.events.add(kind=99)
    odd.events.add(kind=pb.WATCH_EVENT_KIND_PEER_LEFT, peer_id="nobody")
    directory.watched.put_nowait(odd)
    directory.watched.put_nowait(response(Happened.APPEARED, path="../../etc/passwd"))
    directory.watched.put_nowait(response(Happened.APPEARED, digest="x"))
    directory.watched.put_nowait(response(Happened.GONE, token="t" * 100_000))

    assert await seen(peer, 2) == [Happened.PEER_CAME, Happened.GONE]

"""A peer stays a member by itself: through outages, restarts and forgetful directories."""

import asyncio
from pathlib import Path

import grpc
import pytest
from tests.client.membership.members import (
    Members,
    catalog_of,
    eventually,
    listed,
    resource,
)
from tests.support.directory.fake import FakeDirectory

from p2p.v1 import directory_pb2 as pb
from p2p_client.errors import DirectoryRefused, DirectoryUnreachable, DirectoryUntrusted
from p2p_client.membership import driver
from p2p_client.models import (
    Query,
    Verdict,
)
from p2p_client.net.identity import load_or_create


@pytest.fixture
def members(tmp_path: Path) -> Members:
    return Members(tmp_path, load_or_create(tmp_path / "identity.pem"))


async def test_a_sharer_is_registered_announced_and_judged(members: Members) -> None:
    async with FakeDirectory() as directory:
        async with members.member(directory, catalog_of("a", "b/c")) as member:
            granted = await member.joined()
            await member.announced()

            assert granted.directory_id == directory.fingerprint
            assert listed(directory) == {"a", "b/c"}
            assert [at.verdict for at in member.endpoint_statuses] == [Verdict.REACHABLE]
            assert member.grant_key_der == b"key"
            assert not members.notices


async def test_pending_endpoints_are_waited_for(members: Members) -> None:
    async with FakeDirectory(heartbeat_seconds=0.2) as directory:
        directory.verdict = pb.ENDPOINT_VERDICT_PENDING
        async with members.member(directory, catalog_of("a")) as member:
            waiting = asyncio.gather(member.announced())
            await eventually(lambda: directory.calls["Heartbeat"] > 1)
            assert not waiting.done()

            directory.verdict = pb.ENDPOINT_VERDICT_UNREACHABLE
            await waiting

            assert [at.verdict for at in member.endpoint_statuses] == [Verdict.UNREACHABLE]


async def test_changes_follow_as_deltas(members: Members) -> None:
    catalog = catalog_of("old", "same")
    async with FakeDirectory() as directory:
        async with members.member(directory, catalog) as member:
            await member.announced()
            catalog.put(resource("new"))
            catalog.withdraw("old")
            await member.announced()

            assert listed(directory) == {"same", "new"}
            assert not directory.batches[-1].HasField("snapshot")


async def test_a_directory_that_restarts_with_its_memory_gets_only_a_heartbeat(
    members: Members,
) -> None:
    async with FakeDirectory(heartbeat_seconds=0.2) as directory:
        async with members.member(directory, catalog_of("a")) as member:
            await member.announced()
            await directory.stop()
            await eventually(lambda: bool(members.notices))
            await directory.start()
            await eventually(lambda: len(members.notices) == 2)

            assert directory.calls["Register"] == 1
            assert len(directory.batches) == 1
            assert "refuses the connection" in members.notices[0]
            assert "is back" in members.notices[1]


@pytest.mark.slow
async def test_an_outage_is_told_once_however_long(members: Members) -> None:
    async with FakeDirectory(heartbeat_seconds=0.2) as directory:
        async with members.member(directory, catalog_of("a")) as member:
            await member.announced()
            directory.refuse["Heartbeat"] = (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
            await eventually(lambda: directory.calls["Heartbeat"] >= 4)

            assert len(members.notices) == 1


async def test_a_directory_that_lost_everything_is_told_everything(members: Members) -> None:
    async with FakeDirectory(heartbeat_seconds=0.2) as directory:
        async with members.member(directory, catalog_of("a", "b")) as member:
            await member.announced()
            directory.forget_everything()
            await eventually(lambda: listed(directory) == {"a", "b"})

            assert directory.calls["Register"] == 2


async def test_a_lost_session_is_opened_again_without_a_new_announcement(
    members: Members,
) -> None:
    async with FakeDirectory(heartbeat_seconds=0.2) as directory:
        async with members.member(directory, catalog_of("a")) as member:
            await member.announced()
            directory.forget_sessions()
            await eventually(lambda: bool(directory.tokens))

            assert len(directory.batches) == 1


async def test_a_call_of_a_lost_session_is_made_again_in_a_new_one(members: Members) -> None:
    async with FakeDirectory() as directory:
        async with members.member(directory) as member:
            await member.joined()
            directory.forget_sessions()

            page, _ = await member.call(lambda client: client.query(Query(), 10))

            assert page() == []
            assert directory.calls["Register"] == 2


async def test_a_call_during_an_outage_waits_for_its_end(members: Members) -> None:
    async with FakeDirectory() as directory:
        async with members.member(directory) as member:
            await member.joined()
            await directory.stop()
            call = asyncio.gather(member.call(lambda client: client.query(Query(), 10)))
            await asyncio.wait([call], timeout=0.3)
            assert not call.done()
            await directory.start()

            page, token = (await call)[0]
            assert (page(), token) == ([], "")


async def test_a_call_gives_up_after_the_directory_timeout(members: Members) -> None:
    async with FakeDirectory() as directory:
        async with members.member(directory, timeout_seconds=0.5) as member:
            await member.joined()
            await directory.stop()

            with pytest.raises(DirectoryUnreachable):
                await member.call(lambda client: client.query(Query(), 10))


async def test_a_directory_that_forgets_at_once_is_asked_twice_not_for_ever(
    members: Members,
) -> None:
    async with FakeDirectory() as directory:
        directory.refuse["Query"] = (grpc.StatusCode.UNAUTHENTICATED, "SESSION_UNKNOWN")
        async with members.member(directory) as member:
            with pytest.raises(DirectoryRefused, match="SESSION_UNKNOWN"):
                await member.call(lambda client: client.query(Query(), 10))

            assert directory.calls["Query"] == 2


async def test_nobody_there_is_told_after_the_timeout(members: Members) -> None:
    directory = FakeDirectory()
    await directory.start()
    await directory.stop()
    async with members.member(directory, timeout_seconds=0.5) as member:
        with pytest.raises(DirectoryUnreachable, match="refuses the connection"):
            await member.joined()


async def test_a_directory_that_comes_late_is_joined(members: Members) -> None:
    directory = FakeDirectory()
    await directory.start()
    await directory.stop()
    async with members.member(directory) as member:
        joining = asyncio.gather(member.joined())
        await asyncio.wait([joining], timeout=0.3)
        async with directory:
            await joining

    assert not members.notices, "the caller waited; no notice beside"


async def test_a_taken_name_ends_it_for_everybody_who_waits(
    members: Members, tmp_path: Path
) -> None:
    other = load_or_create(tmp_path / "other.pem")
    async with FakeDirectory() as directory:
        async with members.member(directory, identity=other) as first:
            await first.joined()
        async with members.member(directory, catalog_of("a")) as member:
            ends = await asyncio.gather(member.joined(), member.announced(), return_exceptions=True)

            assert [getattr(end, "reason", end) for end in ends] == ["USERNAME_TAKEN"] * 2
            assert directory.calls["Register"] == 2


async def test_a_directory_replaced_by_an_impostor_ends_it(members: Members) -> None:
    async with FakeDirectory(heartbeat_seconds=0.2) as directory:
        async with members.member(directory, catalog_of("a")) as member:
            await member.announced()
            await directory.stop()
            async with FakeDirectory(port=directory.port) as impostor:
                with pytest.raises(DirectoryUntrusted):
                    await member.call(lambda client: client.query(Query(), 10))

                assert not impostor.calls


async def test_leaving_ends_the_session_and_the_run(members: Members) -> None:
    async with FakeDirectory() as directory:
        async with members.member(directory, catalog_of("a")) as member:
            await member.announced()

            await member.leave()

            assert not directory.tokens
            with pytest.raises(DirectoryUnreachable, match="ended"):
                await member.joined()


async def test_leaving_a_directory_that_is_gone_takes_no_more_than_its_time(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "LEAVE_SECONDS", 0.2)
    async with FakeDirectory() as directory:
        async with members.member(directory, catalog_of("a")) as member:
            await member.announced()
            directory.stall.add("Leave")

            async with asyncio.timeout(2):
                await member.leave()


async def test_a_restarted_peer_replaces_its_old_catalog(members: Members) -> None:
    async with FakeDirectory() as directory:
        async with members.member(directory, catalog_of("kept", "gone")) as member:
            await member.announced()
        async with members.member(directory, catalog_of("kept", epoch="epoch-two")) as member:
            await member.announced()

            assert listed(directory) == {"kept"}


async def test_a_rejected_item_is_told_once_and_kept(members: Members) -> None:
    catalog = catalog_of("good", "bad")
    async with FakeDirectory(heartbeat_seconds=0.2) as directory:
        directory.rejects["bad"] = "not to our taste"
        async with members.member(directory, catalog) as member:
            await member.announced()
            directory.forget_everything()
            await eventually(lambda: listed(directory) == {"good"})
            await member.announced()

            assert [item.item for item in member.rejected] == ["bad"]
            assert [text for text in members.notices if "bad" in text] == [
                "the directory does not list bad (not to our taste)"
            ]


async def test_a_catalog_that_is_refused_whole_is_said(members: Members) -> None:
    async with FakeDirectory() as directory:
        directory.refuse["Announce"] = (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "TOO_MANY_RESOURCES",
        )
        async with members.member(directory, catalog_of("a")) as member:
            with pytest.raises(DirectoryRefused, match="TOO_MANY_RESOURCES"):
                await member.announced()


async def test_an_announcement_cut_off_half_way_is_resumed(members: Members) -> None:
    catalog = catalog_of(*(f"file {n}" for n in range(25)))
    async with FakeDirectory(heartbeat_seconds=0.2) as directory:
        directory.limits.max_announce_items = 10
        directory.lie["Announce"] = lambda _: directory.refuse.update(
            Announce=(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        )
        async with members.member(directory, catalog) as member:
            await eventually(lambda: directory.calls["Announce"] >= 2)
            directory.lie.clear()
            directory.refuse.clear()
            await member.announced()

            sent = [batch.snapshot.batch_index for batch in directory.batches]
            assert sent == [0, 1, 2], "nothing taken before is sent again"
            assert len(listed(directory)) == 25


async def test_the_directory_clock_is_followed_however_wrong_ours_is(members: Members) -> None:
    async with FakeDirectory() as directory:
        directory.lie["Register"] = lambda answer: answer.directory_time.FromSeconds(86_400)
        async with members.member(directory) as member:
            await member.joined()
            loop_now = asyncio.get_running_loop().time()

            assert member.clock.now(loop_now).year == 1970


async def test_an_absurd_interval_does_not_make_us_spin(members: Members) -> None:
    async with FakeDirectory(heartbeat_seconds=-1, lease_seconds=-5) as directory:
        async with members.member(directory) as member:
            await member.joined()
            await asyncio.wait([asyncio.gather(member.joined(), asyncio.sleep(0.5))])

            assert directory.calls["Heartbeat"] <= 3


async def test_a_long_outage_leaves_no_trace_after_it(members: Members) -> None:
    catalog = catalog_of("a")
    async with FakeDirectory(heartbeat_seconds=0.2) as directory:
        async with members.member(directory, catalog) as member:
            await member.announced()
            await directory.stop()
            await eventually(lambda: bool(members.notices))
            for number in range(50):
                catalog.put(resource(f"meanwhile {number}"))
            await directory.start()
            await member.announced()

            assert len(listed(directory)) == 51

"""Bad items are refused by name and the rest of their batch stands; bad batches change nothing."""

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.contract.conftest import LIMITS, Served
from tests.support.directory.raw import RawSession, resource
from tests.support.directory.refusals import refusal

from p2p.v1 import directory_pb2 as pb
from p2p.v1 import types_pb2 as types

HOSTILE_PATHS = [
    "../../x",
    "..",
    ".",
    "a/../../b",
    "a/./b",
    "/etc/passwd",
    "//x",
    "a//b",
    "a/",
    "",
    "C:\\x",
    "..\\x",
    "\\\\server\\share",
    "nul\0byte",
    "new\nline",
    "tab\tulator",
    "escape\x1b[2Jsequence",
    "c1\x9bcontrol",
    "delete\x7f",
    "right-to-left\u202eoverride",
    "isolate\u2066d",
    "arabic mark\u061c",
    "zero\u200bwidth",
    "word\u2060joiner",
    "bom\ufeff",
    "soft\u00adhyphen",
    "line\u2028separator",
    "paragraph\u2029separator",
    "private\ue000use",
    "un\u0378assigned",
    "tag\U000e0041",
    "NFD e\u0301",
    "x" * 256,
    "ä" * 128,
    "/".join("x" * 200 for _ in range(6)),
    "x" * 5_000,
    "/".join("x" for _ in range(65)),
    "/".join("x" for _ in range(300)),
]
LAWFUL_PATHS = [
    "aux.c",
    "CON.txt",
    "a:b",
    "README",
    "readme",
    "-rf",
    "trailing dot.",
    "trailing space ",
    "...",
    ".hidden",
    "~root",
    "$(reboot)",
    "100% `quoted` \"name\" 'x'; --",
    "日本語/ファイル.txt",
    "é.txt",
    "میخواهم\u200c.txt",
    "👩\u200d👧.png",
    "x" * 255,
    "/".join("x" for _ in range(64)),
    "/".join("x" * 203 for _ in range(5)) + "/abcd",
]


@pytest.fixture
async def alice(served: Served) -> RawSession:
    return await served.raw.share("alice")


async def listed(session: RawSession) -> list[str]:
    return [row.resource.path for row in (await session.query()).listed_resources]


async def test_hostile_paths_are_rejected_by_name_and_the_rest_stands(alice: RawSession) -> None:
    good = resource("good.txt")

    answer = await alice.announce(good, *map(resource, HOSTILE_PATHS))

    assert [item.item for item in answer.rejected_items] == [p[:256] for p in HOSTILE_PATHS]
    assert {item.reason for item in answer.rejected_items} == {types.ERROR_REASON_PATH_INVALID}
    assert all(item.message.isprintable() for item in answer.rejected_items)
    assert await listed(alice) == ["good.txt"]
    assert answer.held_revision.counter == 1


async def test_awkward_but_lawful_paths_are_listed(alice: RawSession) -> None:
    answer = await alice.announce(*map(resource, LAWFUL_PATHS))

    assert not answer.rejected_items
    assert sorted(await listed(alice)) == sorted(LAWFUL_PATHS)


@pytest.mark.parametrize(
    "fields",
    [
        {"size_bytes": -1},
        {"size_bytes": -(2**63)},
        {"digest": ""},
        {"digest": "0" * 63},
        {"digest": "A" * 64},
        {"digest": "g" * 64},
        {"digest": "0" * 64 + "\n"},
        {"manifest_digest": ""},
        {"manifest_digest": "../" + "0" * 61},
        {"media_type": "image"},
        {"media_type": "image/png\n"},
        {"media_type": "text/plain; charset=x"},
        {"media_type": "text/" + "x" * 130},
        {"modify_time": Timestamp(seconds=2**62)},
        {"modify_time": Timestamp(seconds=-(2**62))},
        {"modify_time": Timestamp(nanos=-1)},
        {"modify_time": Timestamp(nanos=1_000_000_000)},
    ],
)
async def test_an_item_with_a_malformed_field_is_rejected(
    alice: RawSession, fields: dict[str, Any]
) -> None:
    bad = resource("bad.txt")
    for name, value in fields.items():
        if name == "modify_time":
            bad.modify_time.CopyFrom(value)
        else:
            setattr(bad, name, value)

    answer = await alice.announce(bad, resource("good.txt"))

    (rejected,) = answer.rejected_items
    assert (rejected.item, rejected.reason) == ("bad.txt", types.ERROR_REASON_ITEM_INVALID)
    assert await listed(alice) == ["good.txt"]


async def test_a_path_may_stand_once_in_a_batch(alice: RawSession) -> None:
    answer = await alice.announce(resource("a", content="1"), resource("a", content="2"))

    assert [item.reason for item in answer.rejected_items] == [types.ERROR_REASON_ITEM_INVALID]
    (row,) = (await alice.query()).listed_resources
    assert row.resource.digest == resource("a", content="1").digest


async def test_extreme_but_lawful_values_come_back_as_they_were(alice: RawSession) -> None:
    extreme = resource("big", size_bytes=2**63 - 1)
    extreme.modify_time.CopyFrom(Timestamp(seconds=253_402_300_799))
    early = resource("early", size_bytes=0)
    early.modify_time.CopyFrom(Timestamp(seconds=-62_135_596_800))

    await alice.announce(extreme, early)

    rows = {row.resource.path: row.resource for row in (await alice.query()).listed_resources}
    assert rows["big"].size_bytes == 2**63 - 1
    assert rows["big"].modify_time.seconds == 253_402_300_799
    assert rows["early"].modify_time.seconds == -62_135_596_800


def delta(base: int, counter: int, *resources: types.Resource, **fields: Any) -> pb.AnnounceRequest:
    return pb.AnnounceRequest(
        base=types.Revision(epoch=fields.pop("base_epoch", "e1"), counter=base),
        revision=types.Revision(epoch=fields.pop("epoch", "e1"), counter=counter),
        resources=resources,
        **fields,
    )


def snapshot(
    index: int, *resources: types.Resource, last: bool = False, name: str = "s2", counter: int = 5
) -> pb.AnnounceRequest:
    return pb.AnnounceRequest(
        revision=types.Revision(epoch="e2", counter=counter),
        resources=resources,
        snapshot=pb.Snapshot(snapshot_id=name, batch_index=index, last=last),
    )


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (delta(1, 1), "FIELD_INVALID"),
        (delta(1, 0), "FIELD_INVALID"),
        (delta(1, -1), "FIELD_INVALID"),
        (delta(1, 2, epoch="e 2"), "FIELD_INVALID"),
        (delta(1, 2, epoch=""), "FIELD_INVALID"),
        (delta(1, 2, epoch="e2"), "FIELD_INVALID"),
        (delta(1, 2, epoch="x" * 65), "FIELD_INVALID"),
        (delta(0, 2), "REVISION_MISMATCH"),
        (delta(7, 8), "REVISION_MISMATCH"),
        (delta(1, 2, base_epoch="e9", epoch="e9"), "REVISION_MISMATCH"),
        (snapshot(-1), "FIELD_INVALID"),
        (snapshot(1), "REVISION_MISMATCH"),
        (snapshot(2**31 - 1), "REVISION_MISMATCH"),
        (snapshot(0, name=""), "FIELD_INVALID"),
        (snapshot(0, name="a b"), "FIELD_INVALID"),
        (snapshot(0, name="x" * 65), "FIELD_INVALID"),
    ],
)
async def test_a_batch_that_follows_nothing_changes_nothing(
    alice: RawSession, request_: pb.AnnounceRequest, reason: str
) -> None:
    await alice.announce(resource("kept.txt"))
    request_.resources.append(resource("new.txt"))

    assert (await refusal(alice.send_announce(request_))).reason == reason
    assert await listed(alice) == ["kept.txt"]


async def test_an_identical_resend_succeeds_and_changes_nothing(alice: RawSession) -> None:
    await alice.announce(resource("a.txt"))
    request = delta(1, 2, resource("b.txt"))

    first = await alice.send_announce(request)
    again = await alice.send_announce(request)

    assert first == again
    assert await listed(alice) == ["a.txt", "b.txt"]


async def test_a_snapshot_takes_the_place_of_the_old_catalog_at_once_at_its_end(
    alice: RawSession,
) -> None:
    await alice.announce(resource("old.txt"))

    first = await alice.send_announce(snapshot(0, resource("new 1.txt")))
    assert (first.held_revision.epoch, await listed(alice)) == ("e1", ["old.txt"])
    await alice.send_announce(snapshot(0, resource("new 1.txt")))
    last = await alice.send_announce(snapshot(1, resource("new 2.txt"), last=True))

    assert last.held_revision == types.Revision(epoch="e2", counter=5)
    assert await listed(alice) == ["new 1.txt", "new 2.txt"]


async def test_withdrawn_paths_are_gone_and_unknown_ones_are_no_matter(alice: RawSession) -> None:
    await alice.announce(resource("a.txt"), resource("b.txt"))

    await alice.announce(withdrawn=["a.txt", "unknown", "../hostile", "\0"])

    assert await listed(alice) == ["b.txt"]


async def test_what_one_batch_withdraws_and_announces_is_listed(alice: RawSession) -> None:
    await alice.announce(resource("a.txt", content="old"))

    await alice.announce(resource("a.txt", content="new"), withdrawn=["a.txt"])

    (row,) = (await alice.query()).listed_resources
    assert row.resource.digest == resource("a.txt", content="new").digest


async def test_too_many_items_are_refused_together(alice: RawSession) -> None:
    refused = await refusal(
        alice.announce(withdrawn=["x"] * (LIMITS.max_announce_items + 1)),
    )

    assert (refused.reason, refused.facts) == ("TOO_LARGE", {"limit": "5000"})


async def test_partial_contents_are_located_but_never_queried(
    served: Served, alice: RawSession
) -> None:
    digest = "ab" * 32
    good = types.PartialContent(digest=digest, manifest_digest=digest, size_bytes=9)
    bad = types.PartialContent(digest="zz", manifest_digest=digest, size_bytes=9)
    await alice.announce(resource("a.txt"))

    answer = await alice.send_announce(delta(1, 2, partial_contents=[good, bad]))
    bob = await served.raw.register("bob")

    assert [item.item for item in answer.rejected_items] == ["zz"]
    (holding,) = (await bob.locate(digest)).holdings
    assert holding.partial
    assert await listed(bob) == ["a.txt"]
    await alice.send_announce(delta(2, 3, withdrawn_partial_digests=[digest]))
    assert not (await bob.locate(digest)).holdings


async def test_nobody_announces_for_another_peer(served: Served, alice: RawSession) -> None:
    await alice.announce(resource("a.txt"))
    mallory = await served.raw.share("mallory")

    await mallory.announce(resource("b.txt"))
    await mallory.announce(withdrawn=["a.txt"])

    (row,) = (await mallory.query(owner="alice")).listed_resources
    assert row.resource.path == "a.txt"

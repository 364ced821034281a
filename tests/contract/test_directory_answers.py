"""Pages of a directory: complete, ordered, bounded, and closed to tampering."""

import asyncio
from typing import Any

import pytest
from tests.contract.conftest import Served
from tests.support.certificates import peer_key_pair
from tests.support.directory.listening import listen_as
from tests.support.directory.raw import RawSession, resource
from tests.support.directory.refusals import refusal

from p2p.v1 import directory_pb2 as pb

MOST_PAGE_BYTES = 1 << 20
PAGE_TOKEN_INVALID = ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


async def with_files(served: Served, *paths: str) -> RawSession:
    alice = await served.raw.share("alice")
    await alice.announce(*map(resource, paths))
    return alice


async def all_pages(session: RawSession, **fields: Any) -> list[pb.QueryResponse]:
    pages = [await session.query(**fields)]
    while pages[-1].next_page_token:
        token = pages[-1].next_page_token
        pages.append(await session.query(**fields, page_token=token))
    return pages


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 100])
async def test_pages_together_are_the_whole_in_order(served: Served, page_size: int) -> None:
    names = [f"{i:02}.txt" for i in range(7)]
    alice = await with_files(served, *reversed(names))

    pages = await all_pages(alice, page_size=page_size)

    assert [row.resource.path for page in pages for row in page.listed_resources] == names
    assert all(len(page.listed_resources) <= page_size for page in pages)
    assert len(pages) == -(-7 // page_size), "no page is wasted"


async def test_a_page_names_the_peers_of_its_rows_and_no_others(served: Served) -> None:
    alice = await with_files(served, "1.txt")
    bob = await served.raw.share("bob")
    await bob.announce(resource("2.txt"))

    first, second = await all_pages(alice, page_size=1)

    assert [peer.user for peer in first.peers] == ["alice"]
    assert [peer.user for peer in second.peers] == ["bob"]


async def test_a_page_ends_before_a_mebibyte(served: Served) -> None:
    alice = await served.raw.share("alice")
    long = "/".join("x" * 203 for _ in range(5))
    for user in range(30):
        session = await served.raw.share(f"user{user}")
        await session.announce(*(resource(f"{long}{i:03}") for i in range(50)))

    pages = await all_pages(alice, page_size=1_000)

    assert sum(len(page.listed_resources) for page in pages) == 1_500
    assert len(pages) > 1
    assert all(page.ByteSize() <= MOST_PAGE_BYTES for page in pages)
    assert all(page.ByteSize() > MOST_PAGE_BYTES // 2 for page in pages[:-1])


@pytest.mark.parametrize(
    "other",
    [
        {"text": "x"},
        {"owner": "alice"},
        {"order": pb.RESOURCE_ORDER_NEWEST},
        {"min_size_bytes": 0},
        {"glob": "*"},
    ],
)
async def test_a_token_is_good_for_its_own_query_alone(
    served: Served, other: dict[str, Any]
) -> None:
    alice = await with_files(served, "1.txt", "2.txt")
    token = (await alice.query(page_size=1)).next_page_token

    assert (await refusal(alice.query(page_size=1, page_token=token, **other))).why == (
        PAGE_TOKEN_INVALID
    )
    assert (await refusal(alice.list_peers(page_token=token))).why == PAGE_TOKEN_INVALID
    assert (await refusal(alice.locate("0" * 64, page_token=token))).why == PAGE_TOKEN_INVALID
    assert (await alice.query(page_size=9, page_token=token)).listed_resources


async def test_each_change_of_a_token_is_noticed(served: Served) -> None:
    alice = await with_files(served, "1.txt", "2.txt")
    token = (await alice.query(page_size=1)).next_page_token
    changed = [token[:i] + ("A" if c != "A" else "B") + token[i + 1 :] for i, c in enumerate(token)]

    for bad in [*changed, token[:-1], token + "A", token + "=", "x" * 20_000, "\0", "ä"]:
        assert (await refusal(alice.query(page_size=1, page_token=bad))).why == PAGE_TOKEN_INVALID


@pytest.mark.parametrize("page_size", [-1, -(2**31)])
async def test_a_negative_page_size_is_refused(served: Served, page_size: int) -> None:
    alice = await served.raw.register("alice")

    for call in (
        alice.query(page_size=page_size),
        alice.list_peers(page_size=page_size),
        alice.locate("0" * 64, page_size=page_size),
    ):
        assert (await refusal(call)).facts == {"field": "page_size"}


async def test_a_huge_page_size_is_cut(served: Served) -> None:
    alice = await with_files(served, "1.txt", "2.txt")

    assert len((await alice.query(page_size=2**31 - 1)).listed_resources) == 2


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"text": "x" * 513}, "text"),
        ({"text": "ä" * 257}, "text"),
        ({"glob": "x" * 513}, "glob"),
        ({"glob": "*a" * 17}, "glob"),
        ({"glob": "?" * 17}, "glob"),
        ({"path": "x" * 1_025}, "path"),
        ({"name": "x" * 1_025}, "name"),
        ({"owner": "x" * 65}, "owner"),
        ({"digest_prefix": "0" * 7}, "digest_prefix"),
        ({"digest_prefix": "0" * 65}, "digest_prefix"),
        ({"digest_prefix": "ABCDEF01"}, "digest_prefix"),
        ({"digest_prefix": "b3:00000000"}, "digest_prefix"),
        ({"min_size_bytes": -1}, "min_size_bytes"),
        ({"max_size_bytes": -(2**63)}, "max_size_bytes"),
        ({"media_type": "x" * 128}, "media_type"),
        ({"order": 99}, "order"),
    ],
)
async def test_malformed_criteria_are_refused(
    served: Served, fields: dict[str, Any], field: str
) -> None:
    alice = await served.raw.register("alice")

    refused = await refusal(alice.query(**fields))

    assert (refused.reason, refused.facts) == ("FIELD_INVALID", {"field": field})


@pytest.mark.parametrize(
    "text",
    [
        '"',
        "'",
        "%",
        "_",
        "*",
        "a OR b",
        "NOT",
        "(",
        ")",
        "NEAR(",
        "^",
        ":",
        "\\",
        "-- ;",
        "\0",
        "\n",
    ],
)
async def test_operators_of_any_language_are_text(served: Served, text: str) -> None:
    alice = await with_files(served, "plain.txt")

    assert len((await alice.query(text=text)).listed_resources) == (0 if text.strip() else 1)


async def test_slow_patterns_take_a_moment(served: Served) -> None:
    alice = await with_files(served, *("a" * 200 + f"{i:02}" for i in range(50)))

    async with asyncio.timeout(2):
        await alice.query(glob="*a" * 8 + "*b")
        await alice.query(glob="**a" * 16)
        await alice.query(text="a " * 256)


async def test_locate_names_sources_with_what_it_takes_to_fetch(served: Served) -> None:
    alice = await with_files(served, "a.txt")
    bob = await served.raw.share("bob")
    await bob.announce(resource("a.txt"))
    digest = resource("a.txt").digest

    located = await alice.locate("0" * 64, digest)

    (holding,), (source,) = located.holdings, located.sources
    assert holding.peer_id == source.peer_id == bob.peer_id, "one's own session is left out"
    assert source.certificate_der == bob.pair.certificate_der
    assert source.grant
    assert source.grant_expire_time.seconds > 0
    assert source.endpoints


async def test_locate_pages_hold_all_sources_of_all_digests(served: Served) -> None:
    downloader = await served.raw.register("downloader")
    files = [resource(f"{i}.txt") for i in range(5)]
    for user in ("ann", "ben", "cem"):
        await (await served.raw.share(user)).announce(*files)
    digests = [file.digest for file in files]

    seen: list[tuple[str, str]] = []
    page = await downloader.locate(*digests, page_size=4)
    while True:
        assert {h.peer_id for h in page.holdings} == {s.peer_id for s in page.sources}
        seen += [(h.digest, h.peer_id) for h in page.holdings]
        if not page.next_page_token:
            break
        page = await downloader.locate(*digests, page_size=4, page_token=page.next_page_token)

    assert len(seen) == len(set(seen)) == 15
    assert [digest for digest, _ in seen] == [d for d in digests for _ in range(3)]


@pytest.mark.parametrize(
    "digests",
    [[], ["0" * 63], ["A" * 64], ["0" * 64] * 2, ["b3:" + "0" * 61]],
)
async def test_malformed_digests_are_refused(served: Served, digests: list[str]) -> None:
    alice = await served.raw.register("alice")

    assert (await refusal(alice.locate(*digests))).facts == {"field": "digests"}


async def test_too_many_digests_are_refused(served: Served) -> None:
    alice = await served.raw.register("alice")

    refused = await refusal(alice.locate(*(f"{i:064x}" for i in range(1_001))))

    assert (refused.reason, refused.facts) == ("TOO_LARGE", {"limit": "1000"})


async def test_peers_are_listed_by_user_in_pages(served: Served) -> None:
    pairs = peer_key_pair()
    for user, pair in (("cem", None), ("Ann", pairs), ("ann", pairs), ("ben", None)):
        await served.raw.share(user, pair)
    dora = await served.raw.register("dora")

    users: list[str] = []
    page = await dora.list_peers(page_size=3)
    users += [peer.user for peer in page.peers]
    page = await dora.list_peers(page_size=3, page_token=page.next_page_token)
    users += [peer.user for peer in page.peers]

    assert users == ["Ann", "Ann", "ben", "cem"]
    assert not page.next_page_token
    assert len((await dora.list_peers(user="ANN")).peers) == 2


async def test_a_peer_that_nobody_reaches_is_in_no_answer(served: Served) -> None:
    silent = await listen_as(None)
    silent.close()  # so nothing listens there
    alice = await served.raw.register("alice", listed=True, endpoints=[silent.endpoint])
    await alice.judged()
    await alice.announce(resource("a.txt"))
    bob = await served.raw.register("bob")

    assert not (await bob.query()).listed_resources
    assert not (await bob.list_peers()).peers
    assert not (await bob.locate(resource("a.txt").digest)).holdings

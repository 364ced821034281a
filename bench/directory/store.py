"""How fast does the directory's store take announces, and how fast does it answer queries?

Usage: python -m bench.directory.store [--resources N] [--peers N] [--runs N]

Figures are of the store alone: no network, no checks of names. The tree looks like people's files:
folders by topic and year, numbered names, a few endings, some names that everybody has. A tenth of
it lies in one folder at the end of the order, so that a word can be frequent and far back.
"""

import argparse
import asyncio
import hashlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from p2p_server.directory.models import (
    Batch,
    Criteria,
    Digest,
    Endpoint,
    EndpointStatus,
    Order,
    PeerId,
    Resource,
    Revision,
    Session,
    User,
    Verdict,
)
from p2p_server.store.sqlite import SqliteStore

BATCH = 5_000
PAGE = 50
TOPICS = ("holiday", "datasets", "models", "builds", "footage", "music", "papers", "backup")
ENDINGS = (("jpg", "image/jpeg"), ("mp4", "video/mp4"), ("tar.gz", "application/gzip"), ("bin", ""))


def resource(number: int, rng: random.Random) -> Resource:
    topic = "zebra" if number % 10 == 0 else rng.choice(TOPICS)
    ending, media_type = rng.choice(ENDINGS)
    name = "README.md" if number % 20 == 1 else f"{rng.choice(TOPICS)}_{number:07}.{ending}"
    digest = Digest(hashlib.sha256(str(number).encode()).hexdigest())
    return Resource(
        f"{topic}/{2000 + number % 25}/Session {rng.randrange(400):03}/{number % 97}/{name}",
        int(rng.paretovariate(0.8) * 4096),
        digest,
        digest,
        1.7e9 - rng.randrange(10**8),
        media_type,
    )


def batches(share: list[Resource]) -> Iterator[Batch]:
    parts = [share[at : at + BATCH] for at in range(0, len(share), BATCH)] or [[]]
    for index, part in enumerate(parts):
        yield Batch(
            Revision("e", 1),
            resources=tuple(part),
            snapshot_id="s",
            batch_index=index,
            last=index == len(parts) - 1,
        )


async def fill(store: SqliteStore, shares: list[list[Resource]]) -> float:
    """Seconds that the announces took."""
    status = (EndpointStatus(Endpoint("10.0.0.1", 5000), Verdict.REACHABLE),)
    peers = [PeerId(f"peer-{number:012}") for number in range(len(shares))]
    for number, peer_id in enumerate(peers):
        user, token = f"user{number}", hashlib.sha256(peer_id.encode()).digest()
        await store.bind_user(User(user, "f" * 64, 0.0))
        session = Session(peer_id, user, token, b"c" * 400, True, "10.0.0.1", 0.0, status)
        await store.open_session(session)
        await store.set_endpoints(peer_id, token, status, True)
    started = time.perf_counter()
    for peer_id, share in zip(peers, shares, strict=True):
        for batch in batches(share):
            await store.announce(peer_id, batch, 0)
    return time.perf_counter() - started


QUESTIONS = {
    "a rare word": Criteria(words=("_0012345",)),
    "a word in 1/8": Criteria(words=("holiday",)),
    "two words": Criteria(words=("holiday", "mp4")),
    "a word in 1/10, far back": Criteria(words=("zebra",)),
    "two words, far back": Criteria(words=("zebra", "session 0077", "mp4")),
    "a word in 1/25, far back": Criteria(words=("zebra", "session", "200")),
    "a word of two letters": Criteria(words=("zz",)),
    "trigrams often, word never": Criteria(words=("usicholiday",)),
    "glob *.mp4": Criteria(glob="*.mp4"),
    "glob **/session 01?/**_00*7.jpg": Criteria(glob="**/session 01?/**_00*7.jpg"),
    "glob *a*a*a*a*b": Criteria(glob="*a*a*a*a*b"),
    "a name that many have": Criteria(name="README.md"),
    "largest": Criteria(order=Order.LARGEST),
    "newest with a word": Criteria(words=("footage",), order=Order.NEWEST),
    "all of video/": Criteria(media_type="video/"),
    "over 1 GB": Criteria(min_size_bytes=10**9),
    "all of one owner": Criteria(owner="user7"),
    "a digest": Criteria(digest_prefix=hashlib.sha256(b"77").hexdigest()[:12]),
    "everything": Criteria(),
}


async def milliseconds(call: Callable[[], Awaitable[object]], runs: int) -> tuple[float, float]:
    """Median and worst."""
    took: list[float] = []
    for _ in range(runs):
        started = time.perf_counter()
        await call()
        took.append((time.perf_counter() - started) * 1e3)
    return statistics.median(took), max(took)


async def measure(resource_count: int, peer_count: int, runs: int) -> None:
    rng = random.Random(7)
    everything = [resource(number, rng) for number in range(resource_count)]
    shares = [everything[number::peer_count] for number in range(peer_count)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "directory.db"
        store = SqliteStore(path)
        await store.open()
        seconds = await fill(store, shares)
        print(f"announced {resource_count:,} of {peer_count:,} peers in {seconds:.1f} s: ", end="")
        print(f"{resource_count / seconds:,.0f} a second; {os.stat(path).st_size >> 20} MiB")
        for question, criteria in QUESTIONS.items():

            async def ask(criteria: Criteria = criteria) -> int:
                return len((await store.query(criteria, None, PAGE)).rows)

            median, worst = await milliseconds(ask, runs)
            print(f"{question:34} {await ask():3} rows {median:8.2f} ms  worst {worst:8.2f} ms")
        digests = [r.digest for r in everything[:1000]]
        median, worst = await milliseconds(lambda: store.locate(digests, None, 1001), runs)
        print(f"{'locate 1,000 digests':34} {'':8} {median:8.2f} ms  worst {worst:8.2f} ms")
        await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resources", type=int, default=200_000)
    parser.add_argument("--peers", type=int, default=400)
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.resources, arguments.peers, arguments.runs))


if __name__ == "__main__":
    main()

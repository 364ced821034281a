"""Never a wrong byte: the stream of a file that changes ends with CONTENT_CHANGED, before any byte
that is not of the content asked for."""

import os
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from tests.support.libraries import until
from tests.support.sources.sharing import Call, a_source, first_chunk, refusal_of

from p2p.v1 import peer_pb2
from p2p_client.library.errors import ContentChanged
from p2p_client.library.events import Listed
from p2p_client.net.status import read_refusal

KIB, MIB = 1 << 10, 1 << 20
CHUNK_BYTES = 64 * KIB
# Far more than the network's buffers hold, so that a reader who waits makes the source wait.
CONTENT = bytes(range(256)) * (24 * MIB // 256)


def truncate(file: Path) -> None:
    os.truncate(file, MIB)


def append(file: Path) -> None:
    with file.open("ab") as stream:
        stream.write(b"x")


def overwrite(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.write(b"\xee" * len(CONTENT))


def overwrite_keeping_size_and_times(file: Path) -> None:
    status = file.stat()
    overwrite(file)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"\xee" * len(CONTENT))
    other.replace(file)


def delete(file: Path) -> None:
    file.unlink()


def swap_for_symlink(file: Path) -> None:
    other = file.parent.parent / "outside"
    other.write_bytes(b"\xee" * len(CONTENT))
    file.unlink()
    file.symlink_to(other)


def swap_folder_for_symlink(file: Path) -> None:
    beside_the_share = file.parents[2]  # within it the old content would be found again
    outside = beside_the_share / "outside"
    outside.mkdir()
    (outside / file.name).write_bytes(b"\xee" * len(CONTENT))
    file.parent.rename(beside_the_share / "moved")
    file.parent.symlink_to(outside)


CHANGES = [
    truncate,
    append,
    overwrite,
    overwrite_keeping_size_and_times,
    replace,
    delete,
    swap_for_symlink,
    swap_folder_for_symlink,
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "share" / "sub" / "f"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    return file


async def read_to_the_end(call: Call) -> tuple[bytes, str]:
    """All that comes, and the reason with which the stream ends; empty: it ends well."""
    received = bytearray()
    try:
        while isinstance(chunk := await call.read(), peer_pb2.FetchFileResponse):
            received += chunk.data
    except grpc.aio.AioRpcError as error:
        return bytes(received), read_refusal(error).reason
    return bytes(received), ""


@pytest.mark.parametrize("change", CHANGES)
async def test_a_file_that_changed_before_the_stream_is_not_sent(
    file: Path, change: Callable[[Path], None]
) -> None:
    async with a_source(file.parent.parent) as source:
        digest = source.digest("share/sub/f")
        change(file)
        received, reason = await read_to_the_end(source.fetch(digest))

    assert received == b""
    assert reason in ("CONTENT_CHANGED", "CONTENT_UNKNOWN")  # the watch may have been faster


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("percent", [0, 20, 40])
async def test_a_file_that_changes_during_the_stream_ends_it_before_a_wrong_byte(
    file: Path, change: Callable[[Path], None], percent: int
) -> None:
    async with a_source(file.parent.parent) as source:
        call = source.fetch(source.digest("share/sub/f"), chunk_bytes=CHUNK_BYTES)
        received = await first_chunk(call)
        while len(received) < len(CONTENT) * percent // 100:
            received += await first_chunk(call)
        change(file)
        rest, reason = await read_to_the_end(call)
        received += rest

        assert reason == "CONTENT_CHANGED"
        assert received == CONTENT[: len(received)]
        if change is not swap_folder_for_symlink:  # the open file itself stays as it was
            assert len(received) < len(CONTENT)


async def test_a_file_replaced_after_its_last_byte_was_read_is_still_noticed(file: Path) -> None:
    async with a_source(file.parent.parent) as source:
        digest = source.digest("share/sub/f")
        with await source.shared.library.open(digest) as content:
            assert await content.read(len(CONTENT) - 5, 5) == CONTENT[-5:]
            replace(file)
            with pytest.raises(ContentChanged):
                await content.check()


async def test_a_changed_file_is_hashed_and_announced_anew(file: Path) -> None:
    async with a_source(file.parent.parent) as source:
        old = source.digest("share/sub/f")
        call = source.fetch(old, chunk_bytes=CHUNK_BYTES)
        await first_chunk(call)
        overwrite_keeping_size_and_times(file)
        await read_to_the_end(call)

        await until(lambda: "share/sub/f" in source.shared.paths)
        new = source.digest("share/sub/f")
        assert new != old
        assert await refusal_of(source.fetch(old)) == ("NOT_FOUND", "CONTENT_UNKNOWN")
        assert await source.fetch_all(new) == file.read_bytes()


async def test_a_fifo_in_place_of_a_file_does_not_hang_anybody(file: Path) -> None:
    async with a_source(file.parent.parent) as source:
        digest = source.digest("share/sub/f")
        file.unlink()
        os.mkfifo(file)

        assert (await refusal_of(source.fetch(digest)))[0] in ("ABORTED", "NOT_FOUND")
        await until(lambda: "share/sub/f" not in source.shared.paths)


async def test_touching_a_file_costs_a_hash_and_nothing_else(file: Path) -> None:
    async with a_source(file.parent.parent) as source:
        digest = source.digest("share/sub/f")
        os.utime(file)
        await until(lambda: len(source.shared.told(Listed)) == 2)

        assert source.digest("share/sub/f") == digest
        assert await source.fetch_all(digest, len(CONTENT) - 10) == CONTENT[-10:]

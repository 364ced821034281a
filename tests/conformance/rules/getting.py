"""Rules for who downloads: whom it trusts, what it checks, where it writes."""

from pathlib import Path

from blake3 import blake3
from tests.conformance.rules.book import rule
from tests.conformance.rules.source import PlayedSource, manifest_of
from tests.conformance.rules.world import PlayedDirectory, World
from tests.support.certificates import directory_key_pair, peer_key_pair
from tools.vectors.base import MIB, content
from tools.vectors.names import UNLAWFUL_PATHS

from p2p.v1 import types_pb2 as types

CONTENT = content(2 * MIB + 77)
OTHER = content(2 * MIB + 78)[1:]  # as long, other bytes


def everything_below(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


async def refuses(world: World, source: PlayedSource) -> None:
    """The only source lies: the download fails, and leaves nothing that looks like the file."""
    directory = await world.directory()
    digest = directory.list_source(source, "things/a.bin")
    ended = await world.get(directory, digest, "-o", "a.bin")
    assert ended.status != 0, "the download succeeded"
    assert not (world.work / "a.bin").exists(), "a file is there"
    assert "Traceback" not in ended.stderr, "it crashed"


async def fetches(world: World, directory: PlayedDirectory, digest: str) -> None:
    ended = await world.get(directory, digest, "-o", "a.bin")
    assert ended.status == 0, f"the download failed with {ended.status}"
    assert (world.work / "a.bin").read_bytes() == CONTENT, "other bytes are in the file"


@rule("get", "fetches from an honest source, showing the grant of Locate")
async def honest(world: World) -> None:
    directory = await world.directory()
    source = await world.source(CONTENT)

    await fetches(world, directory, directory.list_source(source, "things/a.bin"))

    assert source.grants == {"Bearer a.b.c"}, f"the source was shown {source.grants}"


@rule("get", "refuses a directory whose key is not the recorded one, before any call")
async def changed_key(world: World) -> None:
    directory = await world.directory()
    source = await world.source(CONTENT)
    await fetches(world, directory, directory.list_source(source, "things/a.bin"))
    await directory.stop()
    other = await world.directory(port=directory.port, identity=directory_key_pair())
    digest = other.list_source(source, "things/a.bin")

    ended = await world.get(other, digest, "-o", "b.bin")

    assert ended.status != 0, "it trusted another key"
    assert not other.calls, f"it called {list(other.calls)}"
    said = ended.stdout + ended.stderr
    assert directory.fingerprint in said, "it does not say which key it knew"
    assert other.fingerprint in said, "it does not say which key it met"


@rule("get", "refuses a directory_id that is not the fingerprint seen in TLS")
async def foreign_directory_id(world: World) -> None:
    directory = await world.directory()
    directory.lie["GetDirectoryInfo"] = lambda at: setattr(at, "directory_id", "ab" * 32)
    source = await world.source(CONTENT)

    ended = await world.get(directory, directory.list_source(source, "a.bin"), "-o", "a.bin")

    assert ended.status != 0, "it went on"
    assert not directory.peers.keys() - {source.peer_id}, "it registered"


@rule("get", "never falls back to plaintext")
async def no_fallback(world: World) -> None:
    directory = await world.directory(insecure=True)
    source = await world.source(CONTENT)

    ended = await world.get(directory, directory.list_source(source, "a.bin"), "-o", "a.bin")

    assert ended.status != 0, "it went on"
    assert not directory.calls, f"it called {list(directory.calls)}"


@rule("get", "registers again where its session is unknown")
async def session_unknown(world: World) -> None:
    import grpc

    directory = await world.directory()
    source = await world.source(CONTENT)
    unknown = grpc.StatusCode.UNAUTHENTICATED, "SESSION_UNKNOWN"
    directory.refuse_once["Locate"] = unknown

    await fetches(world, directory, directory.list_source(source, "a.bin"))


@rule("get", "refuses a source that shows another certificate than Locate listed")
async def wrong_certificate(world: World) -> None:
    source = await world.source(CONTENT)
    source.listed_certificate_der = peer_key_pair().certificate_der

    await refuses(world, source)

    assert not source.grants, "it called the source"


@rule("get", "refuses a manifest that does not have the manifest_digest of Locate")
async def other_manifest(world: World) -> None:
    source = await world.source(CONTENT)
    source.listed_manifest_digest = blake3(b"other").hexdigest()

    await refuses(world, source)

    assert source.manifests_sent, "it never asked for the manifest"
    assert not source.bytes_sent, "it fetched bytes all the same"


@rule("get", "refuses a manifest with another piece size than follows from the size")
async def wrong_piece_size(world: World) -> None:
    manifest = types.Manifest(
        size_bytes=len(CONTENT),
        piece_size_bytes=4 * MIB,
        piece_digests=blake3(CONTENT).digest(),
    )
    await refuses(world, await world.source(CONTENT, manifest=manifest))


@rule("get", "refuses a manifest with too few piece digests")
async def short_manifest(world: World) -> None:
    manifest = manifest_of(CONTENT)
    manifest.piece_digests = manifest.piece_digests[:-32]
    await refuses(world, await world.source(CONTENT, manifest=manifest))


@rule("get", "refuses a piece that does not have its digest")
async def corrupt_piece(world: World) -> None:
    source = await world.source(CONTENT, corrupt_bytes=1)

    await refuses(world, source)

    assert source.bytes_sent, "it never fetched"


@rule("get", "refuses a whole whose pieces fit a manifest that lies")
async def wrong_whole(world: World) -> None:
    source = await world.source(OTHER, digest=blake3(CONTENT).hexdigest())

    await refuses(world, source)

    assert source.bytes_sent >= len(OTHER), "it never fetched all of it"


@rule("get", "refuses a stream that ends too early")
async def truncated(world: World) -> None:
    await refuses(world, await world.source(CONTENT, short_bytes=1_000))


@rule("get", "refuses a stream of more than was asked for")
async def surplus(world: World) -> None:
    """Or uses what it asked for and no more."""
    directory = await world.directory()
    source = await world.source(CONTENT, short_bytes=-1_000)
    digest = directory.list_source(source, "a.bin")

    ended = await world.get(directory, digest, "-o", "a.bin")

    if ended.status == 0:
        assert (world.work / "a.bin").read_bytes() == CONTENT, "the surplus is in the file"


@rule("get", "goes on with an honest source of the group after one that corrupts")
async def fails_over(world: World) -> None:
    directory = await world.directory()
    liar = await world.source(CONTENT, user="liar", corrupt_bytes=1)
    honest = await world.source(CONTENT, user="zoe")
    digest = directory.list_source(liar, "a.bin")
    directory.list_source(honest, "a.bin")

    await fetches(world, directory, digest)


@rule("get", "drops a group whose whole is wrong and takes the next")
async def next_group(world: World) -> None:
    directory = await world.directory()
    liars = [
        await world.source(OTHER, user=name, digest=blake3(CONTENT).hexdigest())
        for name in ("ada", "abe")
    ]
    honest = await world.source(CONTENT, user="zoe")
    for liar in liars:
        directory.list_source(liar, "a.bin")

    await fetches(world, directory, directory.list_source(honest, "a.bin"))


@rule("get", "never writes outside its folder, nor sends a terminal anything unprintable")
async def hostile_names(world: World) -> None:
    directory = await world.directory()
    source = await world.source(b"hostile")
    before = everything_below(world.folder)
    hostile = [
        "../../escaped", "/tmp/p2p-conformance-escaped", "..", "a/../../escaped", "..\\escaped",
        "\x1b[2Jescaped", "new\nline", "rtl\u202eoverride", "",
    ]  # fmt: skip
    assert set(hostile[2:]) & set(UNLAWFUL_PATHS)
    for path in hostile:
        directory.peers.clear()
        digest = directory.list_source(source, path)
        ended = await world.get(directory, digest)
        said = ended.stdout + ended.stderr
        assert "\x1b" not in said, f"{path!r} reached the terminal"
        assert "\u202e" not in said, f"{path!r} reached the terminal"
        made = set(everything_below(world.folder)) - set(before)
        outside = {file for file in made if not file.startswith(("state/", "work/", "home/"))}
        assert not outside, f"{path!r} made {outside}"
        assert not Path("/tmp/p2p-conformance-escaped").exists(), f"{path!r} was written"
        written = {file for file in made if file.startswith("work/")}
        assert written <= {f"work/{digest}", f"work/b3-{digest}"}, f"{path!r} made {written}"

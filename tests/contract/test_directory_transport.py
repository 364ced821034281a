"""What holds for the connection: sizes, metadata, unknown methods, health and reflection."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.contract.conftest import Served, database_locked
from tests.support.certificates import directory_key_pair, peer_key_pair
from tests.support.directory.raw import RawDirectory, resource
from tests.support.directory.refusals import refusal
from tests.support.directory.running import directory_running

from p2p.v1 import directory_pb2 as pb
from p2p.v1 import types_pb2 as types
from p2p_server.app import running
from p2p_server.config import Address, Config, LogFormat
from p2p_server.directory.errors import StoreUnavailable
from p2p_server.directory.models import Limits
from p2p_server.rpc.serve import ListenFailed
from p2p_server.store.sqlite import SqliteStore

SERVICE = "p2p.v1.DirectoryService"

Method = grpc.aio.UnaryUnaryMultiCallable  # generic in the stubs alone


async def failure(call: Awaitable[object]) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code()


async def test_a_request_a_little_over_the_limit_is_told_the_limit(served: Served) -> None:
    alice = await served.raw.share("alice")
    request = pb.AnnounceRequest(
        revision=types.Revision(epoch="e", counter=1), withdrawn_paths=["x" * (1 << 20)]
    )

    refused = await refusal(alice.send_announce(request))

    assert (refused.reason, refused.facts) == ("TOO_LARGE", {"limit": str(1 << 20)})


async def test_a_message_of_a_hundred_megabytes_is_refused_and_others_are_served(
    served: Served,
) -> None:
    alice = await served.raw.share("alice")
    method: Method[bytes, bytes] = served.raw.channel.unary_unary(f"/{SERVICE}/Query")

    code = await failure(method(bytes(100 << 20), timeout=10))

    assert code in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
    await alice.heartbeat()


@pytest.mark.parametrize(
    "noise",
    [b"\xff" * 100, b"\x07" * 1000, b"\x0a\xff\xff\xff\xff\x0f"],
    ids=["ones", "wire types that are none", "a length beyond the end"],
)
async def test_bytes_that_are_no_message_are_refused(served: Served, noise: bytes) -> None:
    method: Method[bytes, bytes] = served.raw.channel.unary_unary(f"/{SERVICE}/Register")

    refused = await refusal(method(noise, timeout=10))

    assert (refused.reason, refused.facts) == ("FIELD_INVALID", {"field": "request"})


async def test_a_megabyte_of_metadata_is_refused_and_others_are_served(served: Served) -> None:
    alice = await served.raw.register("alice")
    metadata = (("authorization", "Bearer " + "x" * (1 << 20)),)

    call = served.raw.stub.Query(pb.QueryRequest(), metadata=metadata, timeout=10)

    assert await failure(call) is not grpc.StatusCode.OK
    async with RawDirectory.at("127.0.0.1", served.running.listen.port) as other:
        await other.info()
    await alice.heartbeat()


async def test_an_unknown_method_is_unimplemented(served: Served) -> None:
    method: Method[bytes, bytes] = served.raw.channel.unary_unary(f"/{SERVICE}/DropTables")

    assert await failure(method(b"", timeout=10)) is grpc.StatusCode.UNIMPLEMENTED


async def test_a_deadline_is_kept(served: Served) -> None:
    alice = await served.raw.register("alice")
    metadata = (("authorization", f"Bearer {alice.token}"),)
    with database_locked(served.database):
        call = served.raw.stub.Leave(pb.LeaveRequest(), metadata=metadata, timeout=0.2)

        assert await failure(call) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await refusal(alice.heartbeat())).reason == "SESSION_UNKNOWN", (
        "it has left all the same"
    )


async def test_a_thousand_calls_at_once_are_answered_or_told_to_wait(served: Served) -> None:
    alice = await served.raw.share("alice")
    await alice.announce(*(resource(f"{i}.txt") for i in range(50)))
    answered = refused = 0

    async def query() -> None:
        nonlocal answered, refused
        try:
            await alice.query()
            answered += 1
        except grpc.aio.AioRpcError as error:
            # The transport itself says "later" by refusing the stream.
            refused += error.code() in {
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                grpc.StatusCode.UNAVAILABLE,
            }

    async with asyncio.TaskGroup() as calls:
        for _ in range(1_000):
            calls.create_task(query())

    assert answered + refused == 1_000
    assert answered > 100


async def test_health_is_told_and_ends_with_the_directory(served: Served) -> None:
    stub = health_pb2_grpc.HealthStub(served.raw.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=20)

    for service in ("", SERVICE):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert (await anext(aiter(watch))).status == health_pb2.HealthCheckResponse.SERVING
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(served.running.server.stop(0.2))
        seen = (await anext(aiter(watch))).status

    assert seen == health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.slow
async def test_health_fails_while_changes_cannot_be_made_and_comes_back(served: Served) -> None:
    stub = health_pb2_grpc.HealthStub(served.raw.channel)
    watch = aiter(stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=60))
    status = health_pb2.HealthCheckResponse
    assert (await anext(watch)).status == status.SERVING

    with database_locked(served.database):
        await failure(served.raw.register("alice"))
        assert (await anext(watch)).status == status.NOT_SERVING
    assert (await anext(watch)).status == status.SERVING


async def test_questions_are_refused_before_heartbeats(tmp_path: Path) -> None:
    async with directory_running(tmp_path, limits=Limits(max_calls=2)) as (_, raw):
        alice = await raw.share("alice")
        with database_locked(tmp_path / "directory.db"):
            async with asyncio.TaskGroup() as tasks:
                announcing = tasks.create_task(alice.announce(resource("a.txt")))
                await asyncio.sleep(0.2)

                refused = await refusal(alice.query())
                await alice.heartbeat()
                announcing.cancel()

    assert refused.why == ("RESOURCE_EXHAUSTED", "OVERLOADED")


async def test_reflection_describes_the_service(served: Served) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(served.raw.channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]

    listed, described = [
        answer async for answer in stub.ServerReflectionInfo(iter(requests), timeout=10)
    ]

    names = {service.name for service in listed.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names
    assert b"RegisterRequest" in described.file_descriptor_response.file_descriptor_proto[0]


async def test_another_certificate_with_the_same_name_is_not_the_directory(
    served: Served,
) -> None:
    stranger = directory_key_pair()
    directory = RawDirectory(f"127.0.0.1:{served.running.listen.port}", stranger.certificate_pem)

    code = await failure(directory.stub.GetDirectoryInfo(pb.GetDirectoryInfoRequest(), timeout=5))
    await directory.channel.close()

    assert code is grpc.StatusCode.UNAVAILABLE


async def test_plaintext_is_not_answered_by_a_directory_with_tls(served: Served) -> None:
    directory = RawDirectory(f"127.0.0.1:{served.running.listen.port}", None)

    code = await failure(directory.stub.GetDirectoryInfo(pb.GetDirectoryInfoRequest(), timeout=5))
    await directory.channel.close()

    assert code is grpc.StatusCode.UNAVAILABLE


async def test_an_insecure_directory_says_so_and_has_an_identity(tmp_path: Path) -> None:
    async with directory_running(tmp_path, insecure=True) as (_, raw):
        info = await raw.info()
        await raw.register("alice", peer_key_pair())

    assert info.transport_security == pb.TRANSPORT_SECURITY_INSECURE
    assert len(info.directory_id) == 64


async def test_two_directories_on_one_port_are_one_too_many(served: Served, tmp_path: Path) -> None:
    config = Config(
        listen=Address("127.0.0.1", served.running.listen.port),
        database=tmp_path / "second" / "directory.db",
        lease_seconds=30,
        insecure=False,
        log_format=LogFormat.TEXT,
    )

    with pytest.raises(ListenFailed):
        async with running(config):
            raise AssertionError("two directories listen at one port")


async def test_the_wildcard_address_serves_ipv4_and_ipv6(tmp_path: Path) -> None:
    config = Config(
        listen=Address("::", 0),
        database=tmp_path / "directory.db",
        lease_seconds=30,
        insecure=False,
        log_format=LogFormat.TEXT,
    )
    async with running(config) as directory:
        for host in ("127.0.0.1", "::1"):
            async with RawDirectory.at(host, directory.listen.port) as raw:
                alice = await raw.register("alice" + host.replace(":", "-"))
                assert alice.granted.observed_host == host


async def told(watch: AsyncIterator[health_pb2.HealthCheckResponse]) -> int:
    return int((await anext(watch)).status)


async def test_health_does_not_flicker_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_full = False
    ping = SqliteStore.ping

    async def ping_or_fail(store: SqliteStore) -> None:
        if is_full:
            raise StoreUnavailable
        await ping(store)

    monkeypatch.setattr(SqliteStore, "ping", ping_or_fail)
    status = health_pb2.HealthCheckResponse
    async with directory_running(tmp_path) as (_, raw):
        stub = health_pb2_grpc.HealthStub(raw.channel)
        watch = aiter(stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=60))
        assert (await anext(watch)).status == status.SERVING

        is_full = True
        assert (await anext(watch)).status == status.NOT_SERVING
        async with asyncio.TaskGroup() as tasks:
            seen = tasks.create_task(told(watch))
            await asyncio.sleep(1.5)  # six beats

            assert not seen.done()
            is_full = False
        assert seen.result() == status.SERVING


async def test_heartbeats_are_heard_however_many_wait_for_a_stalled_store(tmp_path: Path) -> None:
    async with directory_running(tmp_path, limits=Limits(max_calls=2)) as (_, raw):
        alice = await raw.share("alice")
        with database_locked(tmp_path / "directory.db"):
            async with asyncio.TaskGroup() as tasks:
                for _ in range(3):
                    tasks.create_task(failure(raw.register("bob")))
                await asyncio.sleep(0.2)

                await alice.heartbeat()

"""Machines to be told what happens, and the answers of a directory that is not there."""

from datetime import UTC, datetime

from p2p_client.errors import (
    DirectoryRefused,
    DirectoryUnreachable,
)
from p2p_client.library.catalog import Catalog
from p2p_client.membership.events import (
    Admitted,
    BatchTaken,
    Command,
    SendBatch,
    Started,
)
from p2p_client.membership.machine import Machine
from p2p_client.models import (
    Announced,
    Digest,
    Granted,
    ManifestDigest,
    Renewed,
    Resource,
    Revision,
)

NOW = datetime(2024, 1, 1, tzinfo=UTC)
NO_ANSWER = DirectoryUnreachable("the directory x does not answer")
WRONG_TRANSPORT = DirectoryUnreachable("x speaks TLS", reason="TRANSPORT_MISMATCH")


def refusal(reason: str, code: str = "ABORTED") -> DirectoryRefused:
    return DirectoryRefused(reason, code=code, reason=reason)


def renewed(held: Revision | None = None, interval_seconds: float = 10.0) -> Renewed:
    return Renewed(30.0, interval_seconds, NOW, held or Revision(), ())


def granted(held: Revision | None = None) -> Granted:
    return Granted("f" * 64, b"key", "192.0.2.1", 5_000, 1 << 20, renewed(held))


def catalog_of(*paths: str) -> Catalog:
    catalog = Catalog("epoch")
    for path in paths:
        put(catalog, path)
    catalog.settled = True
    return catalog


def put(catalog: Catalog, path: str) -> None:
    catalog.put(Resource(path, 1, Digest("d" * 64), ManifestDigest("e" * 64), NOW))


def machine(catalog: Catalog | None = None) -> Machine:
    return Machine("x", catalog, jitter=lambda: 0.0)


def registered(catalog: Catalog | None = None, held: Revision | None = None) -> Machine:
    us = machine(catalog)
    us.handle(Started())
    us.handle(Admitted(granted(held)))
    return us


def batch_in(commands: list[Command]) -> SendBatch:
    [found] = [command for command in commands if isinstance(command, SendBatch)]
    return found


def answer(us: Machine, commands: list[Command]) -> list[Command]:
    """The directory takes the batch among these commands."""
    batch = batch_in(commands).batch
    held = batch.revision if batch.last or not batch.snapshot_id else Revision()
    return us.handle(BatchTaken(us.session, Announced(held, ())))

"""Who may import what (docs/architecture.md), as a table."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

IO = {"asyncio", "grpc", "p2p", "socket", "sqlite3", "apsw", "asyncpg", "time", "random"}
WIRE = {"grpc", "p2p", "grpc_status", "grpc_health", "grpc_reflection", "google"}
SQL = {"sqlite3", "apsw", "asyncpg"}

FORBIDDEN = {
    "server": {"p2p_client"},
    "client": {"p2p_server"},
    "server/p2p_server/directory": IO | WIRE,
    "server/p2p_server/store": WIRE,
    "server/p2p_server/rpc": SQL,
    "server/p2p_server/dialback": SQL,
    "server/p2p_server/cli": WIRE | SQL,
    "server/p2p_server/config.py": IO | WIRE,
    "server/p2p_server/logs.py": IO | WIRE,
    "client/p2p_client/content": IO | WIRE,
    "client/p2p_client/finding/resolve.py": IO | WIRE,
    "client/p2p_client/finding/targets.py": IO | WIRE,
    "client/p2p_client/finding/trees.py": IO | WIRE,
    "client/p2p_client/membership/machine.py": IO | WIRE,
    "client/p2p_client/membership/clock.py": IO | WIRE,
    "client/p2p_client/membership/announcer.py": IO | WIRE,
    "client/p2p_client/download/picker": IO | WIRE,
    "client/p2p_client/download/place/names.py": IO | WIRE,
    "client/p2p_client/download/plan.py": IO | WIRE,
    "client/p2p_client/download/sources/waiting.py": IO | WIRE,
    "client/p2p_client/download/partial/exhibit.py": IO | WIRE,
    "client/p2p_client/upload/shown": WIRE,
    "client/p2p_client/net/plain_certificate.py": IO | WIRE,
    "client/p2p_client/net/stream/messages.py": IO | WIRE,
    "client/p2p_client/net/stream/frames.py": IO | WIRE,
    "client/p2p_client/upload/slots/counts.py": IO | WIRE,
    "client/p2p_client/upload/slots/order.py": IO | WIRE,
    "client/p2p_client/upload/slots/queue.py": IO | WIRE,
    "client/p2p_client/upload/slots/width.py": IO | WIRE,
    "client/p2p_client/download/tree/plan.py": IO | WIRE,
    "client/p2p_client/download/tree/lanes/handout.py": IO | WIRE,
    "client/p2p_client/download/tree/disk": WIRE,
    "client/p2p_client/upload/admission": IO | WIRE,
    "client/p2p_client/library": WIRE,
    "client/p2p_client/cli": WIRE | SQL,
}


def files_of(place: str) -> list[Path]:
    path = ROOT / place
    return [path] if path.suffix else list(path.rglob("*.py"))


def imported_roots(file: Path) -> set[str]:
    """The first parts of all that the file imports, wherever it does and for whatever use."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize(("place", "forbidden"), FORBIDDEN.items(), ids=FORBIDDEN)
def test_a_place_imports_nothing_that_it_may_not(place: str, forbidden: set[str]) -> None:
    files = [file for file in files_of(place) if file.exists()]

    assert files, "the table names a place that is gone"
    assert not {str(file): bad for file in files if (bad := imported_roots(file) & forbidden)}


def test_protobuf_of_the_directory_stops_at_the_wire() -> None:
    rpc = ROOT / "server/p2p_server/rpc"
    lawful = {rpc / "servicer.py", rpc / "serve.py", *(rpc / "wire").glob("*.py")}
    lawful |= set((ROOT / "server/p2p_server/dialback").glob("*.py"))

    outside = [
        str(file)
        for file in files_of("server")
        if file not in lawful and "p2p" in imported_roots(file)
    ]

    assert not outside


@pytest.mark.parametrize("root", ["server", "client"])
def test_the_import_roots_are_no_packages(root: str) -> None:
    assert not (ROOT / root / "__init__.py").exists()


def test_the_classes_of_the_client_are_made_fast() -> None:
    client = ROOT / "client/p2p_client"
    lawful = {client / "records.py", client / "net/identity.py"}  # one has no slots

    slow = [
        str(file)
        for file in client.rglob("*.py")
        if file not in lawful and "dataclass" in names_from("dataclasses", file)
    ]

    assert not slow, "take `dataclass` from p2p_client.records"


def names_from(module: str, file: Path) -> set[str]:
    """What the file takes from a module by name."""
    return {
        name.name
        for node in ast.walk(ast.parse(file.read_text(), str(file)))
        if isinstance(node, ast.ImportFrom) and node.module == module
        for name in node.names
    }

"""Sharing out a source among real processes: who waits is told, and rot is found by who fetches."""

import pytest
from tests.support.programs.network import Network
from tests.support.programs.processes import eventually
from tests.support.rot import rot

from p2p_client.state import StateFolder

pytestmark = pytest.mark.slow

MIB = 1 << 20
CONTENT = bytes(range(256)) * (3 * MIB // 256) + b"end"


def test_who_waits_for_a_slot_is_told_its_place_and_gets_everything(network: Network) -> None:
    network.directory()
    sharer = network.user("sharer")
    sharer.share(sharer.file("f", CONTENT), arguments=["--limit-up", "4MB"])
    users = [network.user(name) for name in ("a", "b", "c", "d")]
    gets = [user.start("--json", "get", "sharer:f") for user in users]
    for get in gets:
        assert get.wait().ok

    assert all((user.folder / "f").read_bytes() == CONTENT for user in users)
    queued = [get.wait_for_event("queued") for get in gets if '"queued"' in get.stdout]
    assert queued  # two streams run at this rate, so two of the four waited
    for event in queued:
        assert event["user"] == "sharer"
        assert isinstance(event["position"], int)
        assert event["position"] < event["waiting_count"] <= 2


def test_a_file_that_rotted_in_silence_is_found_by_who_fetches_it(network: Network) -> None:
    network.directory()
    sharer, user = network.user("sharer"), network.user("user")
    file = sharer.file("f", CONTENT)
    sharer.share(file).stop()
    believed = rot(file, 2 * MIB + 5, StateFolder(sharer.state_dir).cache_file)
    sharer.share(file)
    assert [row["digest"] for row in sharer.search("f")] == [f"b3:{believed.digest}"]

    failed = user.run("get", f"b3:{believed.digest}", "-o", "copy")
    assert failed.status == 6
    assert "bad piece" in failed.stderr
    assert not (user.folder / "copy").exists()

    def listed() -> bool:
        rows = sharer.search("f")
        return bool(rows) and rows[0]["digest"] != f"b3:{believed.digest}"

    eventually(listed)
    assert user.run("get", "sharer:f", "-o", "now").ok
    assert (user.folder / "now").read_bytes() == file.read_bytes()

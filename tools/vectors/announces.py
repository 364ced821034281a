"""What a directory makes of batches in a row, and what a peer should send next."""

from typing import Any

from tools.vectors.base import Case
from tools.vectors.contents import manifest_case

EMPTY = manifest_case("", b"")
MISMATCH, INVALID = "REVISION_MISMATCH", "FIELD_INVALID"


def revision(text: str) -> Case:
    """`e:3` as a Revision; empty: nothing held."""
    epoch, _, counter = text.partition(":")
    return {"epoch": epoch, "counter": int(counter or 0)}


def step(request: Case, held: str, listed: str, refusal: str = "", rejected: str = "") -> Case:
    """One batch, and what holds behind it. `listed` and `rejected`: names, separated by a space."""
    return {
        "request": request,
        "expect": refusal or "OK",
        "rejected_items": rejected.split(),
        "held_revision": revision(held),
        "listed": listed.split(),
    }


def resources(names: str) -> list[Case]:
    return [
        {"path": name, "digest": EMPTY["digest"], "manifest_digest": EMPTY["manifest_digest"]}
        for name in names.split()
    ]


def delta(base: str, to: str, added: str = "", gone: str = "") -> Case:
    return {
        "base": revision(base),
        "revision": revision(to),
        "resources": resources(added),
        "withdrawn_paths": gone.split(),
    }


def part(snapshot_id: str, index: int, to: str, names: str = "", **more: Any) -> Case:
    """A batch of a snapshot; `last=True` for its end."""
    snapshot = {"snapshot_id": snapshot_id, "batch_index": index, "last": more.pop("last", False)}
    return {"revision": revision(to), "snapshot": snapshot, "resources": resources(names), **more}


def last(snapshot_id: str, index: int, to: str, names: str = "", **more: Any) -> Case:
    return part(snapshot_id, index, to, names, last=True, **more)


def of_a_directory() -> list[Case]:
    begin = step(last("s", 0, "e:1", "a b"), "e:1", "a b")
    cases = {
        "deltas in a row": [
            begin,
            step(delta("e:1", "e:2", "c", "a"), "e:2", "b c"),
            step(delta("e:2", "e:9", "a", "unknown"), "e:9", "a b c"),
        ],
        "a counter may begin at 0": [
            step(last("s", 0, "e:0", "a"), "e:0", "a"),
            step(delta("e:0", "e:1", "b"), "e:1", "a b"),
        ],
        "an empty library": [step(last("s", 0, "e:1"), "e:1", "")],
        "a delta resent": [
            begin,
            step(delta("e:1", "e:2", "c"), "e:2", "a b c"),
            step(delta("e:1", "e:2", "c"), "e:2", "a b c"),
        ],
        "a delta before any snapshot": [
            step(delta("", "e:1", "a"), "", "", MISMATCH),
            step(delta("e:1", "e:2", "a"), "", "", MISMATCH),
        ],
        "a base that is not held": [
            begin,
            step(delta("e:0", "e:2", "c"), "e:1", "a b", MISMATCH),
            step(delta("other:1", "other:2", "c"), "e:1", "a b", MISMATCH),
        ],
        "a delta that leads nowhere": [
            begin,
            step(delta("e:1", "e:1", "c"), "e:1", "a b", INVALID),
            step(delta("e:1", "e:0", "c"), "e:1", "a b", INVALID),
            step(delta("e:1", "other:2", "c"), "e:1", "a b", INVALID),
        ],
        "a snapshot in batches replaces at its end": [
            begin,
            step(part("t", 0, "f:5", "x"), "e:1", "a b"),
            step(part("t", 1, "f:5", "y"), "e:1", "a b"),
            step(last("t", 2, "f:5", "z"), "f:5", "x y z"),
        ],
        "batches of a snapshot resent": [
            step(part("s", 0, "e:1", "a"), "", ""),
            step(part("s", 0, "e:1", "a"), "", ""),
            step(last("s", 1, "e:1", "b"), "e:1", "a b"),
            step(last("s", 1, "e:1", "b"), "e:1", "a b"),
        ],
        "a gap in a snapshot": [
            begin,
            step(part("t", 0, "e:2", "x"), "e:1", "a b"),
            step(last("t", 2, "e:2", "z"), "e:1", "a b", MISMATCH),
        ],
        "a snapshot from its middle": [
            begin,
            step(last("t", 1, "e:2", "z"), "e:1", "a b", MISMATCH),
        ],
        "another snapshot drops the one begun": [
            step(part("s", 0, "e:1", "a"), "", ""),
            step(last("t", 0, "e:1", "b"), "e:1", "b"),
            step(last("s", 1, "e:1", "c"), "e:1", "b", MISMATCH),
        ],
        "another revision within a snapshot": [
            step(part("s", 0, "e:1", "a"), "", ""),
            step(last("s", 1, "e:2", "b"), "", "", INVALID),
        ],
        "withdrawing in a snapshot": [
            begin,
            step(last("t", 0, "e:2", "c", withdrawn_paths=["a"]), "e:1", "a b", INVALID),
        ],
        "a bad item does not spoil the rest": [
            begin,
            step(delta("e:1", "e:2", "c ../d /e"), "e:2", "a b c", rejected="../d /e"),
        ],
    }
    return [{"name": name, "steps": steps} for name, steps in cases.items()]


def of_a_peer() -> list[Case]:
    return [
        {
            "name": name,
            "own": revision(own),
            "held": revision(held),
            "known_since": revision(since),
            "send": send,
        }
        for name, own, held, since, send in (
            ("the directory has it", "e:7", "e:7", "e:0", "nothing"),
            ("the directory is behind", "e:7", "e:5", "e:0", "delta"),
            ("so far behind that changes are forgotten", "e:7", "e:2", "e:4", "snapshot"),
            ("nothing is held", "e:7", "", "e:0", "snapshot"),
            ("another epoch", "e:7", "other:7", "e:0", "snapshot"),
            ("the directory is ahead", "e:7", "e:8", "e:0", "snapshot"),
        )
    ]


def announces() -> Case:
    return {
        "about": "`cases`: AnnounceRequests of one peer in a row, as protobuf JSON; for who writes"
        " a directory. `expect`: OK or the reason; behind each, `held_revision` is held "
        "and the paths in `listed` are found. `next`: what a peer with the revision "
        "`own`, that knows its changes since `known_since`, sends where a Heartbeat tells"
        " that `held` is held.",
        "cases": of_a_directory(),
        "next": of_a_peer(),
    }

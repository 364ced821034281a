"""The rules of Announce about revisions and snapshots, as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_server.directory.errors import FieldInvalid, RevisionMismatch
from p2p_server.directory.models import NOTHING_HELD, Batch, Digest, Revision
from p2p_server.directory.revisions import Decision, Staged, decide_delta, decide_snapshot

A1, A2, A3, B2 = Revision("a", 1), Revision("a", 2), Revision("a", 3), Revision("b", 2)
STAGED = Staged("s1", A2, next_batch_index=2)


def batch(index: int, snapshot_id: str = "s1", revision: Revision = A2) -> Batch:
    return Batch(revision, snapshot_id=snapshot_id, batch_index=index)


@pytest.mark.parametrize(
    ("held", "base", "revision", "decision"),
    [
        (A1, A1, A2, Decision.APPLY),
        (A1, A1, A3, Decision.APPLY),
        (A2, A1, A2, Decision.ACKNOWLEDGE),
        (A3, A2, A3, Decision.ACKNOWLEDGE),
    ],
)
def test_a_delta_that_follows_or_was_taken(
    held: Revision, base: Revision, revision: Revision, decision: Decision
) -> None:
    assert decide_delta(held, base, revision) is decision


@pytest.mark.parametrize(
    ("held", "base", "revision"),
    [
        (A2, A1, A3),
        (A1, A2, A3),
        (NOTHING_HELD, A1, A2),
        (A1, Revision("b", 1), B2),
        (NOTHING_HELD, NOTHING_HELD, A1),
        (A1, NOTHING_HELD, A2),
    ],
)
def test_a_delta_from_a_base_not_held_is_a_mismatch(
    held: Revision, base: Revision, revision: Revision
) -> None:
    with pytest.raises(RevisionMismatch) as refusal:
        decide_delta(held, base, revision)
    assert refusal.value.held == held


@pytest.mark.parametrize(("base", "revision"), [(A1, A1), (A2, A1), (A1, B2), (A1, NOTHING_HELD)])
def test_a_delta_that_leads_nowhere_is_refused(base: Revision, revision: Revision) -> None:
    with pytest.raises(FieldInvalid):
        decide_delta(A1, base, revision)


@pytest.mark.parametrize(
    ("taken", "staged", "announced", "decision"),
    [
        ("", None, batch(0), Decision.RESTAGE),
        ("s0", None, batch(0), Decision.RESTAGE),
        ("s0", STAGED, batch(0, "s2"), Decision.RESTAGE),
        ("", STAGED, batch(2), Decision.STAGE),
        ("", STAGED, batch(1), Decision.ACKNOWLEDGE),
        ("", STAGED, batch(0), Decision.ACKNOWLEDGE),
        ("s1", None, batch(0), Decision.ACKNOWLEDGE),
        ("s1", None, batch(7), Decision.ACKNOWLEDGE),
        ("s0", STAGED, batch(0, "s0"), Decision.ACKNOWLEDGE),
    ],
)
def test_a_snapshot_batch_that_follows_or_was_taken(
    taken: str, staged: Staged | None, announced: Batch, decision: Decision
) -> None:
    assert decide_snapshot(A1, taken, staged, announced) is decision


@pytest.mark.parametrize(
    ("taken", "staged", "announced"),
    [
        ("", None, batch(1)),
        ("s0", None, batch(3)),
        ("", STAGED, batch(3)),
        ("", STAGED, batch(2, "s2")),
    ],
)
def test_a_gap_or_an_unknown_snapshot_is_a_mismatch(
    taken: str, staged: Staged | None, announced: Batch
) -> None:
    with pytest.raises(RevisionMismatch) as refusal:
        decide_snapshot(A1, taken, staged, announced)
    assert refusal.value.held == A1


@pytest.mark.parametrize(
    "announced",
    [
        batch(2, revision=A3),
        batch(1, revision=A3),
        batch(-1),
        batch(0, revision=NOTHING_HELD),
        Batch(A2, snapshot_id="s2", withdrawn_paths=("a",)),
        Batch(A2, snapshot_id="s2", withdrawn_partials=(Digest("0" * 64),)),
    ],
)
def test_a_batch_that_contradicts_its_snapshot_is_refused(announced: Batch) -> None:
    with pytest.raises(FieldInvalid):
        decide_snapshot(A1, "", STAGED, announced)


@given(st.lists(st.integers(0, 4), max_size=30))
def test_however_batches_are_repeated_a_snapshot_takes_each_once_and_in_order(
    sent: list[int],
) -> None:
    taken: list[int] = []
    staged: Staged | None = None

    for index in sent:
        try:
            decision = decide_snapshot(A1, "", staged, batch(index))
        except RevisionMismatch:
            continue
        if decision is not Decision.ACKNOWLEDGE:
            taken.append(index)
            staged = Staged("s1", A2, index + 1)

    assert taken == list(range(len(taken)))

"""Nobody gets a session by pretending: each attack is refused, and the name's owner goes on."""

import asyncio
import itertools
import os
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.conftest import LIMITS, Served
from tests.support.certificates import KeyPair, key_pair, peer_key_pair
from tests.support.directory.raw import new_peer_id, register_bytes, resource, sign
from tests.support.directory.refusals import refusal
from tests.support.directory.running import directory_running

from p2p.v1 import directory_pb2 as pb

CHALLENGE_INVALID = ("UNAUTHENTICATED", "CHALLENGE_INVALID")
PROOF_INVALID = ("UNAUTHENTICATED", "PROOF_INVALID")
CERTIFICATE_INVALID = ("INVALID_ARGUMENT", "CERTIFICATE_INVALID")
FIELD_INVALID = ("INVALID_ARGUMENT", "FIELD_INVALID")


async def test_a_recorded_register_does_not_work_again(served: Served) -> None:
    request = await served.raw.register_request("alice", peer_key_pair())
    await served.raw.send_register(request)

    again = await refusal(served.raw.send_register(request))

    assert again.why == CHALLENGE_INVALID


async def test_a_register_recorded_before_a_restart_does_not_work_after_it(
    tmp_path: Path,
) -> None:
    async with directory_running(tmp_path) as (_, raw):
        request = await raw.register_request("alice", peer_key_pair())
        await raw.send_register(request)

    async with directory_running(tmp_path) as (_, raw):
        assert (await refusal(raw.send_register(request))).why == CHALLENGE_INVALID


async def test_two_at_once_with_one_challenge_get_one_session(served: Served) -> None:
    request = await served.raw.register_request("alice", peer_key_pair())

    async with asyncio.TaskGroup() as calls:
        tries = [calls.create_task(outcome(served, request)) for _ in range(5)]

    assert sorted(task.result() for task in tries) == ["CHALLENGE_INVALID"] * 4 + ["OK"]


async def outcome(served: Served, request: pb.RegisterRequest) -> str:
    try:
        return (await refusal(served.raw.send_register(request))).reason
    except AssertionError:
        return "OK"


@pytest.mark.parametrize("age_seconds", [61.0, 3_600.0, -30.0])
async def test_the_time_in_a_challenge_cannot_be_changed(
    served: Served, age_seconds: float
) -> None:
    info = await served.raw.info()
    issued = struct.pack(">q", int((time.time() - age_seconds) * 1000))

    refused = await refusal(
        served.raw.register("alice", challenge=issued + info.challenge[len(issued) :])
    )

    assert refused.why == CHALLENGE_INVALID


async def test_a_register_relayed_through_a_false_directory_is_refused(served: Served) -> None:
    """The victim signs for the key it sees in TLS, which is the false directory's."""
    victim, false_directory = peer_key_pair(), peer_key_pair()
    info = await served.raw.info()
    peer_id = new_peer_id()
    proof = sign(
        victim,
        register_bytes(
            false_directory.fingerprint, info.challenge, "alice", peer_id, victim.certificate_der
        ),
    )

    relayed = pb.RegisterRequest(
        user="alice",
        certificate_der=victim.certificate_der,
        peer_id=peer_id,
        challenge=info.challenge,
        proof=proof,
    )

    assert (await refusal(served.raw.send_register(relayed))).why == PROOF_INVALID


@pytest.mark.parametrize("field", ["user", "peer_id", "certificate_der"])
async def test_a_proof_holds_for_what_it_signed_alone(served: Served, field: str) -> None:
    request = await served.raw.register_request("alice", peer_key_pair())
    other = {
        "user": "alicf",
        "peer_id": new_peer_id(),
        "certificate_der": peer_key_pair().certificate_der,
    }
    setattr(request, field, other[field])

    assert (await refusal(served.raw.send_register(request))).why == PROOF_INVALID


async def test_lengths_are_signed_so_that_fields_cannot_flow_into_each_other(
    served: Served,
) -> None:
    pair = peer_key_pair()
    request = await served.raw.register_request("alice", pair, peer_id="b" * 20)
    request.user, request.peer_id = "aliceb", "b" * 19

    assert (await refusal(served.raw.send_register(request))).why == PROOF_INVALID


@pytest.mark.parametrize("proof", [b"", b"\x30", b"\x30\x44\x02\x20" * 18, bytes(4096)])
async def test_a_malformed_proof_is_refused(served: Served, proof: bytes) -> None:
    request = await served.raw.register_request("alice", peer_key_pair())
    request.proof = proof

    assert (await refusal(served.raw.send_register(request))).why == PROOF_INVALID


def ed25519_pair() -> KeyPair:
    return key_pair("peer.p2p.invalid", key=ed25519.Ed25519PrivateKey.generate())


def p384_pair() -> KeyPair:
    return key_pair("peer.p2p.invalid", key=ec.generate_private_key(ec.SECP384R1()))


def signed_by_another() -> KeyPair:
    return key_pair("peer.p2p.invalid", signer=ec.generate_private_key(ec.SECP256R1()))


def with_a_broken_signature() -> KeyPair:
    good = peer_key_pair()
    return KeyPair(good.key, good.certificate_der[:-1] + bytes([good.certificate_der[-1] ^ 1]))


def with_a_tail() -> KeyPair:
    good = peer_key_pair()
    return KeyPair(good.key, good.certificate_der + b"tail")


BAD_CERTIFICATES: dict[str, Callable[[], KeyPair]] = {
    "Ed25519": ed25519_pair,
    "P-384": p384_pair,
    "signed by another key": signed_by_another,
    "broken signature": with_a_broken_signature,
    "bytes after it": with_a_tail,
    "the directory's name": lambda: key_pair("directory.p2p.invalid"),
    "no name": lambda: key_pair(),
    "two names": lambda: key_pair("peer.p2p.invalid", "evil.example"),
    "too big": lambda: key_pair("peer.p2p.invalid", padding=5_000),
    "empty": lambda: KeyPair(peer_key_pair().key, b""),
    "no certificate": lambda: KeyPair(peer_key_pair().key, os.urandom(300)),
}


@pytest.mark.parametrize("kind", BAD_CERTIFICATES)
async def test_a_certificate_against_the_profile_is_refused(served: Served, kind: str) -> None:
    pair = BAD_CERTIFICATES[kind]()
    request = pb.RegisterRequest(
        user="alice",
        certificate_der=pair.certificate_der,
        peer_id=new_peer_id(),
        challenge=(await served.raw.info()).challenge,
        proof=b"whatever",
    )

    refused = await refusal(served.raw.send_register(request))

    assert refused.why == CERTIFICATE_INVALID
    assert "alice" not in await users(served)


async def test_an_rsa_certificate_is_refused(served: Served) -> None:
    request = await served.raw.register_request("alice", peer_key_pair())
    request.certificate_der = rsa_certificate()

    assert (await refusal(served.raw.send_register(request))).why == CERTIFICATE_INVALID


def rsa_certificate() -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
    builder = builder.not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
    builder = builder.not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


async def users(served: Served) -> set[str]:
    """The user names that are bound."""
    database = apsw.Connection(str(served.database))
    try:
        return {str(name) for (name,) in database.execute("SELECT name FROM users")}
    finally:
        database.close()


@pytest.mark.parametrize("spelling", ["alice", "Alice", "ALICE"])
@pytest.mark.parametrize("online", [True, False])
async def test_another_key_cannot_take_a_name_in_any_case(
    served: Served, spelling: str, online: bool
) -> None:
    alice = await served.raw.share("alice")
    await alice.announce(resource("a.txt"))
    if not online:
        await alice.leave()

    refused = await refusal(served.raw.register(spelling))

    assert refused.why == ("ALREADY_EXISTS", "USERNAME_TAKEN")
    if online:
        assert len((await alice.query(owner="alice")).listed_resources) == 1


async def test_a_name_is_taken_still_after_a_restart(
    tmp_path: Path,
) -> None:
    pair = peer_key_pair()
    async with directory_running(tmp_path) as (_, raw):
        await raw.register("alice", pair)

    async with directory_running(tmp_path) as (_, raw):
        assert (await refusal(raw.register("alice"))).reason == "USERNAME_TAKEN"
        await raw.register("aLiCe", pair)


async def test_of_many_keys_at_once_one_gets_the_name(served: Served) -> None:
    requests = [await served.raw.register_request("alice", peer_key_pair()) for _ in range(8)]

    async with asyncio.TaskGroup() as calls:
        tries = [calls.create_task(outcome(served, request)) for request in requests]

    assert sorted(task.result() for task in tries) == ["OK"] + ["USERNAME_TAKEN"] * 7


@pytest.mark.parametrize(
    "user",
    ["", " ", ".a", "-a", "_a", "a b", "a/b", "a\n", "a\0", "ä", "а", "a" * 65, "x" * 5_000],
)
async def test_a_user_name_outside_the_rules_is_refused(served: Served, user: str) -> None:
    refused = await refusal(served.raw.register(user))

    assert (refused.why, refused.facts) == (FIELD_INVALID, {"field": "user"})


@pytest.mark.parametrize("peer_id", ["", "short", "x" * 65, "x" * 20 + "\n", "a/" * 10, "ä" * 20])
async def test_a_peer_id_outside_the_rules_is_refused(served: Served, peer_id: str) -> None:
    request = await served.raw.register_request("alice", peer_key_pair())
    request.peer_id = peer_id

    refused = await refusal(served.raw.send_register(request))

    assert (refused.why, refused.facts) == (FIELD_INVALID, {"field": "peer_id"})


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"listen_port": -1}, FIELD_INVALID),
        ({"listen_port": 65_536}, FIELD_INVALID),
        ({"client_software": "x" * 129}, FIELD_INVALID),
        (
            {"endpoints": [{"host": "192.0.2.1", "port": p} for p in range(1, 18)]},
            ("RESOURCE_EXHAUSTED", "TOO_LARGE"),
        ),
    ],
)
async def test_other_malformed_fields_are_refused(
    served: Served, fields: dict[str, Any], why: tuple[str, str]
) -> None:
    assert (await refusal(served.raw.register("alice", listed=True, **fields))).why == why


async def test_a_user_has_several_peers_at_once_and_the_limit_counts_no_replacement(
    served: Served,
) -> None:
    pair = peer_key_pair()
    peers = [await served.raw.register("alice", pair) for _ in range(LIMITS.max_peers_per_user)]

    await served.raw.register("alice", pair, peer_id=peers[0].peer_id)
    assert (await refusal(served.raw.register("alice", pair))).reason == "TOO_MANY_PEERS"
    await peers[1].leave()
    await served.raw.register("alice", pair)


async def test_a_refused_register_leaves_the_session_that_is_there(served: Served) -> None:
    alice = await served.raw.register("alice")

    await refusal(served.raw.register("mallory", peer_id=alice.peer_id))

    await alice.heartbeat()


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(noise=st.binary(max_size=400))
async def test_no_bytes_for_a_certificate_are_a_fault_of_ours(served: Served, noise: bytes) -> None:
    challenge = (await served.raw.info()).challenge
    request = pb.RegisterRequest(
        user="alice", certificate_der=noise, peer_id="x" * 16, challenge=challenge, proof=noise
    )

    assert (await refusal(served.raw.send_register(request))).reason == "CERTIFICATE_INVALID"


async def test_each_byte_of_a_certificate_counts(served: Served) -> None:
    pair = peer_key_pair()
    der = pair.certificate_der
    challenge = (await served.raw.info()).challenge

    for at in itertools.chain(range(0, len(der), 7), range(len(der) - 8, len(der))):
        changed = der[:at] + bytes([der[at] ^ 0x20]) + der[at + 1 :]
        request = pb.RegisterRequest(
            user="alice",
            certificate_der=changed,
            peer_id="x" * 16,
            challenge=challenge,
            proof=sha256(changed).digest(),
        )
        refused = await refusal(served.raw.send_register(request))
        assert refused.reason in {"CERTIFICATE_INVALID", "PROOF_INVALID"}

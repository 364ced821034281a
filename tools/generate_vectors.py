"""The test vectors in tests/conformance/vectors, written from docs/protocol.md alone.

Nothing of our programs is imported: what both must agree on is reckoned here a second time. Keys
and signatures are fixed (RFC 6979), so that every run writes the same bytes. With --check it only
says what differs.
"""

import argparse
import base64
import hmac
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from blake3 import blake3
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "conformance" / "vectors"
MIB = 1 << 20
NOW = 1_893_499_200  # 2030-01-01T12:00:00Z
PEER_ID = "vector-peer-0000"
CHALLENGE = bytes(range(48))
NONCE = bytes(range(32))
DIGESTS = ["aa" * 32, "bb" * 32]
OTHER_DIGEST = DIGESTS[1]

Case = dict[str, Any]
Key = ec.EllipticCurvePrivateKey


def key_of(number: int) -> Key:
    """A key that everybody knows: for vectors only."""
    return ec.derive_private_key(number, ec.SECP256R1())


PEER_KEY, OTHER_PEER_KEY = key_of(0x1001), key_of(0x1002)
DIRECTORY_KEY, GRANT_KEY, FOREIGN_KEY = key_of(0x2001), key_of(0x3001), key_of(0x3002)


def spki(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def pkcs8_pem(key: Key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def fingerprint(key: Key) -> str:
    return sha256(spki(key)).hexdigest()


def sign(key: Key, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(SHA256(), deterministic_signing=True))


def certificate(key: Key, dns_name: str = "peer.p2p.invalid") -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, dns_name)])
    alternatives = x509.SubjectAlternativeName([x509.DNSName(dns_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
        .add_extension(alternatives, critical=False)
    )
    made = builder.sign(key, SHA256(), ecdsa_deterministic=True)
    return made.public_bytes(Encoding.DER)


def len32(*fields: bytes) -> bytes:
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


# --- contents -----------------------------------------------------------------------------------


def content(size_bytes: int) -> bytes:
    period = bytes((i * 31 + 7) % 251 for i in range(251))
    return (period * (size_bytes // 251 + 1))[:size_bytes]


def piece_size(size_bytes: int) -> int:
    size = MIB
    while -(-size_bytes // size) > 65_536:
        size *= 2
    return size


def manifest_case(name: str, data: bytes, **rule: object) -> Case:
    size = piece_size(len(data))
    pieces = [blake3(data[at : at + size]).digest() for at in range(0, len(data), size)]
    head = b"p2p.v1.Manifest\0" + len(data).to_bytes(8, "big") + size.to_bytes(8, "big")
    canonical = head + b"".join(pieces)
    return {
        "name": name,
        **rule,
        "size_bytes": len(data),
        "digest": blake3(data).hexdigest(),
        "piece_size_bytes": size,
        "piece_digests": [piece.hex() for piece in pieces],
        "canonical_hex": canonical.hex(),
        "manifest_digest": blake3(canonical).hexdigest(),
    }


def contents() -> Case:
    sizes = {
        "empty": 0,
        "one byte": 1,
        "a piece less one byte": MIB - 1,
        "a piece": MIB,
        "a piece and one byte": MIB + 1,
        "two pieces": 2 * MIB,
        "many pieces": 7 * MIB + 12_345,
    }
    return {
        "about": "byte i of each content is (i * 31 + 7) mod 251; where `text` stands, it is the "
        "content. All digests are BLAKE3, in hex.",
        "cases": [
            manifest_case("three letters", b"abc", text="abc"),
            *(manifest_case(name, content(size)) for name, size in sizes.items()),
        ],
    }


def piece_sizes() -> Case:
    largest = 65_536 * MIB  # with pieces of 1 MiB
    sizes = [0, 1, MIB, MIB + 1, largest - 1, largest, largest + 1, 2 * largest, 2 * largest + 1]
    return {
        "about": "The piece size that follows from a size, and the number of pieces.",
        "cases": [
            {
                "size_bytes": str(size),
                "piece_size_bytes": str(piece_size(size)),
                "pieces": -(-size // piece_size(size)),
            }
            for size in [*sizes, 16 * largest, 16 * largest + 1, (1 << 63) - 1]
        ],
        "note": "Numbers are strings where they are too large for a JSON number in some languages.",
    }


# --- proofs -------------------------------------------------------------------------------------


def register_bytes(directory: str, challenge: bytes, user: str, peer: str, der: bytes) -> bytes:
    fields = bytes.fromhex(directory), challenge, user.encode(), peer.encode(), sha256(der).digest()
    return b"p2p.v1.Register\0" + len32(*fields)


def register_case(name: str, expect: str, **changes: Any) -> Case:
    """A Register; `signed_…` among the changes is what was signed instead of what is sent."""
    key: Key = changes.pop("key", PEER_KEY)
    sent: dict[str, Any] = {
        "directory_id": fingerprint(DIRECTORY_KEY),
        "challenge": CHALLENGE,
        "user": "ann",
        "peer_id": PEER_ID,
        "certificate_der": certificate(PEER_KEY),
    }
    signed = sent | changes
    right, signed_bytes = (register_bytes(*case.values()) for case in (sent, signed))
    return {
        "name": name,
        **{k: v.hex() if isinstance(v, bytes) else v for k, v in sent.items()},
        "signed_bytes": right.hex(),
        "proof": sign(key, signed_bytes).hex(),
        "expect": expect,
    }


def proofs() -> Case:
    der = certificate(PEER_KEY)
    right = register_case("right", "good")
    tail = bytes.fromhex(str(right["proof"]))
    r, s = decode_dss_signature(tail)
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    no_prefix = bytes.fromhex(str(right["signed_bytes"])).removeprefix(b"p2p.v1.Register\0")
    wrong = "PROOF_INVALID"
    identity = b"p2p.v1.ProveIdentity\0" + len32(NONCE, PEER_ID.encode())
    swapped = b"p2p.v1.ProveIdentity\0" + len32(PEER_ID.encode(), NONCE)
    return {
        "about": "Byte strings are hex. Verify each `proof` with the certificate's key over the "
        "bytes that you put together yourself from the fields; `signed_bytes` are these. ECDSA "
        "signatures are random: make your own, and verify these.",
        "private_key_pem": pkcs8_pem(PEER_KEY),
        "certificate_der": der.hex(),
        "certificate_fingerprint": fingerprint(PEER_KEY),
        "directory_certificate_der": certificate(DIRECTORY_KEY, "directory.p2p.invalid").hex(),
        "directory_id": fingerprint(DIRECTORY_KEY),
        "register": [
            right,
            register_case("another key", wrong, key=OTHER_PEER_KEY),
            register_case("signed for another directory", wrong, directory_id="00" * 32),
            register_case("signed another challenge", wrong, challenge=bytes(48)),
            register_case("signed another user", wrong, user="bob"),
            register_case("signed another peer", wrong, peer_id=PEER_ID[::-1]),
            register_case(
                "signed another certificate", wrong, certificate_der=certificate(OTHER_PEER_KEY)
            ),
            register_case("field border moved", wrong, user="annv", peer_id=PEER_ID[1:]),
            right | {"name": "signature as r and s", "proof": raw.hex(), "expect": wrong},
            right
            | {
                "name": "signed without the leading words",
                "proof": sign(PEER_KEY, no_prefix).hex(),
                "expect": wrong,
            },
            right | {"name": "empty", "proof": "", "expect": wrong},
        ],
        "prove_identity": [
            {
                "name": name,
                "nonce": NONCE.hex(),
                "peer_id": PEER_ID,
                "signed_bytes": identity.hex(),
                "signature": sign(key, data).hex(),
                "expect": expect,
            }
            for name, key, data, expect in (
                ("right", PEER_KEY, identity, "good"),
                ("another key", OTHER_PEER_KEY, identity, "bad"),
                ("fields exchanged", PEER_KEY, swapped, "bad"),
            )
        ],
    }


# --- grants -------------------------------------------------------------------------------------


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwt(claims: object, key: Key, **header: str) -> str:
    """A JWT as ES256 has it: the signature is r and s, 32 bytes each."""
    signed = jwt_head(claims, **header)
    r, s = decode_dss_signature(sign(key, signed.encode()))
    return f"{signed}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def jwt_head(claims: object, **header: str) -> str:
    parts = {"alg": "ES256", "typ": "JWT"} | header, claims
    return ".".join(b64(json.dumps(part, separators=(",", ":")).encode()) for part in parts)


@dataclass(frozen=True)
class Granting:
    """What makes a grant good for one source: its directory, itself, a content, the time."""

    directory_id: str = fingerprint(DIRECTORY_KEY)
    key: Key = GRANT_KEY
    peer_id: str = PEER_ID
    digest: str = DIGESTS[0]
    now: int = NOW

    def claims(self, **changes: object) -> Case:
        """Good claims; None leaves one out."""
        good = {
            "iss": self.directory_id,
            "aud": self.peer_id,
            "sub": "bob",
            "iat": self.now - 60,
            "exp": self.now + 43_200,
            "digests": [self.digest],
        }
        return {name: value for name, value in (good | changes).items() if value is not None}

    def jwt(self, claims: object, **header: str) -> str:
        return jwt(claims, self.key, **header)

    def cases(self) -> Iterator[tuple[str, str, str]]:
        """Name, what is expected, and the grant."""
        good, invalid, expired, mismatch = (
            "good",
            "GRANT_INVALID",
            "GRANT_EXPIRED",
            "GRANT_MISMATCH",
        )
        yield "names the content", good, self.jwt(self.claims())
        yield (
            "names several contents",
            good,
            self.jwt(self.claims(digests=[OTHER_DIGEST, self.digest])),
        )
        yield "covers all", good, self.jwt(self.claims(digests=None, all=True))
        yield (
            "unknown claims are ignored",
            good,
            self.jwt(self.claims(nbf=self.now, jti="x", color="blue")),
        )
        yield "ran out within the leeway", good, self.jwt(self.claims(exp=self.now - 115))
        yield "issued within the leeway ahead", good, self.jwt(self.claims(iat=self.now + 115))

        yield "ran out", expired, self.jwt(self.claims(iat=self.now - 9_000, exp=self.now - 125))
        yield "ran out long ago", expired, self.jwt(self.claims(iat=1, exp=2))
        yield "issued in the future", expired, self.jwt(self.claims(iat=self.now + 125))

        yield "another source", mismatch, self.jwt(self.claims(aud=self.peer_id[::-1]))
        yield (
            "another source, all contents",
            mismatch,
            self.jwt(self.claims(aud="x" * 16, digests=None, all=True)),
        )
        yield "other contents", mismatch, self.jwt(self.claims(digests=[OTHER_DIGEST]))
        yield "no contents", mismatch, self.jwt(self.claims(digests=[]))

        yield "another directory", invalid, self.jwt(self.claims(iss="00" * 32))
        yield "signed with another key", invalid, jwt(self.claims(), FOREIGN_KEY)
        # Malformed, or for no content at all: a source may see it either way.
        either = f"{invalid}|{mismatch}"
        yield "neither digests nor all", either, self.jwt(self.claims(digests=None))
        yield "all is false", either, self.jwt(self.claims(digests=None, all=False))
        yield "all is text", either, self.jwt(self.claims(digests=None, all="true"))
        yield "digests is text", either, self.jwt(self.claims(digests=self.digest))
        for name in ("iss", "aud", "sub", "iat", "exp"):
            yield f"without {name}", invalid, self.jwt(self.claims(**{name: None}))
        yield "exp is text that is no number", invalid, self.jwt(self.claims(exp="tomorrow"))
        yield "not an object", invalid, self.jwt(["aud", self.peer_id])

        for algorithm in ("none", "None", "NONE"):
            yield f"alg {algorithm}", invalid, f"{jwt_head(self.claims(), alg=algorithm)}."
        yield "alg none with a signature", invalid, self.jwt(self.claims(), alg="none")
        yield "alg ES384 with an ES256 signature", invalid, self.jwt(self.claims(), alg="ES384")
        for name, secret in (("DER", spki(self.key)), ("PEM", public_pem(self.key))):
            head = jwt_head(self.claims(), alg="HS256")
            mac = b64(hmac.digest(secret, head.encode(), "sha256"))
            yield f"HS256 with the public key as {name}", invalid, f"{head}.{mac}"
        head, body, signature = self.jwt(self.claims()).split(".")
        other_body = self.jwt(self.claims(sub="eve")).split(".")[1]
        der = b64(sign(self.key, f"{head}.{body}".encode()))
        yield "claims exchanged", invalid, f"{head}.{other_body}.{signature}"
        yield "signature cut", invalid, f"{head}.{body}.{signature[:-4]}"
        yield "signature left out", invalid, f"{head}.{body}."
        yield "signature as ASN.1", invalid, f"{head}.{body}.{der}"
        yield "signature of zeros", invalid, f"{head}.{body}.{b64(bytes(64))}"
        yield "two parts", invalid, f"{head}.{body}"
        yield "four parts", invalid, f"{head}.{body}.{signature}.{signature}"
        yield "not a token", invalid, "session"


def public_pem(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def grants() -> Case:
    return {
        "about": "Judge each grant as the source `peer_id`, registered at `directory_id`, asked "
        "for `digest` when the directory's clock says `now`. `expect`: good, or the reason, or two "
        "reasons with a bar between them where either will do.",
        "directory_id": fingerprint(DIRECTORY_KEY),
        "grant_key_der": spki(GRANT_KEY).hex(),
        "grant_private_key_pem": pkcs8_pem(GRANT_KEY),
        "peer_id": PEER_ID,
        "digest": DIGESTS[0],
        "now": NOW,
        "leeway_seconds": 120,
        "cases": [
            {"name": name, "expect": expect, "grant": grant}
            for name, expect, grant in Granting().cases()
        ],
    }


# --- names --------------------------------------------------------------------------------------

LAWFUL_PATHS = [
    "a", "photos/2024/a.jpg", "aux.c", "CON.txt", "a:b", "README", "readme", "-rf", "...",
    "trailing dot.", "trailing space ", " leading space", ".hidden", "~root", "$(reboot)",
    "100% `quoted` \"name\" 'x'; --", "*?[]<>|", "日本語/ファイル.txt", "é.txt", "ﬁ", "Ω",
    "می\u200cخواهم.txt", "👩\u200d👧.png", "no\u00a0break space", "x" * 255, "é" * 127,
    "/".join("x" * 64), "/".join(["x" * 203] * 5) + "/abcd",
]  # fmt: skip
UNLAWFUL_PATHS = [
    "", ".", "..", "../x", "../../x", "a/../b", "a/..", "a/./b", "/", "/etc/passwd", "//x", "a//b",
    "a/", "C:\\x", "..\\x", "\\\\server\\share", "nul\0byte", "new\nline", "carriage\rreturn",
    "tab\tulator", "escape\x1b[2Jsequence", "c1\x9bcontrol", "delete\x7f", "rtl\u202eoverride",
    "isolate\u2066d", "arabic mark\u061c", "zero\u200bwidth", "left\u200emark", "word\u2060joiner",
    "bom\ufeff", "soft\u00adhyphen", "line\u2028separator", "paragraph\u2029separator",
    "private\ue000use", "un\u0378assigned", "non\uffffcharacter", "tag\U000e0041", "NFD e\u0301",
    "ohm \u2126", "x" * 256, "é" * 128, "/".join(["x" * 203] * 5) + "/abcde", "x" * 5_000,
    "/".join("x" * 65),
]  # fmt: skip
USERS = {
    True: ["a", "0", "ann", "Ann.B-c_d", "a" * 64],
    False: ["", "a" * 65, ".a", "-a", "_a", "a b", "a/b", "a:b", "é", "a\n", "a\0", "a\u202eb"],
}
PEER_IDS = {
    True: ["a" * 16, "-" * 16, "_" * 64, PEER_ID],
    False: ["", "a" * 15, "a" * 65, "a" * 15 + ".", "a" * 15 + "é", "a" * 16 + "\n", "a " * 8],
}
HOSTS = {
    True: ["127.0.0.1", "192.168.1.2", "8.8.8.8", "::1", "2001:db8::1", "fd00::1"],
    False: [
        "", "localhost", "example.com", "127.0.0.1:80", "[::1]", "fe80::1%eth0", "1.2.3", "127.1",
        "1.2.3.256", "0x7f.0.0.1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "224.0.0.1",
        "ff02::1", "255.255.255.255",
    ],
}  # fmt: skip
GLOBS = [
    ("*", "a.txt", True), ("*", "x/y/a.txt", True), ("*.txt", "x/a.TXT", True),
    ("*.txt", "x.txt/a", False), ("a?c", "x/abc", True), ("a?c", "ac", False),
    ("a?c", "a/c", False), ("x/*", "x/a", True), ("x/*", "x/y/a", False), ("x/**", "x/y/a", True),
    ("x/**", "x", False), ("**/a", "x/y/a", True), ("**/a", "a", False), ("**/*", "a", False),
    ("x/**/a", "x/y/z/a", True), ("x/**/a", "x/a", False), ("x**/a", "xy/z/a", True),
    ("*/a", "x/a", True), ("*/a", "x/y/a", False), ("x/?/a", "x/y/a", True), ("A.B", "a.b", True),
    ("a.b", "axb", False), ("[ab]", "a", False), ("[ab]", "[ab]", True), ("a", "x/a", True),
    ("a", "a/x", False), ("/a", "a", False), ("É*", "x/éclair", True),
    ("*ß", "STRASSE/gross", True),
    ("b**", "a/bcd", True), ("**", "a/b/c", True), ("a*b*c", "x/aXbYc", True),
    ("a*b*c", "x/aXcYb", False),
]  # fmt: skip


def verdicts(rule: dict[bool, list[str]]) -> list[Case]:
    return [{"text": text, "lawful": lawful} for lawful, texts in rule.items() for text in texts]


def names() -> Case:
    return {
        "about": "Which texts the contract allows. `hosts`: whether a downloader may dial it.",
        "paths": verdicts({True: LAWFUL_PATHS, False: UNLAWFUL_PATHS}),
        "users": verdicts(USERS),
        "peer_ids": verdicts(PEER_IDS),
        "hosts": verdicts(HOSTS),
    }


def globs() -> Case:
    return {
        "about": "Whether QueryRequest.glob finds the path; judged by the directory, without case.",
        "cases": [{"glob": g, "path": p, "matches": m} for g, p, m in GLOBS],
    }


VECTORS = {
    "contents.json": contents,
    "piece_sizes.json": piece_sizes,
    "proofs.json": proofs,
    "grants.json": grants,
    "names.json": names,
    "globs.json": globs,
}


def rendered() -> dict[str, str]:
    """File name and text of all; ASCII only, so that no editor normalises a name."""
    return {name: json.dumps(make(), indent=1) + "\n" for name, make in VECTORS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    check = parser.parse_args().check
    for name, text in rendered().items():
        file = FOLDER / name
        if check and (not file.is_file() or file.read_text() != text):
            sys.exit(f"{file.name} is not what tools/generate_vectors.py says: run it")
        if not check:
            file.write_text(text)


if __name__ == "__main__":
    main()

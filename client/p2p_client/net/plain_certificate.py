"""Certificates as our programs write them, known by their bytes. Pure.

To load a library that reads any certificate takes a tenth of the time of a short command, and
nearly all certificates here differ in three things alone: serial number, key and signature. What
is written again from these three and is the same, byte for byte, is such a certificate; of any
other nothing is said here: `identity.py` has the library judge it.
"""

from p2p_client.records import dataclass

_VERSION_3 = bytes.fromhex("a003020102")
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_COMMON_NAME = bytes.fromhex("0603550403")
_SUBJECT_ALTERNATIVE_NAME = bytes.fromhex("0603551d11")
_P256_KEY = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
_P256_KEY_BYTES = 91
_MOST_SERIAL_BYTES = 20

_INTEGER, _BIT_STRING, _OCTET_STRING, _UTF8 = 0x02, 0x03, 0x04, 0x0C
_UTC_TIME, _TIME, _SEQUENCE, _SET, _DNS_NAME, _EXTENSIONS = 0x17, 0x18, 0x30, 0x31, 0x82, 0xA3


@dataclass(frozen=True, slots=True)
class PlainCertificate:
    """What such a certificate tells; whether the signature is right is not known yet."""

    spki_der: bytes
    signed: bytes
    signature: bytes


def read_plain(certificate_der: bytes, name: str) -> PlainCertificate | None:
    """None: not one that our programs have written for this DNS name."""
    serial_at = certificate_der.find(_VERSION_3) + len(_VERSION_3)
    spki_at = certificate_der.find(_P256_KEY)
    serial_length = int.from_bytes(certificate_der[serial_at + 1 : serial_at + 2])
    serial = certificate_der[serial_at + 2 : serial_at + 2 + serial_length]
    spki_der = certificate_der[spki_at : spki_at + _P256_KEY_BYTES] if spki_at > 0 else b""
    if len(spki_der) != _P256_KEY_BYTES or not _is_serial(serial):
        return None
    signed = _signed_part(serial, spki_der, name.encode())
    # A header of four bytes is before the signed part, one of three before the signature.
    signature = certificate_der[4 + len(signed) + len(_ECDSA_SHA256) + 3 :]
    if certificate_der != _certificate(signed, signature):
        return None
    return PlainCertificate(spki_der, signed, signature)


def _is_serial(serial: bytes) -> bool:
    """Positive, of as few bytes as can be, and not too many."""
    number = int.from_bytes(serial, signed=True)
    is_shortest = number.bit_length() // 8 + 1 == len(serial)
    return number > 0 and is_shortest and len(serial) <= _MOST_SERIAL_BYTES


def _certificate(signed: bytes, signature: bytes) -> bytes:
    return _der(_SEQUENCE, signed, _ECDSA_SHA256, _der(_BIT_STRING, b"\0", signature))


def _signed_part(serial: bytes, spki_der: bytes, name: bytes) -> bytes:
    common_name = _der(_SEQUENCE, _COMMON_NAME, _der(_UTF8, name))
    whose = _der(_SEQUENCE, _der(_SET, common_name))
    names = _der(_SEQUENCE, _der(_DNS_NAME, name))
    extension = _der(_SEQUENCE, _SUBJECT_ALTERNATIVE_NAME, _der(_OCTET_STRING, names))
    return _der(
        _SEQUENCE,
        _VERSION_3,
        _der(_INTEGER, serial),
        _ECDSA_SHA256,
        whose,
        _der(_SEQUENCE, _der(_UTC_TIME, b"000101000000Z"), _der(_TIME, b"99991231235959Z")),
        whose,
        spki_der,
        _der(_EXTENSIONS, _der(_SEQUENCE, extension)),
    )


def _der(tag: int, *parts: bytes) -> bytes:
    """One value, of less than 64 KiB."""
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        head = bytes((tag, length))
    elif length < 0x100:
        head = bytes((tag, 0x81, length))
    else:
        head = bytes((tag, 0x82)) + length.to_bytes(2)
    return head + content

"""Bytes that are read straight to where they belong, with something before them.

What is sent needs a few bytes before each chunk; putting the two together afterwards would copy the
chunk while nobody else can run.
"""

import ctypes

_new = ctypes.pythonapi.PyBytes_FromStringAndSize
_new.argtypes = (ctypes.c_char_p, ctypes.c_ssize_t)
_new.restype = ctypes.py_object
_address_of = ctypes.pythonapi.PyBytes_AsString
_address_of.argtypes = (ctypes.py_object,)
_address_of.restype = ctypes.c_void_p


def new_bytes(head: bytes, length: int) -> tuple[bytes, memoryview]:
    """Bytes that begin with `head`, and room within them for `length` more, which whoever asked
    fills before anybody else sees them: the one moment in which the interpreter allows that."""
    fresh: bytes = _new(None, len(head) + length)
    memory = (ctypes.c_char * len(fresh)).from_address(_address_of(fresh))
    memory.owner = fresh  # type: ignore[attr-defined]  # lives as long as the room
    room = memoryview(memory).cast("B")
    room[: len(head)] = head
    return fresh, room[len(head) :]

"""Memory that content is received into: page-aligned, as writing past the page cache wants it."""

import ctypes

BLOCK_BYTES = 1 << 20
ALIGNMENT = 4096


# Unlike bytearray(n) it fills nothing with zeros, a twentieth of all the time a download takes.
_new_bytearray = ctypes.pythonapi.PyByteArray_FromStringAndSize
_new_bytearray.argtypes = (ctypes.c_char_p, ctypes.c_ssize_t)
_new_bytearray.restype = ctypes.py_object


def new_block(size_bytes: int = BLOCK_BYTES) -> memoryview:
    """Writable memory that begins at a page; what is in it is anything. Freed with the last view
    of it; the allocator keeps it for the next one (see `transfer/memory.py`)."""
    raw: bytearray = _new_bytearray(None, size_bytes + ALIGNMENT)
    start = -address_of(raw) % ALIGNMENT
    return memoryview(raw)[start : start + size_bytes]


def address_of(writable: bytearray | memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(writable))


def is_aligned(view: memoryview) -> bool:
    """Whether begin and length are whole pages."""
    return not view.readonly and not (len(view) % ALIGNMENT or address_of(view) % ALIGNMENT)

"""Whether the elements of a MATLAB file of version 5 to 7 lie within each other, before SciPy reads them.

SciPy (1.17) trusts the sizes that a file tells: a damaged one can make it run for minutes or end the process.
Layout: "MAT-File Format", The MathWorks, chapter 1 (Level 5).
"""

from __future__ import annotations

import math
import mmap
import struct
import zlib
from pathlib import Path

_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE = 1, 2, 3, 4, 5
_NUMBERS = range(6, 16)
_FUNCTION, _OPAQUE = 16, 17
_COMPLEX = 0x800
#: bytes of a value of each type of data; text of varying length counts 1
_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
_HEADER = 128

Buffer = mmap.mmap


def check_elements(path: Path) -> None:
    """Raise ``ValueError`` where sizes contradict each other or compressed bytes fail their checksum.

    Files of other versions are left alone.
    """
    with path.open("rb") as file:
        head = file.read(_HEADER)
        order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
        if len(head) < _HEADER or order is None or head[125 if order == "<" else 124] != 1:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            at = _HEADER
            while at < len(buffer):
                kind, start, end, at = _element(buffer, at, len(buffer), order)
                if kind == _COMPRESSED:
                    _check_compressed(buffer, start, end)
                elif kind == _MATRIX:
                    _check_matrix(buffer, start, end, order)


def _element(buffer: Buffer, at: int, end: int, order: str) -> tuple[int, int, int, int]:
    """Kind, beginning and end of the data, beginning of the next element."""
    if at + 8 > end:
        raise ValueError("it ends within an element")
    kind, size = struct.unpack(f"{order}II", buffer[at : at + 8])
    if kind >> 16:  # a small element: its size and data are within the tag
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise ValueError("a small element is larger than its tag")
        return kind, at + 4, at + 4 + size, at + 8
    start = at + 8
    if start + size > end:
        raise ValueError(f"an element of {size} bytes, of which {end - start} are there")
    padded = size if kind == _COMPRESSED else size + -size % 8
    return kind, start, start + size, min(start + padded, end)


def _check_compressed(buffer: Buffer, start: int, end: int) -> None:
    stream = zlib.decompressobj()
    for place in range(start, end, 1 << 20):
        stream.decompress(buffer[place : min(place + (1 << 20), end)])
    if not stream.eof:
        raise ValueError("a compressed variable is cut off")


def _check_matrix(buffer: Buffer, start: int, end: int, order: str) -> None:
    if start == end:  # an empty array
        return
    _, flags, stop, at = _element(buffer, start, end, order)
    if stop - flags != 8:
        raise ValueError("an array without its flags")
    bits = struct.unpack(f"{order}I", buffer[flags : flags + 4])[0]
    kind = bits & 0xFF
    _, first, stop, at = _element(buffer, at, end, order)
    sizes = struct.unpack(f"{order}{(stop - first) // 4}i", buffer[first : first + (stop - first) // 4 * 4])
    if len(sizes) < 2 or min(sizes) < 0 or math.prod(sizes) > 8 * (len(buffer) + 1):
        raise ValueError(f"an array of sizes {sizes[:8]}")
    _, _, _, at = _element(buffer, at, end, order)  # its name
    inside = math.prod(sizes)
    if kind in (_FUNCTION, _OPAQUE):
        return
    if kind in _NUMBERS or kind in (_CHAR, _SPARSE):
        for _ in range((2 if kind == _SPARSE else 0) + (2 if bits & _COMPLEX else 1)):
            data, first, stop, at = _element(buffer, at, end, order)
            width = _BYTES.get(data)
            if width is None or (kind in _NUMBERS and stop - first != width * inside):
                raise ValueError(f"an array of sizes {sizes[:8]} in {stop - first} bytes of type {data}")
        return
    if kind not in (_CELL, _STRUCT, _OBJECT):
        raise ValueError(f"an array of the unknown class {kind}")
    if kind == _OBJECT:
        _, _, _, at = _element(buffer, at, end, order)  # the name of its class
    if kind != _CELL:
        _, first, stop, at = _element(buffer, at, end, order)
        length = struct.unpack(f"{order}i", buffer[first:stop])[0] if stop - first == 4 else 0
        if length < 1:
            raise ValueError("a struct whose fields have names of no length")
        _, first, stop, at = _element(buffer, at, end, order)
        inside *= (stop - first) // length
    for _ in range(inside):
        child, first, stop, at = _element(buffer, at, end, order)
        if child != _MATRIX:
            raise ValueError("a cell or a field that is no array")
        _check_matrix(buffer, first, stop, order)

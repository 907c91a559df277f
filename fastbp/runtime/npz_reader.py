"""Arrays of an ``.npz`` file that is not trusted: every size is checked before memory is taken.

An ``.npz`` is a zip archive of ``.npy`` members.  What a file declares is compared with the bytes
that it has: a header of two gigabytes, an array larger than its member or members that share their
bytes are refused before anything is allocated for them.  Nothing is ever unpickled.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from fastbp.errors import ProblemFileError, printable
from fastbp.typing import Array

__all__ = ["key_text", "path_text", "read_npz"]

# Deflate makes zeros a thousand times smaller.  A file that expands further than this must be
# stored, so that a small file never asks for a large memory.
LARGEST_EXPANSION = 100
ALWAYS_ALLOWED = 2**28  # bytes, however small the file
LONGEST_HEADER = 10_000  # bytes, as in NumPy
CHUNK = 2**22  # bytes that are decompressed at a time
ENCRYPTED = 0x1
COMPRESSIONS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
LONGEST_NAME_SHOWN = 60
LONGEST_REASON = 200


def read_npz(path: Path, kinds_of: Callable[[str], str]) -> dict[str, Array]:
    """Read every array of a file.

    Parameters
    ----------
    path : Path
        The file.
    kinds_of : callable
        Takes a key and returns the kinds of dtype that it may have ("f", "iu", ...); raises where
        the key is not known.

    Returns
    -------
    dict of str to ndarray
        The arrays, in the native byte order.

    Raises
    ------
    ProblemFileError
        The file cannot be read, is damaged, or declares what it does not hold.
    """
    where = path_text(path)
    try:
        with path.open("rb") as file:
            _refuse_other_formats(where, file)
            with _open_archive(where, file) as archive:
                members = _members_by_key(where, archive.infolist(), kinds_of)
                _refuse_false_sizes(where, list(members.values()), os.fstat(file.fileno()).st_size)
                return {
                    key: _read_array(where, archive, member, kinds_of(key))
                    for key, member in members.items()
                }
    except OSError as error:
        reason = error.strerror or str(error)
        raise ProblemFileError(f"{where} cannot be read: {reason}.") from error


def path_text(path: Path) -> str:
    """Return a path for a message, printable."""
    return printable(str(path))


def _key_of(member: zipfile.ZipInfo) -> str:
    return member.filename.removesuffix(".npy")


def key_text(key: str) -> str:
    """Return a key for a message: quoted, printable, and not the 65 535 bytes that a zip allows."""
    short = key if len(key) <= LONGEST_NAME_SHOWN else f"{key[:LONGEST_NAME_SHOWN]}..."
    return f"'{printable(short)}'"


# ---- the archive ----


def _refuse_other_formats(where: str, file: BinaryIO) -> None:
    """Look at the first bytes, to say what the file is in place of an archive."""
    start = file.read(6)
    if start == b"\x93NUMPY":
        raise ProblemFileError(
            f"{where} is a single .npy array, not an .npz file: write it with numpy.savez."
        )
    if start[:4] not in (b"PK\x03\x04", b"PK\x05\x06"):
        raise ProblemFileError(f"{where} is not an .npz file.")
    if not zipfile.is_zipfile(file):
        raise ProblemFileError(f"{where} is truncated: the directory at its end is missing.")
    file.seek(0)


def _open_archive(where: str, file: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except OSError:
        raise
    # A damaged directory surfaces as whatever zipfile or struct trips over first.
    except Exception as error:
        raise ProblemFileError(f"{where} is damaged: {_said(error)}.") from error


def _members_by_key(
    where: str, members: Sequence[zipfile.ZipInfo], kinds_of: Callable[[str], str]
) -> dict[str, zipfile.ZipInfo]:
    """Return the members by their keys; each key must be known and stand once."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        key = _key_of(member)
        kinds_of(key)
        if key in found:
            raise ProblemFileError(
                f"{where}: key {key_text(key)} stands twice, "
                f"as {key_text(found[key].filename)} and as {key_text(member.filename)}."
            )
        _refuse_what_is_not_read(where, key, member)
        found[key] = member
    return found


def _refuse_what_is_not_read(where: str, key: str, member: zipfile.ZipInfo) -> None:
    if member.flag_bits & ENCRYPTED:
        raise ProblemFileError(f"{where}: key {key_text(key)} is encrypted.")
    if member.compress_type not in COMPRESSIONS:
        raise ProblemFileError(
            f"{where}: key {key_text(key)} is compressed by method {member.compress_type} of "
            f"the zip format; it must be {' or '.join(COMPRESSIONS.values())}."
        )


def _refuse_false_sizes(where: str, members: Sequence[zipfile.ZipInfo], available: int) -> None:
    """Compare what the directory declares with the size of the file, before anything is read."""
    for member in members:
        stored = member.compress_type == zipfile.ZIP_STORED
        if stored and member.file_size != member.compress_size:
            raise ProblemFileError(
                f"{where}: key {key_text(_key_of(member))} is damaged: it is stored in "
                f"{member.compress_size:,} bytes and declares {member.file_size:,}."
            )
    packed = sum(member.compress_size for member in members)
    if packed > available:
        raise ProblemFileError(
            f"{where} is damaged: its members declare {packed:,} bytes, "
            f"and the file has {available:,}."
        )
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(ALWAYS_ALLOWED, LARGEST_EXPANSION * available):
        raise ProblemFileError(
            f"{where} declares {unpacked:,} bytes, more than {LARGEST_EXPANSION} times its "
            f"own {available:,}: write it uncompressed, with numpy.savez."
        )


# ---- one array ----


def _read_array(where: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo, kinds: str) -> Array:
    key = key_text(_key_of(member))
    try:
        with archive.open(member) as stream:
            shape, fortran_order, dtype, start = _read_header(where, key, stream)
            _refuse_kind(where, key, dtype, kinds)
            flat = _read_numbers(stream, shape, dtype, member.file_size - start)
        array = flat.reshape(shape, order="F" if fortran_order else "C")
    except ProblemFileError:
        raise
    except MemoryError as error:
        raise ProblemFileError(
            f"{where}: key {key} takes {member.file_size:,} bytes, more than there is memory."
        ) from error
    # Damaged bytes surface as whatever zipfile, zlib, ast or numpy trips over first.
    except Exception as error:
        raise ProblemFileError(f"{where}: key {key} is damaged: {_said(error)}.") from error
    # The byte order belongs to the file, not to the numbers.
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_header(
    where: str, key: str, stream: IO[bytes]
) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, order and dtype of a member, and where its numbers begin."""
    start = stream.read(8)
    if start[:6] != b"\x93NUMPY":
        raise ProblemFileError(f"{where}: key {key} is not an array.")
    version = tuple(start[6:])
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {'.'.join(map(str, version))} of the .npy format is not known")
    digits = stream.read(2 if version == (1, 0) else 4)
    length = int.from_bytes(digits, "little")
    if length > LONGEST_HEADER:
        raise ProblemFileError(
            f"{where}: key {key} has a header of {length:,} bytes; "
            f"at most {LONGEST_HEADER:,} are read."
        )
    text = stream.read(length)
    form = np.lib.format
    read = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
    shape, fortran_order, dtype = read(io.BytesIO(digits + text))
    if any(length < 0 for length in shape):
        raise ValueError(f"shape {shape} has a negative length")
    return shape, fortran_order, dtype, len(start) + len(digits) + len(text)


def _refuse_kind(where: str, key: str, dtype: np.dtype[Any], kinds: str) -> None:
    if dtype.hasobject:
        raise ProblemFileError(
            f"{where}: key {key} holds Python objects. They are pickled, and fastbp never "
            "loads a pickle, which can run any code: store plain numbers."
        )
    if dtype.kind not in kinds:
        expected = "text" if "U" in kinds else "numbers"
        raise ProblemFileError(
            f"{where}: key {key} must hold {expected}, not {printable(str(dtype))}."
        )


def _read_numbers(
    stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], available: int
) -> Array:
    """Read exactly the numbers that a shape needs: memory is taken once the member has them."""
    count = math.prod(shape)
    needed = count * dtype.itemsize
    if needed != available:
        raise ValueError(
            f"shape {shape} of {dtype} needs {needed:,} bytes, and there are {available:,}"
        )
    numbers = np.empty(count, dtype)
    if needed:
        view = numbers.view(np.uint8)
        for begin in range(0, needed, CHUNK):
            part = view[begin : begin + CHUNK]
            data = stream.read(len(part))
            if len(data) != len(part):
                raise ValueError(f"it ends after {begin + len(data):,} of {needed:,} bytes")
            part[:] = np.frombuffer(data, np.uint8)
    return numbers


def _said(error: Exception) -> str:
    """Return the first line's worth of a message: NumPy's hold the whole header."""
    text = printable(str(error).rstrip("."))
    short = text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."
    return short or type(error).__name__

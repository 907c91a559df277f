"""An .npz file that lies: false sizes, names and methods are errors of ours, and cost nothing."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from fastbp.errors import ProblemFileError
from fastbp.runtime import npz_reader
from fastbp.runtime.npz_reader import LONGEST_HEADER, read_npz

pytestmark = pytest.mark.small

KINDS = {"x": "f", "y": "biuf", "name": "US"}


def read(path):
    return read_npz(path, KINDS.__getitem__)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.npz"


def refused(path, message):
    with pytest.raises(ProblemFileError) as caught:
        read(path)
    assert str(caught.value) == f"{path}{message}"


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """Return a member with a header of one's own."""
    length = struct.pack("<H" if version[0] == 1 else "<I", len(header))
    return b"\x93NUMPY" + version + length + header.encode() + data


def header(shape: object = "(3,)", descr: str = "'<f8'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


def write(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)


def patch(path, marker, offset, value):
    """Overwrite bytes at an offset from the last record of a kind."""
    raw = bytearray(path.read_bytes())
    at = raw.rindex(marker) + offset
    raw[at : at + len(value)] = value
    path.write_bytes(raw)


CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_as_they_were(path, save):
    x = np.arange(12.0).reshape(3, 4)
    arrays = {
        "x": np.asfortranarray(x),
        "y": np.arange(3, dtype=">i4"),
        "name": np.array("softmax"),
    }
    save(path, **arrays)
    found = read(path)
    assert list(found) == list(arrays)
    for key, array in arrays.items():
        assert found[key].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found[key], array)
    assert found["x"].flags.f_contiguous
    assert found["x"].flags.writeable


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1)])
def test_arrays_without_entries_or_axes(path, shape):
    np.savez(path, x=np.zeros(shape), name=np.array(""))
    assert read(path)["x"].shape == shape
    assert read(path)["name"].item() == ""


def test_arrays_larger_than_a_chunk(path, monkeypatch):
    monkeypatch.setattr(npz_reader, "CHUNK", 1000)
    x = np.arange(1001.0)
    np.savez_compressed(path, x=x)
    np.testing.assert_array_equal(read(path)["x"], x)


# ---- names ----


@pytest.mark.parametrize("second", ["x.npy", "x"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_key_that_stands_twice(path, second):
    write(path, [("x.npy", npy(header(), bytes(24))), (second, npy(header(), bytes(24)))])
    refused(path, f": key 'x' stands twice, as 'x.npy' and as '{second}'.")


def test_names_are_shown_so_that_they_do_no_harm(path):
    shown = npz_reader.key_text("\x1b[2J\n\u202ea" + 100 * "b")
    assert shown == "'" + r"\x1b[2J\n\u202ea" + 53 * "b" + "...'"
    strange = path.with_name("a\x1b[2J\nb.npz")
    with pytest.raises(ProblemFileError) as caught:
        read(strange)
    assert str(caught.value) == (
        rf"{path.parent}/a\x1b[2J\nb.npz cannot be read: No such file or directory."
    )


# ---- what the zip format can, and is not read ----


def test_a_version_of_the_zip_format_that_is_not_known(path):
    np.savez(path, x=np.zeros(3))
    patch(path, CENTRAL, 6, b"\x7a")
    refused(path, " is damaged: zip file version 12.2.")


def test_an_encrypted_member(path):
    np.savez(path, x=np.zeros(3))
    patch(path, CENTRAL, 8, b"\x01")
    refused(path, ": key 'x' is encrypted.")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_is_not_read(path, method):
    write(path, [("x.npy", npy(header(), bytes(24)))], method)
    refused(
        path,
        f": key 'x' is compressed by method {method} of the zip format; "
        "it must be stored or deflated.",
    )


# ---- sizes that are not true ----


def test_a_stored_member_that_declares_more_than_its_bytes(path):
    np.savez(path, x=np.zeros(3))
    patch(path, CENTRAL, 24, struct.pack("<I", 2**31))
    refused(path, ": key 'x' is damaged: it is stored in 152 bytes and declares 2,147,483,648.")


def test_members_that_declare_more_than_the_file(path):
    np.savez(path, x=np.zeros(3))
    patch(path, CENTRAL, 20, struct.pack("<II", 2**31, 2**31))
    size = path.stat().st_size
    refused(
        path,
        f" is damaged: its members declare 2,147,483,648 bytes, and the file has {size}.",
    )


def test_a_small_file_never_asks_for_a_large_memory(path, monkeypatch):
    np.savez_compressed(path, x=np.zeros(10**6), y=np.zeros(10**6))
    np.testing.assert_array_equal(read(path)["y"], np.zeros(10**6))
    monkeypatch.setattr(npz_reader, "ALWAYS_ALLOWED", 2**20)
    size = path.stat().st_size
    refused(
        path,
        f" declares 16,000,256 bytes, more than 100 times its own {size:,}: "
        "write it uncompressed, with numpy.savez.",
    )


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_shorter_than_its_shape(path, compression):
    write(path, [("x.npy", npy(header("(9, 9)"), bytes(640)))], compression)
    refused(
        path,
        ": key 'x' is damaged: shape (9, 9) of float64 needs 648 bytes, and there are 640.",
    )


def test_a_member_longer_than_its_shape(path):
    write(path, [("x.npy", npy(header("(2,)"), bytes(24)))])
    refused(path, ": key 'x' is damaged: shape (2,) of float64 needs 16 bytes, and there are 24.")


def test_a_member_that_ends_before_what_the_directory_declares(path):
    write(path, [("x.npy", npy(header("(1000,)"), bytes(8000)))], zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as archive:
        declared = archive.infolist()[0].file_size
    patch(path, CENTRAL, 24, struct.pack("<I", declared + 800))
    raw = path.read_bytes()
    assert raw.count(CENTRAL) == 1
    refused(
        path,
        ": key 'x' is damaged: shape (1000,) of float64 needs 8,000 bytes, and there are 8,800.",
    )


def test_a_bomb_behind_a_small_declared_size(path):
    """The directory declares three numbers, the bytes would expand to a million: three are read."""
    content = npy(header("(3,)"), bytes(8 * 10**6))
    write(path, [("x.npy", content)], zipfile.ZIP_DEFLATED)
    patch(path, CENTRAL, 24, struct.pack("<I", len(content) - 8 * 10**6 + 24))
    refused(path, ": key 'x' is damaged: Bad CRC-32 for file 'x.npy'.")


@pytest.mark.parametrize("length", [LONGEST_HEADER + 1, 2**31])
def test_a_long_header_is_not_read(path, length):
    member = b"\x93NUMPY\x02\x00" + struct.pack("<I", length) + bytes(64)
    write(path, [("x.npy", member)])
    refused(path, f": key 'x' has a header of {length:,} bytes; at most 10,000 are read.")


def test_a_header_of_the_longest_length(path):
    text = header().ljust(LONGEST_HEADER)
    write(path, [("x.npy", npy(text, bytes(24), b"\x02\x00"))])
    np.testing.assert_array_equal(read(path)["x"], np.zeros(3))


def test_no_memory_is_taken_for_what_is_declared(path):
    gigabytes = header("(1000000000,)")
    write(path, [("x.npy", npy(gigabytes, bytes(80)))])
    tracemalloc.start()
    try:
        with pytest.raises(ProblemFileError, match="needs 8,000,000,000 bytes, and there are 80"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


# ---- headers that make no array ----


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (header("(-1, -3)"), "shape (-1, -3) has a negative length"),
        (header("(10, 10**30)"), "malformed node or string"),
        (header(f"({10**30},)"), "needs 8,"),
        (header(f"(0, {10**30})"), ""),
        (header("(0," + 70 * "1," + ")"), ""),
        (header("(3,)", "'<f8', 'more': 1"), "Header does not contain the correct keys"),
        (header("(3,)", "'no dtype'"), "descr is not a valid dtype descriptor"),
        (header("(3.0,)"), "shape is not valid"),
        ("(" * 5000, ""),
        ("9" * 9000, ""),
        ("", ""),
    ],
)
def test_headers_that_make_no_array(path, text, reason):
    write(path, [("x.npy", npy(text, bytes(24) if "(0" not in text else b""))])
    with pytest.raises(ProblemFileError) as caught:
        read(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: key 'x' is damaged: ")
    assert reason in said
    assert len(said) < len(str(path)) + 250


def test_a_later_version_of_the_npy_format(path):
    write(path, [("x.npy", npy(header(), bytes(24), b"\x04\x00"))])
    refused(path, ": key 'x' is damaged: version 4.0 of the .npy format is not known.")


@pytest.mark.parametrize(
    ("descr", "message"),
    [
        ("'|O'", "holds Python objects. They are pickled"),
        ("[('a', '|O')]", "holds Python objects. They are pickled"),
        ("[('a', '<f8')]", "must hold numbers, not [('a', '<f8')]."),
        ("('<f8', (2,))", "must hold numbers, not "),
        ("'<M8[s]'", "must hold numbers, not datetime64[s]."),
        ("'|V0'", "must hold numbers, not "),
        ("'<U3'", "must hold numbers, not <U3."),
        ("'<c16'", "must hold numbers, not complex128."),
    ],
)
def test_dtypes_that_are_no_numbers(path, descr, message):
    write(path, [("x.npy", npy(header("(3,)", descr), bytes(24)))])
    with pytest.raises(ProblemFileError) as caught:
        read(path)
    assert f"{path}: key 'x' {message}" in str(caught.value)


def test_a_whole_archive_inside_an_array_is_no_archive(path):
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(3))
    path.write_bytes(npy(header(f"({buffer.getbuffer().nbytes},)", "'|u1'"), buffer.getvalue()))
    refused(path, " is a single .npy array, not an .npz file: write it with numpy.savez.")

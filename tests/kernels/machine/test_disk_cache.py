"""A damaged, full or locked cache of kernels costs time, never a result."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.kernel_copy import CALL, Copy
from support.processes import command

CUTS = {"empty": 0, "a single byte": 1, "the head alone": 54, "the first half": 2000}


@pytest.fixture
def copy(tmp_path) -> Copy:
    """Kernels that have been compiled once."""
    copy = Copy(tmp_path)
    assert copy.call_here() == (31.0, 0)
    return copy


def entries(copy: Copy) -> list[Path]:
    """Files of the entry, with all that it calls, and of what the sources import."""
    return sorted(copy.cache.rglob("*.nbc"))


def assert_recovers(copy: Copy, caplog: pytest.LogCaptureFixture) -> None:
    """The result is right, one note says where, and the damage is gone the next time."""
    caplog.clear()
    assert copy.call_here() == (31.0, 0)
    (note,) = caplog.messages
    assert str(copy.cache) in note
    caplog.clear()
    assert copy.call_here() == (31.0, 1)
    assert not caplog.messages


def test_a_whole_cache_has_nothing_to_note(copy, caplog):
    assert len(entries(copy)) == 2
    assert copy.call_here() == (31.0, 1)
    assert not caplog.messages


@pytest.mark.parametrize("size", CUTS.values(), ids=CUTS)
def test_truncated_files_are_replaced(copy, caplog, size):
    for path in entries(copy):
        path.write_bytes(path.read_bytes()[:size])
    assert_recovers(copy, caplog)


def test_garbage_is_replaced(copy, caplog):
    for path in entries(copy):
        path.write_bytes(b"\x80\x04garbage" * 100)
    assert_recovers(copy, caplog)


@pytest.mark.parametrize("place", [60, -1])
def test_a_single_flipped_bit_is_noticed(copy, caplog, place):
    """In machine code it would be run; nothing in a pickle's structure shows it."""
    for path in entries(copy):
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)
    assert_recovers(copy, caplog)


def test_an_entry_in_the_place_of_another_is_noticed(copy, caplog):
    caller, syntax = entries(copy)
    kernel = caller.read_bytes()
    caller.write_bytes(syntax.read_bytes())
    syntax.write_bytes(kernel)
    assert_recovers(copy, caplog)


def test_what_another_version_wrote_is_never_unpickled(copy, caplog, monkeypatch):
    """Not even under the name of an entry: its head does not fit."""
    for path in entries(copy):
        path.write_bytes(pickle.dumps("another") + path.read_bytes())
    monkeypatch.setattr(pickle, "loads", None)
    caplog.clear()
    assert copy.call_here() == (31.0, 0)
    assert len(caplog.messages) == 1


def test_what_cannot_be_rebuilt_is_compiled_anew(copy, caplog):
    with copy.imported():
        from kernels.caller import total

        from kernels.machine import disk_cache

        read = disk_cache.read
        useless = pickle.dumps(("written whole", "of no use"))
        disk_cache.read = lambda name, key: useless if "." in name else read(name, key)
        assert total(np.array([1.0, 2.0])) == 31.0
    assert len(caplog.messages) == 1
    assert "caller.total" in caplog.messages[0]


def test_a_folder_in_the_place_of_a_file_is_left_alone(copy, caplog):
    for path in entries(copy):
        path.unlink()
        path.mkdir()
    for _ in range(2):
        caplog.clear()
        assert copy.call_here() == (31.0, 0)
        assert len(caplog.messages) == 1
    assert all(path.is_dir() for path in entries(copy))
    assert not list(copy.cache.rglob("*.tmp"))


# Root may write everywhere: without its privileges it is held to the permissions, as all are.
OBEY = """
import ctypes, os
if os.geteuid() == 0:
    ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
"""
NO_ROOM = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
"""
POSIX = pytest.mark.skipif(os.name == "nt", reason="permissions and limits of POSIX")


def call(copy: Copy, before: str = "") -> tuple[list[float], list[str]]:
    """Result, hits and specialisations of a new process, and the lines of its notes."""
    done = subprocess.run(
        command(before + CALL),
        env=copy.env,
        cwd=copy.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(done.stdout), done.stderr.splitlines()


@pytest.mark.long
@POSIX
def test_no_room_costs_only_time(tmp_path):
    """What is written is cut off by the system; Python prints the note where nobody logs."""
    copy = Copy(tmp_path)
    for _ in range(2):
        result, (note,) = call(copy, NO_ROOM)
        assert result == [31.0, 0, 1]
        assert str(copy.cache) in note
        assert "File too large" in note
    assert not [path for path in copy.cache.rglob("*") if path.is_file()]
    assert call(copy) == ([31.0, 0, 1], [])


@pytest.mark.long
@POSIX
def test_a_locked_cache_is_read_but_not_written(copy):
    folder = entries(copy)[0].parent
    folder.chmod(0o500)
    assert call(copy, OBEY) == ([31.0, 1, 1], [])
    copy.edit("caller.py", "OFFSET\n", "OFFSET + 1.0\n")
    assert call(copy, OBEY) == ([32.0, 0, 1], [])  # kept beside the sources, numba's next choice
    assert call(copy, OBEY) == ([32.0, 1, 1], [])
    assert len(entries(copy)) == 2
    assert list((copy.package / "__pycache__").glob("caller.total-*.nbc"))


@pytest.mark.long
@POSIX
def test_entries_that_may_not_be_read_are_compiled_anew_and_replaced(copy):
    for path in entries(copy):
        path.chmod(0)
    result, (note,) = call(copy, OBEY)
    assert result == [31.0, 0, 1]
    assert "Permission denied" in note
    assert call(copy, OBEY) == ([31.0, 1, 1], [])


@pytest.mark.long
@POSIX
def test_without_any_folder_that_can_be_written_a_note_names_them(tmp_path):
    copy = Copy(tmp_path)
    obstacle = tmp_path / "obstacle"
    obstacle.write_text("")
    shutil.rmtree(copy.package / "__pycache__", ignore_errors=True)
    (copy.package / "__pycache__").write_text("")
    copy.env |= {"HOME": str(obstacle), "XDG_CACHE_HOME": str(obstacle)}
    copy.env["NUMBA_CACHE_DIR"] = str(obstacle)
    result, (note,) = call(copy)
    assert result == [31.0, 0, 1]
    assert str(obstacle) in note
    assert "NUMBA_CACHE_DIR" in note


def test_of_many_entries_the_oldest_go(copy):
    with copy.imported():
        from kernels.machine import disk_cache

        for k in range(disk_cache.MOST_ENTRIES + 5):
            disk_cache.write("some.kernel", f"key {k}", b"code")
            path = disk_cache.folder() / disk_cache._file_name("some.kernel", f"key {k}")
            os.utime(path, (k, k))
        kept = [disk_cache.read("some.kernel", f"key {k}") for k in range(k + 1)]
    assert kept == [None] * 5 + [b"code"] * disk_cache.MOST_ENTRIES
    assert copy.call_here() == (31.0, 1)

"""Files that spare later processes work: whole or not used, never in the way of the work itself.

An entry is one file, named by what it belongs to and by the digest of its key. It begins with a
digest of key and content, so that what a crash, a full disk or another program has left there is
noticed, not run. What cannot be read is computed anew and replaced; what cannot be written is not
kept. Either is noted once in a process, in the log of fastbp (without a configuration of its own,
Python prints such a note on the standard error stream).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import logging
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

import numba

KERNELS = Path(__file__).parents[1]
FOLDER = "fastbp.kernels"  # in a folder that others use too
HEAD = b"fastbp kernel cache 1\n"
WRITER = f"numba {numba.__version__}, {sys.implementation.cache_tag}"  # of use to its like alone
# Entries with one name: those of several processors and options, and of the sources before the
# last few edits. Beyond these the oldest go.
MOST_ENTRIES = 32

_notes = itertools.count()


def _note(text: str, *details: object) -> None:
    """Tell once in a process what is wrong with the cache."""
    if next(_notes) == 0:
        logging.getLogger("fastbp").warning(text, *details)


def _candidates() -> list[Path]:
    """Folders that may hold the cache, in numba's order: as told, in the tree, of the user."""
    folders = [KERNELS / "__pycache__"]
    if numba.config.CACHE_DIR:
        folders.insert(0, Path(numba.config.CACHE_DIR) / FOLDER)
    with contextlib.suppress(ImportError):
        from numba.misc.appdirs import AppDirs

        folders.append(Path(AppDirs(appname="numba", appauthor=False).user_cache_dir) / FOLDER)
    return folders


@functools.cache
def _folders() -> tuple[tuple[Path, ...], Path | None]:
    """Folders to read, and the one to write: the first that can be written is the last read."""
    candidates = _candidates()
    for k, folder in enumerate(candidates):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        return tuple(candidates[: k + 1]), folder
    return tuple(candidates), None


def folder() -> Path | None:
    """Where entries are written; None where no folder can be."""
    return _folders()[1]


def _digest(key: str, content: bytes = b"") -> Any:
    return hashlib.sha256(f"{WRITER}\0{key}\0".encode() + content)


def _file_name(name: str, key: str) -> str:
    return f"{name}-{_digest(key).hexdigest()[:32]}.nbc"


def _head(key: str, content: bytes) -> bytes:
    return HEAD + _digest(key, content).digest()


def read(name: str, key: str) -> bytes | None:
    """Return the content of an entry, or None where there is none that is whole."""
    for folder in _folders()[0]:
        path = folder / _file_name(name, key)
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            note_damaged(path, error.strerror or str(error))
            continue
        size = len(_head(key, b""))
        content = data[size:]
        if data[:size] == _head(key, content):
            return content
        note_damaged(path, "its content is not what was written")
    return None


def note_damaged(entry: Path | str, reason: str) -> None:
    """Tell once in a process that an entry cannot be used."""
    _note(
        "fastbp cannot use a compiled kernel in its cache, %s (%s). It is compiled anew, which "
        "takes time but changes no result. Further entries are not reported.",
        entry,
        reason,
    )


def write(name: str, key: str, content: bytes) -> None:
    """Keep an entry, if there is a folder and room for it."""
    folder = _folders()[1]
    if folder is None:
        _note(
            "fastbp cannot keep its compiled kernels, as none of these folders can be written: "
            "%s. Every process compiles them anew. NUMBA_CACHE_DIR names another folder.",
            ", ".join(map(str, _folders()[0])),
        )
        return
    path = folder / _file_name(name, key)
    draft = folder / f"{uuid.uuid4().hex}.tmp"
    try:
        try:
            draft.write_bytes(_head(key, content) + content)
            draft.replace(path)  # at once: no other process sees half an entry
        finally:
            draft.unlink(missing_ok=True)
        _remove_oldest(folder, name)
    except OSError as error:
        _note(
            "fastbp cannot keep a compiled kernel in %s (%s). Later processes compile it anew, "
            "which takes time but changes no result. Further entries are not reported.",
            path,
            error.strerror or error,
        )


def _remove_oldest(folder: Path, name: str) -> None:
    entries = list(folder.glob(f"{name}-*.nbc"))
    if len(entries) > MOST_ENTRIES:
        entries.sort(key=lambda path: path.stat().st_mtime)
        for path in entries[:-MOST_ENTRIES]:
            path.unlink(missing_ok=True)

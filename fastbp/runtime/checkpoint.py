"""Values that were computed already, in a file: a check goes on where it was killed."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import OptionError, ProblemFileError
from fastbp.runtime.npz_reader import path_text, read_npz

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Checkpoint"]

# Between two savings; and more where saving takes long, so that it costs a twentieth at most.
SECONDS_BETWEEN, SHARE = 1.0, 20.0
KINDS = {"problem": "u", "keys": "u", "values": "f"}


class Checkpoint:
    """Values of a function by what it was evaluated at, kept in a file.

    The file is an ``.npz`` of plain numbers. It is replaced as a whole: whoever is killed leaves
    the former one.

    Parameters
    ----------
    path : str or path
        Where; it need not be there yet.

    Attributes
    ----------
    problem : dict of str to str
        What the values are of: digests, by what they are of.

    Raises
    ------
    OptionError
        If it is there and no checkpoint of fastbp, or cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.problem: dict[str, str] = {}
        self._values: dict[bytes, float] = {}
        self._of_the_file: frozenset[bytes] = frozenset()
        self._compared: set[object] = set()
        self._saved, self._pause = time.monotonic(), SECONDS_BETWEEN
        self._changed = False
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        try:
            arrays = read_npz(self.path, lambda key: KINDS[key])
            self.problem = dict(json.loads(arrays["problem"].tobytes()))
            keys = np.ascontiguousarray(arrays["keys"], dtype=np.uint64).reshape(-1, 2)
            values = arrays["values"].reshape(-1).tolist()
            named = [key.tobytes() for key in keys]
            self._values = dict(zip(named, values, strict=True))
            self._of_the_file = frozenset(named)
        except (ProblemFileError, KeyError, ValueError, TypeError) as error:
            raise OptionError(
                f"checkpoint: {path_text(self.path)} is no checkpoint of fastbp: {error}"
            ) from error

    def require(self, problem: dict[str, str]) -> None:
        """Say what the values will be of; raise where those that are there are of something else.

        Raises
        ------
        OptionError
            It says what is different.
        """
        different = [name for name in problem if self.problem.get(name) != problem[name]]
        if self.problem and different:
            raise OptionError(
                f"checkpoint: {path_text(self.path)} is of another check: not the same "
                f"{', '.join(different)}."
            )
        self.problem = problem | {
            name: text for name, text in self.problem.items() if name not in problem
        }

    def remember(self, name: str, text: str) -> str:
        """Return what was chosen before under a name; if nothing was, what is chosen now."""
        return self.problem.setdefault(name, text)

    def known(self, keys: Sequence[bytes]) -> list[float | None]:
        """Return the values that are known; None for the others."""
        return [self._values.get(key) for key in keys]

    def to_compare(self, keys: Sequence[bytes], kind: object) -> int | None:
        """Return which of some values to compute again: the first of each kind from the file."""
        if kind in self._compared:
            return None
        place = next((i for i, key in enumerate(keys) if key in self._of_the_file), None)
        if place is not None:
            self._compared.add(kind)
        return place

    def add(self, keys: Sequence[bytes], values: Sequence[float]) -> None:
        """Keep values, and save them if that was not done for a while."""
        self._values.update(zip(keys, values, strict=True))
        self._changed = True
        if time.monotonic() - self._saved >= self._pause:
            self.save()

    def save(self) -> None:
        """Write the file, if there is anything new.

        Raises
        ------
        OptionError
            If it cannot be written.
        """
        if not self._changed:
            return
        began = time.monotonic()
        arrays: dict[str, Any] = {
            "problem": np.frombuffer(json.dumps(self.problem).encode(), dtype=np.uint8),
            "keys": np.frombuffer(b"".join(self._values), dtype=np.uint64),
            "values": np.array(list(self._values.values()), dtype=np.float64),
        }
        try:
            self._replace(arrays)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OptionError(
                f"checkpoint: {path_text(self.path)} cannot be written: {reason}."
            ) from error
        self._saved, self._changed = time.monotonic(), False
        self._pause = max(SECONDS_BETWEEN, SHARE * (self._saved - began))

    def _replace(self, arrays: dict[str, Any]) -> None:
        folder = self.path.parent
        descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}-", dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise

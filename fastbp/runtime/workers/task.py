"""What a worker does: unpack what a check is about once, work on it, say what went wrong.

Whatever happens in a worker comes back as a value. A raised exception would lose its cause on the
way, and one that cannot be pickled would take the worker with it.
"""

from __future__ import annotations

import threading
import traceback
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import cloudpickle
import numpy as np

from fastbp.errors import FastbpError, OptionError
from fastbp.runtime.floating_point import own_errstate
from fastbp.runtime.workers.surroundings import Surroundings, Warned, surroundings_here

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


__all__ = [
    "ArrayInFile",
    "Contents",
    "PickledJob",
    "SharedJob",
    "Task",
    "TaskResult",
    "forget",
    "run_task",
    "run_task_in_place",
]


Task: TypeAlias = tuple[str, tuple[Any, ...]]  # a method of the job, and its arguments


class PickledJob:
    """What a check is about, pickled, for all of its tasks: a function and its point, for example.

    Parameters
    ----------
    contents : Contents
    parts : dict of str to object
        What it holds: where pickling fails, that is said of the first part that fails alone.

    Raises
    ------
    OptionError
        If it cannot be pickled.

    Attributes
    ----------
    token : str
        By which workers know that they have unpacked it already.
    data : ndarray of uint8
        The pickle; processes of this machine read a large one from a file, and Dask keeps it on its
        workers.
    """

    def __init__(self, contents: Contents, parts: dict[str, object]) -> None:
        self.token = uuid.uuid4().hex
        try:
            pickled = cloudpickle.dumps(Packed(contents, surroundings_here(sent=True)))
        except Exception as error:
            raise _cannot_be_sent(parts, error) from error
        self.data = np.frombuffer(pickled, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class ArrayInFile:
    """An array in a file that every worker can read."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Contents(Protocol):
    """What tasks work on: each of them is a call of one of its methods."""

    def of_a_thread(self) -> Contents:
        """Return it for one of several threads, with a copy of whatever its methods change."""


class SharedJob:
    """What a check is about for threads of this process: nothing is pickled.

    Parameters
    ----------
    contents : Contents
    """

    def __init__(self, contents: Contents) -> None:
        self.token = uuid.uuid4().hex
        self.data = Packed(contents, surroundings_here(sent=False))


@dataclass(frozen=True, slots=True)
class Packed:
    """What tasks work on, and the settings under which they do."""

    contents: Contents
    surroundings: Surroundings

    def of_a_thread(self) -> Packed:
        """Return it for one of several threads."""
        return replace(self, contents=self.contents.of_a_thread())


def _cannot_be_sent(parts: dict[str, object], error: Exception) -> OptionError:
    culprit = " or ".join(parts)
    for name, part in parts.items():
        try:
            cloudpickle.dumps(part)
        except Exception as own:
            culprit, error = name, own
            break
    return OptionError(
        f"workers: {culprit} cannot be sent to other processes: {type(error).__name__}: {error}"
    )


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a task gave: values, or an error.

    That is one of ours and, pickled, its cause; or, pickled, one of a function of the user. And
    what was warned of meanwhile, and which of several tasks it was.
    """

    values: Any
    error: FastbpError | None = None
    cause: bytes = b""
    warned: tuple[Warned, ...] = ()
    place: int = 0

    def result(self) -> Any:
        """Return the values, or raise what the worker did."""
        cause = cloudpickle.loads(self.cause) if self.cause else None
        if self.error is not None:
            raise self.error from cause
        if cause is not None:
            raise cause
        return self.values


# Threads of one worker must not share a working copy of the point.
_unpacked: dict[tuple[int, str], Packed] = {}


def run_task(token: str, data: Any, shared: Any, task: Task) -> TaskResult:
    """Run in a worker: call a method of the job.

    Parameters
    ----------
    token, data
        Of the pickled job.
    shared : ndarray, ArrayInFile or None
        The last argument of the task, if there is one that other tasks have too.
    task : (str, tuple)
        The name of a method of the contents, and its arguments.
    """
    try:
        packed = _packed(token, data)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return TaskResult(
            None,
            OptionError(
                f"workers: what they are sent cannot be loaded in other processes: {reason}. They "
                f"must be able to import the modules that it is from."
            ),
            _pickled_cause(error),
        )
    method, arguments = task
    if shared is not None:
        arguments = (*arguments, _array(shared))
    with packed.surroundings.around() as warned:
        result = _result(own_errstate(getattr(packed.contents, method)), arguments)
    return replace(result, warned=tuple(warned))


def run_task_in_place(token: str, data: Any, shared: Any, placed: tuple[int, Task]) -> TaskResult:
    """Run in a worker: the same with one of several tasks, whose place the result keeps."""
    place, task = placed
    return replace(run_task(token, data, shared, task), place=place)


def _result(method: Callable[..., Any], arguments: tuple[Any, ...]) -> TaskResult:
    try:
        return TaskResult(method(*arguments))
    except FastbpError as error:
        return TaskResult(None, error, _pickled_cause(error.__cause__))
    except Exception as error:
        return TaskResult(None, None, _pickled_cause(error))


def _packed(token: str, data: Any) -> Packed:
    """Unpack a job, unless it is the one that this thread unpacked last."""
    key = threading.get_ident(), token
    if key not in _unpacked:
        for other in [other for other in _unpacked if other[0] == key[0]]:
            del _unpacked[other]
        _unpacked[key] = (
            data.of_a_thread() if isinstance(data, Packed) else cloudpickle.loads(_array(data).data)
        )
    return _unpacked[key]


def _array(handle: Any) -> NDArray[Any]:
    """Return an array that was sent, or the one in the file that was named."""
    if isinstance(handle, ArrayInFile):
        return np.memmap(handle.name, dtype=handle.dtype, mode="r", shape=handle.shape)
    array: NDArray[Any] = handle
    return array


def forget(token: str) -> None:
    """Run in a worker: drop what was unpacked, in all threads."""
    for key in [key for key in _unpacked if key[1] == token]:
        _unpacked.pop(key, None)


def _pickled_cause(cause: BaseException | None) -> bytes:
    """Pickle an exception, with its traceback as a note, or a stand-in if it cannot travel."""
    if cause is None:
        return b""
    text = "".join(traceback.format_exception(cause))
    for sent in (cause, RuntimeError(f"{type(cause).__name__}: {cause}")):
        try:
            sent.add_note(f"In a worker:\n{text}")
            pickled: bytes = cloudpickle.dumps(sent)
            cloudpickle.loads(pickled)
        except Exception:  # locks inside, or an __init__ that takes other arguments
            continue
        return pickled
    return b""

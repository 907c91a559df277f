"""Files that a command writes: whether it can is known before the work begins."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastbp.errors import OptionError, OutputFileError, printable

if TYPE_CHECKING:
    from fastbp.cli.outputs.checked import Checked

__all__ = ["OutputFile", "all_opened"]


@dataclass(frozen=True)
class OutputFile:
    """A file to be written when all problems are checked.

    Attributes
    ----------
    option : str
        The option that asks for it, as "--json".
    target : str
        The path; - is standard output.
    render : callable
        Makes the text of what was found; where that is empty there is nothing to write.
    appends : bool
        Whether what the file holds is kept.
    """

    option: str
    target: str
    render: Callable[[list[Checked]], str]
    appends: bool = False

    @property
    def is_standard_output(self) -> bool:
        """Whether it is no file at all."""
        return self.target == "-"


@contextlib.contextmanager
def all_opened(
    outputs: Sequence[OutputFile], inputs: Sequence[str]
) -> Iterator[Callable[[list[Checked]], None]]:
    """Yield what writes all files; one that cannot be written is known before.

    A file that is there keeps what it holds until there is something to write, and one that was
    made for nothing is removed.

    Raises
    ------
    OptionError
        If two outputs have the same target, or one would overwrite an input.
    OutputFileError
        If a file cannot be written.
    """
    refuse_equal_targets(outputs)
    refuse_inputs_as_targets(outputs, inputs)
    with contextlib.ExitStack() as stack:
        writers = [(one, stack.enter_context(opened(one))) for one in outputs]

        def write_all(checked: list[Checked]) -> None:
            for output, write in writers:
                text = output.render(checked)
                if text:
                    write(text)

        yield write_all


def refuse_equal_targets(outputs: Sequence[OutputFile]) -> None:
    """Complain if one output would overwrite another."""
    seen: dict[str, str] = {}
    for output in outputs:
        place = "-" if output.is_standard_output else os.path.realpath(output.target)
        if place in seen:
            raise OptionError(
                f"{seen[place]} and {output.option} both write to {printable(output.target)}."
            )
        seen[place] = output.option


def refuse_inputs_as_targets(outputs: Sequence[OutputFile], inputs: Sequence[str]) -> None:
    """Complain if an output would overwrite what the command reads."""
    read = {os.path.realpath(name) for name in inputs}
    for output in outputs:
        if not output.is_standard_output and os.path.realpath(output.target) in read:
            raise OptionError(f"{output.option} would overwrite {printable(output.target)}.")


@contextlib.contextmanager
def opened(output: OutputFile) -> Iterator[Callable[[str], None]]:
    """Yield what writes a text to the file of an output."""
    if output.is_standard_output:
        yield lambda text: print(text, end="")
        return
    is_new = not os.path.exists(output.target)
    with refusing(output):
        file = open(output.target, "a", encoding="utf-8", newline="\n")  # noqa: SIM115
    # A pipe or a device holds nothing that could be cut off.
    replaces = not output.appends and stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    written: list[str] = []

    def write(text: str) -> None:
        with refusing(output):
            if replaces:
                file.truncate(0)
            file.write(text)
            file.flush()
        written.append(text)

    try:
        yield write
    finally:
        with contextlib.suppress(OSError):  # what could not be written is still in the buffer
            file.close()
        if is_new and not written:
            os.remove(output.target)


@contextlib.contextmanager
def refusing(output: OutputFile) -> Iterator[None]:
    """Say of which file the system complains: an open file does not know its name."""
    try:
        yield
    except OSError as error:
        raise OutputFileError(error.errno, error.strerror, output.target) from error

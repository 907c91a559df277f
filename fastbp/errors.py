"""The exceptions of fastbp; every one derives from `FastbpError`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "DTypeError",
    "EvaluationError",
    "FastbpError",
    "GradientMismatchError",
    "NonFiniteError",
    "OptionError",
    "OutputFileError",
    "ProblemFileError",
    "ReportFileError",
    "ShapeError",
    "printable",
]


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return text that does nothing to a terminal but show: the names of users go through here.

    Parameters
    ----------
    text : str
        Any text: an escape code in it would move the cursor, a newline would forge a row, a
        right-to-left mark would turn round what follows.
    lines : bool
        Keep newlines, for text of several lines.

    Returns
    -------
    str
        The same, with each character that cannot be printed as Python would escape it.

    Examples
    --------
    >>> print(printable("layer\x1b[2J\u202e1"))
    layer\x1b[2J\u202e1
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or (lines and sign == "\n") else ascii(sign)[1:-1]
        for sign in text
    )


class FastbpError(Exception):
    """Base class of all errors that fastbp raises on purpose.

    Examples
    --------
    >>> import fastbp
    >>> try:
    ...     fastbp.Network.random([3])
    ... except fastbp.FastbpError as error:
    ...     print(type(error).__name__)
    ShapeError
    """

    def __str__(self) -> str:
        """Return the message; what a user's names hold beside letters is escaped."""
        return printable(super().__str__(), lines=True)


class ShapeError(FastbpError, ValueError):
    """An array has the wrong shape, or a list has the wrong number of arrays.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> try:
    ...     fastbp.Network([np.ones((2, 3))], [np.ones((3, 1))])
    ... except fastbp.ShapeError as error:
    ...     print(error)
    biases[0] must have shape (2, 1) or (2,), not (3, 1).
    """


class DTypeError(FastbpError, TypeError):
    """An argument has the wrong type, or an array the wrong dtype.

    Examples
    --------
    >>> import fastbp
    >>> try:
    ...     fastbp.numerical_gradient(abs, "1")
    ... except fastbp.DTypeError:
    ...     print("a string holds no floats")
    a string holds no floats
    """


class NonFiniteError(FastbpError, ValueError):
    """An array that must be finite holds NaN or infinity.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> net = fastbp.Network.random([3, 2], seed=0)
    >>> try:
    ...     fastbp.check_network(net, np.full((3, 1), np.nan), np.ones((2, 1)))
    ... except fastbp.NonFiniteError:
    ...     print("x holds NaN")
    x holds NaN
    """


class EvaluationError(FastbpError, RuntimeError):
    """A function that is being differenced raised; what it raised is the ``__cause__``.

    Examples
    --------
    >>> import fastbp
    >>> try:
    ...     fastbp.numerical_gradient(lambda x: 1 / 0, 1.0)
    ... except fastbp.EvaluationError as error:
    ...     print(type(error.__cause__).__name__)
    ZeroDivisionError
    """


class OptionError(FastbpError, ValueError):
    """An option is unknown, senseless, or contradicts another option.

    Examples
    --------
    >>> import fastbp
    >>> try:
    ...     fastbp.set_num_threads(0)
    ... except fastbp.OptionError:
    ...     print("there is at least one thread")
    there is at least one thread
    """


class ProblemFileError(FastbpError, ValueError):
    """A problem file cannot be read: not one of ours, damaged, or incomplete.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> np.savez("incomplete.npz", x=np.ones((3, 1)))
    >>> try:
    ...     fastbp.load_problem("incomplete.npz")
    ... except fastbp.ProblemFileError:
    ...     print("weights_0 is missing")
    weights_0 is missing
    """


class ReportFileError(FastbpError, ValueError):
    """A report cannot be read from a file: not one of ours, damaged, or of another version.

    Examples
    --------
    >>> import fastbp
    >>> from pathlib import Path
    >>> _ = Path("empty.json").write_text("{}")
    >>> try:
    ...     fastbp.Report.from_json("empty.json")
    ... except fastbp.ReportFileError:
    ...     print("this is no report")
    this is no report
    """


class OutputFileError(FastbpError, OSError):
    """A file cannot be written: error number, reason and name of the file, as in an `OSError`.

    Examples
    --------
    >>> import fastbp
    >>> from fastbp.errors import OutputFileError
    >>> import numpy as np
    >>> report = fastbp.check_gradient(np.sum, np.ones(2), np.zeros(2))
    >>> try:
    ...     report.to_json("no such folder/report.json")
    ... except OutputFileError as error:
    ...     print(error.filename)
    no such folder/report.json
    """

    def __str__(self) -> str:
        """Say which file, and why."""
        return printable(f"{self.filename} cannot be written: {self.strerror}.")


class GradientMismatchError(FastbpError, AssertionError):
    """A checked gradient did not pass; raised by `Report.raise_unless_passed`.

    Parameters
    ----------
    message : str
        The text of the error: one line of summary, then the report.
    report : Report
        The report that did not pass.

    Attributes
    ----------
    report : Report
        The report that did not pass, for programs that look further.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> report = fastbp.check_gradient(np.sum, np.zeros(2), np.ones(2))
    >>> try:
    ...     report.raise_unless_passed()
    ... except fastbp.GradientMismatchError as error:
    ...     print(error.report.wrong)
    2
    """

    def __init__(self, message: str, report: Any) -> None:
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> tuple[type[GradientMismatchError], tuple[str, Any]]:
        """Pickle the report too: test runners send errors between processes."""
        return type(self), (self.args[0], self.report)

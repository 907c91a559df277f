"""The report of a check: what was found, in plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from fastbp.errors import GradientMismatchError, OptionError, printable

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray

    from fastbp.report.pictures.picture import Picture


__all__ = [
    "ArrayReport",
    "ArrayVerdict",
    "Certificate",
    "CheckVerdict",
    "Failure",
    "Kink",
    "Report",
    "report_with_rows_to_come",
]


@dataclass(frozen=True, slots=True)
class Failure:
    """One entry of the given gradient beside the numerical one.

    Attributes
    ----------
    array : str
        The name of its array, as ``weights[1]``.
    index : tuple of int
        Its place in that array, in the shape and layout of the user.
    given, numerical : float
        The two derivatives.
    error : float
        ``|given - numerical|``, on a kink from the middle of what conventions give; infinite where
        the given one is not finite.
    error_bar : float
        The error bar of the numerical derivative.
    allowed : float
        The difference that would just have passed.
    hull : float
        The part of it that conventions for the ReLU at 0 can make; 0 away from kinks.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> at = np.array([1.0, 2.0])
    >>> report = fastbp.check_gradient(lambda x: np.sum(x**2), np.array([2.0, 3.0]), at)
    >>> failure = report.failures[0]
    >>> failure.where, failure.given, round(failure.numerical, 6)
    ('x[1]', 3.0, 4.0)
    """

    array: str
    index: tuple[int, ...]
    given: float
    numerical: float
    error: float
    error_bar: float
    allowed: float
    hull: float = 0.0

    @property
    def beyond_hull(self) -> float:
        """The part of the error that no convention explains."""
        return max(0.0, self.error - self.hull)

    @property
    def where(self) -> str:
        """The entry as one writes it in Python: ``weights[1][3, 17]``."""
        return _where(self.array, self.index)


@dataclass(frozen=True, slots=True)
class Kink:
    """One entry on a kink, beside the slopes of the loss on its two sides.

    Attributes
    ----------
    array : str
        The name of its array.
    index : tuple of int
        Its place in that array, in the shape and layout of the user.
    given : float
        The derivative that was given.
    left, right : float
        The slopes of the loss for a step of this parameter alone, down and up.
    error_bar : float
        Of the slopes and the given derivative.
    remark : str
        How the given derivative stands to the slopes, as "which is the slope to the left".

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> net = fastbp.Network([np.eye(2), np.ones((1, 2))], [np.zeros((2, 1)), np.zeros((1, 1))])
    >>> kink = fastbp.check_network(net, np.zeros((2, 1)), np.ones((1, 1)), seed=0).kink
    >>> kink.array, kink.given, round(kink.left, 6), round(kink.right, 6)
    ('biases[0]', 0.0, 0.0, -2.0)
    """

    array: str
    index: tuple[int, ...]
    given: float
    left: float
    right: float
    error_bar: float
    remark: str

    @property
    def where(self) -> str:
        """The entry as one writes it in Python: ``biases[0][3]``."""
        return _where(self.array, self.index)


def _where(array: str, index: tuple[int, ...]) -> str:
    return f"{array}[{', '.join(map(str, index))}]" if index else array


@dataclass(frozen=True, slots=True)
class ArrayReport:
    """What was found in one array.

    Attributes
    ----------
    name : str
        As ``weights[1]``. Also "loss": the gradient of a custom loss; and "gradients": how a
        gradient function behaved, where it misbehaved.
    shape : tuple of int
        The shape that the gradient must have.
    entries, wrong, zero, kinks : int
        How many entries there are, are wrong, are zero on both sides, and lie on a kink: there
        conventions for the ReLU at 0 move the derivative by more than its error bar, and any of
        them passes. (For the loss of a user: not judged.)
    worst : Failure or None
        The entry whose error is the largest multiple of what is allowed; None where there is no
        error at all.
    factor, residual : float or None
        k = <given, numerical> / <numerical, numerical>, and, for arrays that failed,
        ``|given - k numerical| / |given|``.
    detectable : float
        A single error above this is seen at whichever judged entry; infinite if none was judged.
    verdict : str
        "passed", "failed", "untested" (zero on both sides, or within rounding) or "inconclusive".
    reason : str
        Why, in words; empty where "passed" needs no more words.
    picture : Picture or None
        Its errors in few cells, and some of its entries: what `Report.plot` draws. None where the
        entries were not judged one by one, and where a report of very many arrays leaves it out.
        Rows that differ in this alone are equal.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> row = fastbp.check_gradient(lambda x: np.sum(x**2), np.ones(3), np.ones(3)).arrays[0]
    >>> row.name, row.shape, row.wrong, round(row.factor, 6)
    ('x', (3,), 3, 0.5)
    """

    name: str
    shape: tuple[int, ...]
    entries: int
    wrong: int
    zero: int
    kinks: int
    worst: Failure | None
    factor: float | None
    residual: float | None
    detectable: float
    verdict: ArrayVerdict
    reason: str
    picture: Picture | None = field(default=None, compare=False, repr=False)


class _RowsToCome:
    """How the rows of a report are made, where nobody has looked at them yet."""

    __slots__ = ("_make_rows",)
    _make_rows: Callable[[], tuple[ArrayReport, ...]]


@dataclass(frozen=True, slots=True, repr=False)
class Report(_RowsToCome):
    """The outcome of a check. ``bool(report)`` is True for the verdict "passed" alone.

    Attributes
    ----------
    verdict : str
        "passed"; "failed" if any array failed; else "inconclusive" if any is; "vacuous" if
        every array is zero on both sides, so that nothing was tested.
    arrays : tuple of ArrayReport
        A row for each array, in the order of the network's parameters.
    failures : tuple of Failure
        The worst wrong entries, the largest multiple of what is allowed first: at most 1000, and
        at least 10 of each wrong array as long as there are at most 100 such arrays.
    sizes : tuple of int
        The sizes of the network's layers, inputs first.
    batch : int
        The number of examples.
    dtype : str
        The dtype of the network; the differences are always taken in float64.
    layout, method : str
        How the arrays are laid out, and how the numerical gradient was made.
    scheme : str or None
        The differences of a replay; None where there are none.
    delta : float or None
        The step that the entries of a replay began with, but for those too large to be moved so.
    rtol, atol : float or None
        As they were given to the check; None for the defaults.
    evaluations : int
        The number of losses that were evaluated.
    seconds : float
        The time that the check took, without `compile_seconds`.
    compile_seconds : float
        The time before in which kernels were compiled: in the first check on a machine, and
        after another version of fastbp or numba was installed. ``fastbp compile`` does it ahead.
    certificate : Certificate or None
        How the sensitivities were proved, where the method is "certified".
    doubtful : tuple of int
        How many pre-activations of each hidden layer are 0 within their own rounding.
    convention : str
        Which derivative of the ReLU at 0 fits as a whole: "0", "1/2", "1", "none", or several
        ("0 and 1/2"); empty where it makes no difference.
    kink : Kink or None
        Of the entries on kinks the one furthest from the middle of what conventions give, with
        the slopes on its two sides; None where there are no kinks.
    maps : dict of str to ndarray
        Of each array, the largest error over what is allowed, in at most 128 x 128 cells: the
        `ratios` of its picture.
    samples : dict of str to ndarray, shape (some, 5)
        Of each array, entries spread over it: flat place, given, numerical, error bar, hull.
    function : str
        What was checked, as "f(params)", where it is no network; `sizes` is then empty.
    at_least : bool
        Whether there may be more wrong entries than are listed and counted.
    notes : tuple of str
        What there is to know about the check, in sentences.
    seed : int or None
        Of every random number of the check: the same seed gives the same bits. Reports that differ
        in this alone are equal.
    made : str
        When, with which versions, on which machine and by which command. Reports that differ in
        this alone are equal.
    diagnosis : tuple of str
        What made the gradient wrong, in sentences, the one that explains most first: only what
        was proved, by computing the gradient again with that mistake. Where no mistake that is
        known explains it, where it begins. Empty unless the check failed.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> net = fastbp.Network.random([3, 4, 2], seed=1)
    >>> report = fastbp.check_network(net, np.ones((3, 5)), np.ones((2, 5)))
    >>> report.verdict, bool(report), len(report.arrays)
    ('passed', True, 4)
    """

    verdict: CheckVerdict
    arrays: tuple[ArrayReport, ...]
    failures: tuple[Failure, ...]
    sizes: tuple[int, ...]
    batch: int
    dtype: str
    layout: str
    method: str
    scheme: str | None
    delta: float | None
    rtol: float | None
    atol: float | None
    evaluations: int
    seconds: float
    compile_seconds: float = 0.0
    certificate: Certificate | None = None
    doubtful: tuple[int, ...] = ()
    convention: str = ""
    kink: Kink | None = None
    function: str = ""
    at_least: bool = False
    notes: tuple[str, ...] = ()
    diagnosis: tuple[str, ...] = ()
    seed: int | None = field(default=None, compare=False)
    made: str = field(default="", compare=False)

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            """Make the rows: called where an attribute is not there."""
            if name != "arrays":
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            rows = self._make_rows()
            object.__setattr__(self, name, rows)
            return rows

    @property
    def entries(self) -> int:
        """How many entries there are in all arrays."""
        return sum(array.entries for array in self.arrays)

    @property
    def wrong(self) -> int:
        """How many entries are wrong."""
        return sum(array.wrong for array in self.arrays)

    @property
    def kinks(self) -> int:
        """How many entries lie on a kink."""
        return sum(array.kinks for array in self.arrays)

    @property
    def maps(self) -> dict[str, NDArray[np.float64]]:
        """Of each array that has a picture, the largest error over what is allowed, by cells."""
        return {row.name: row.picture.ratios for row in self.arrays if row.picture is not None}

    @property
    def samples(self) -> dict[str, NDArray[np.float64]]:
        """Of each array that has a picture, some entries."""
        return {row.name: row.picture.samples for row in self.arrays if row.picture is not None}

    @property
    def detectable(self) -> float:
        """A single error above this is seen; infinite if an array has no judged entry at all."""
        judged = (array.detectable for array in self.arrays if array.entries)
        return max(judged, default=float("inf"))

    def __bool__(self) -> bool:
        """Tell whether the check passed: vacuous and inconclusive are no success."""
        return self.verdict == "passed"

    def __repr__(self) -> str:
        """Say the verdict and the counts: the full report is what `print` shows."""
        return (
            f"<Report: {self.verdict}, {self.wrong} of {self.entries} entries wrong "
            f"in {len(self.arrays)} arrays>"
        )

    def __str__(self) -> str:
        """Return the report as plain text, at most 80 columns wide."""
        from fastbp.report.text import render

        return render(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as dicts, lists, strings and numbers, ready for JSON.

        Numbers that are not finite, which JSON has no notation for, become the strings "nan",
        "inf" and "-inf".

        Examples
        --------
        >>> import fastbp
        >>> import numpy as np
        >>> fastbp.check_gradient(np.sum, np.ones(2), np.zeros(2)).to_dict()["verdict"]
        'passed'
        """
        from fastbp.report.serialise import as_dict

        return as_dict(self)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the report to a file, as the JSON of `to_dict`, in UTF-8.

        Its form is that of ``fastbp/report/report.schema.json``, a JSON Schema that is installed
        with fastbp; ``schema_version`` changes where a reader of the old form would go wrong.

        Parameters
        ----------
        path : str or path
            Where to; a file that is there is replaced.

        Raises
        ------
        OutputFileError
            If the file cannot be written; it is an `OSError` too.

        Examples
        --------
        >>> import fastbp
        >>> import numpy as np
        >>> fastbp.check_gradient(np.sum, np.ones(2), np.zeros(2)).to_json("report.json")
        """
        from fastbp.report.serialise import write_json

        write_json(self, path)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write the report as a page: one HTML file that loads nothing else.

        Verdict, diagnosis, all arrays and wrong entries, which can be sorted, maps that show
        where the errors are, what could have been missed, and how to run the check again.

        Parameters
        ----------
        path : str or path
            Where to; a file that is there is replaced.

        Raises
        ------
        OptionError
            If Jinja is not installed.
        OutputFileError
            If the file cannot be written; it is an `OSError` too.

        Examples
        --------
        >>> import fastbp
        >>> import numpy as np
        >>> fastbp.check_gradient(np.sum, np.ones(2), np.zeros(2)).to_html("report.html")
        """
        from fastbp.report.html.page import write_html

        write_html(self, path)

    def _repr_html_(self) -> str | None:
        """Return what a notebook shows; None, for the text, where Jinja is not installed."""
        from fastbp.report.html.page import in_notebook

        return in_notebook(self)

    def to_markdown(self) -> str:
        """Return the report as Markdown: a heading, the diagnosis, and tables as GitHub has them.

        Names of the user's are code or escaped, so that none is taken for markup.

        Examples
        --------
        >>> import fastbp
        >>> import numpy as np
        >>> report = fastbp.check_gradient(np.sum, np.ones(2), np.zeros(2))
        >>> report.to_markdown().splitlines()[0]
        '### PASSED: gradient of sum(a), float64'
        """
        from fastbp.report.markdown import as_markdown

        return as_markdown(self)

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Report:
        """Read a report that `to_json` has written.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        Report
            Equal to the one that was written; errors in pictures are rounded to 3 digits.

        Raises
        ------
        OSError
            If the file cannot be read.
        DTypeError
            If `path` is no path.
        ReportFileError
            If it is no report, or one of another version.

        Examples
        --------
        >>> import fastbp
        >>> import numpy as np
        >>> report = fastbp.check_gradient(np.sum, np.ones(2), np.zeros(2))
        >>> report.to_json("report.json")
        >>> fastbp.Report.from_json("report.json") == report
        True
        """
        from fastbp.report.deserialise import read_json

        return read_json(path)

    def plot(self) -> Any:
        """Draw the report: a heat map of the errors of each array, the worst arrays first.

        Colours are errors over what is allowed on a logarithmic scale: shades of blue are right,
        orange to dark red is wrong, black infinite and grey not judged. A cell of a large array has
        the colour of its largest error, so that one wrong entry among millions is seen; the worst
        one has a circle, kinks have diamonds. Strips above and beside a map show the largest error
        of each column and each row. Arrays of one row or column are dots over their index. Beside
        each array stand given against numerical derivatives: a sample, and the wrong ones.

        Returns
        -------
        matplotlib.figure.Figure
            With at most 12 arrays; it says how many are not shown.

        Raises
        ------
        OptionError
            If matplotlib is not installed.

        Examples
        --------
        >>> import fastbp
        >>> import numpy as np
        >>> at = np.arange(12.0).reshape(3, 4)
        >>> report = fastbp.check_gradient(lambda x: np.sum(x**2), 2 * at.T[::-1].T, at)
        >>> figure = report.plot()
        >>> figure.savefig("report.png")
        """
        from fastbp.report.plots import plot

        return plot(self)

    def plot_array(self, name: str, ax: Any = None) -> Any:
        """Draw the errors of one array, as `plot` does.

        Parameters
        ----------
        name : str
            Of the array, as ``"weights[1]"``.
        ax : matplotlib.axes.Axes, optional
            Where to draw. By default on a new figure, with given against numerical derivatives on
            axes of their own beside.

        Returns
        -------
        matplotlib.axes.Axes
            `ax`, or the new one.

        Raises
        ------
        OptionError
            If there is no such array, or matplotlib is not installed.

        Examples
        --------
        >>> import fastbp
        >>> import numpy as np
        >>> report = fastbp.check_gradient(lambda x: np.sum(x**2), np.ones(3), np.ones(3))
        >>> axes = report.plot_array("x")
        >>> axes.figure.savefig("x.png")
        """
        from fastbp.report.plots import plot_array

        return plot_array(self, name, ax)

    def raise_if_failed(self) -> None:
        """Raise `GradientMismatchError`, with this report, if the verdict is "failed".

        "vacuous" and "inconclusive" do not raise: a gradient that could not be judged, because
        the function is NaN, say, would go unnoticed. In tests use `raise_unless_passed`.

        Examples
        --------
        >>> import fastbp
        >>> import numpy as np
        >>> fastbp.check_gradient(lambda x: 1.0, np.zeros(2), np.ones(2)).raise_if_failed()
        """
        __tracebackhide__ = True
        if self.verdict == "failed":
            self._raise()

    def raise_unless_passed(self, allow: Collection[str] = ()) -> None:
        """Raise `GradientMismatchError`, with this report, unless the verdict is "passed".

        Parameters
        ----------
        allow : collection of {"inconclusive", "vacuous"}
            Verdicts that do not raise, beside "passed".

        Raises
        ------
        GradientMismatchError
            If the verdict is "failed", or "inconclusive" or "vacuous" and not allowed. The message
            names the arrays; the report follows it.
        OptionError
            If `allow` holds anything else.

        Examples
        --------
        >>> import fastbp
        >>> import numpy as np
        >>> at = np.array([1.0, 2.0])
        >>> fastbp.check_gradient(lambda x: np.sum(x**2), 2 * at, at).raise_unless_passed()
        >>> nothing = fastbp.check_gradient(lambda x: 1.0, 0 * at, at)
        >>> nothing.raise_unless_passed(allow=["vacuous"])
        >>> nothing.raise_unless_passed()  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
            ...
        GradientMismatchError: Nothing was tested: every array is zero on both sides.
        """
        __tracebackhide__ = True  # pytest then points at the test
        known = ("inconclusive", "vacuous")
        fits = isinstance(allow, Collection) and not isinstance(allow, str)
        if not fits or not all(verdict in known for verdict in allow):
            raise OptionError(
                f"allow must be a collection of 'inconclusive' and 'vacuous', not {allow!r}."
            )
        if self.verdict not in ("passed", *allow):
            self._raise()

    def _raise(self) -> None:
        __tracebackhide__ = True
        rows = [printable(row.name) for row in self.arrays if row.verdict == self.verdict]
        if len(rows) > NAMES_IN_MESSAGE:
            more = len(rows) - NAMES_IN_MESSAGE
            rows = [*rows[:NAMES_IN_MESSAGE], f"{more:,} more arrays"]
        named = ", ".join(rows)
        said = {
            "failed": f"The gradient is wrong in {named}.",
            "inconclusive": f"The gradient could not be judged in {named}.",
        }.get(self.verdict, "Nothing was tested: every array is zero on both sides.")
        raise GradientMismatchError(f"{said}\n\n{self}", self)


def report_with_rows_to_come(
    make_rows: Callable[[], tuple[ArrayReport, ...]], **parts: Any
) -> Report:
    """Return a report whose `arrays` are made when they are first asked for."""
    report = Report(arrays=(), **parts)
    object.__delattr__(report, "arrays")
    object.__setattr__(report, "_make_rows", make_rows)
    return report


NAMES_IN_MESSAGE = 10  # of an error: the report that follows it counts the rest


ArrayVerdict: TypeAlias = Literal["passed", "failed", "untested", "inconclusive"]


CheckVerdict: TypeAlias = Literal["passed", "failed", "vacuous", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """How the sensitivities were proved.

    Attributes
    ----------
    directions : int
        Random vectors that each layer's product was proved with.
    seed : int
        Of every random number: the same seed gives the same bits.
    resolution : float
        The largest threshold: an error of s in one sample, in units of ``|s_k|`` of the layer over
        the batch, that is K times as large slips through with probability (0.8 / K)**directions.
    closest : float
        The largest gap that was found, over its threshold.
    samples : int
        Samples that were proved so.
    differenced : int
        Samples whose loss was also differenced literally, along a random direction of all
        parameters.
    problem : str
        Why it is no proof; empty if it is one.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> net = fastbp.Network.random([3, 4, 2], seed=1)
    >>> report = fastbp.check_network(net, np.ones((3, 5)), np.ones((2, 5)), seed=7)
    >>> certificate = report.certificate
    >>> certificate.directions, certificate.seed, certificate.samples, certificate.problem
    (2, 7, 5, '')
    """

    directions: int
    seed: int
    resolution: float
    closest: float
    samples: int
    differenced: int
    problem: str

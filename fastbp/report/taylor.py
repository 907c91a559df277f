"""The outcome of a Taylor test: remainders, rates, and a verdict."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from fastbp.errors import GradientMismatchError, OptionError, printable

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["TaylorTest", "TaylorVerdict", "cells"]

TaylorVerdict: TypeAlias = Literal["passed", "failed", "inconclusive"]

WIDTH = 100


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TaylorTest:
    """What `fastbp.taylor_test` found; ``bool(result)`` is True for the verdict "passed" alone.

    Attributes
    ----------
    verdict : str
        "passed", "failed" or "inconclusive".
    reason : str
        Why, in words.
    steps : ndarray of float64, shape (k,)
        h, each half the one before.
    remainders : list of ndarray of float64, each of shape (k,)
        ``|f(x + h v) - f(x)|``, ``|f(x + h v) - f(x) - h <g, v>|`` and, with a Hessian, what
        is left when h² <v, H v> / 2 is subtracted too.
    rates : list of ndarray of float64, each of shape (k - 1,)
        By which power of h each remainder falls from one step to the next; NaN where noise spoils
        that. 1, 2 and 3 for a right gradient and Hessian.
    slope : float
        <g, v>.
    noise : float
        The standard deviation of the noise in the values of f, as far as it is known.
    detectable : float
        An error of <g, v> above this would have spoilt the last rate; infinite if there is none.
    function : str
        What was tested, as "f(params)".
    dtype : str
        In what precision f was evaluated.
    seed : int or None
        Of the random direction; None for one of the user.
    evaluations : int
        How often f was evaluated.
    seconds : float
        The time that it took.
    notes : tuple of str
        What else there is to know.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> result = fastbp.taylor_test(lambda x: np.sum(x**3), lambda x: 3 * x**2, np.ones(4), seed=0)
    >>> result.verdict, round(float(result.rates[1][-1]), 1)
    ('passed', 2.0)
    """

    verdict: TaylorVerdict
    reason: str
    steps: NDArray[np.float64]
    remainders: list[NDArray[np.float64]]
    rates: list[NDArray[np.float64]]
    slope: float
    noise: float
    detectable: float
    function: str
    dtype: str
    seed: int | None
    evaluations: int
    seconds: float
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether the test passed: inconclusive is no success."""
        return self.verdict == "passed"

    def __repr__(self) -> str:
        """Say the verdict: the table is what `print` shows."""
        return f"<TaylorTest: {self.verdict}, {self.function}>"

    def __str__(self) -> str:
        """Return the table of remainders and rates as plain text, at most 100 columns wide."""
        import textwrap

        direction = "the given direction" if self.seed is None else f"seed {self.seed}"
        lines = [
            f"{self.verdict.upper()}: Taylor test of {self.function}, {self.dtype}",
            f"along {direction}: <g, v> = {self.slope:.9g}; {self.evaluations} values evaluated "
            f"in {self.seconds:.3g} s",
            self.reason,
            *self.notes,
        ]
        wrapped = [
            textwrap.fill(printable(line), WIDTH, subsequent_indent="  ") for line in lines if line
        ]
        return "\n".join(wrapped) + "\n\n" + "\n".join(self._table())

    def _table(self) -> list[str]:
        lines = []
        for step, *pairs in cells(self):
            columns = zip(pairs[::2], pairs[1::2], strict=True)
            line = f"{step:>10}" + "".join(f"   {one:>20} {rate:>6}" for one, rate in columns)
            lines.append(line.rstrip())
        return [lines[0], "-" * len(lines[0]), *lines[1:]]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as dicts, lists, strings and numbers, ready for JSON.

        Numbers that are not finite, which JSON has no notation for, become the strings "nan",
        "inf" and "-inf".

        Examples
        --------
        >>> import fastbp
        >>> import numpy as np
        >>> result = fastbp.taylor_test(lambda x: np.sum(x**2), lambda x: 2 * x, np.ones(3), seed=0)
        >>> result.to_dict()["verdict"]
        'passed'
        """
        from fastbp.report.serialise import taylor_as_dict

        return taylor_as_dict(self)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the result to a file, as the JSON of `to_dict`, in UTF-8.

        Its form is that of ``fastbp/report/taylor.schema.json``, a JSON Schema that is installed
        with fastbp.

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
        >>> result = fastbp.taylor_test(lambda x: np.sum(x**2), lambda x: 2 * x, np.ones(3), seed=0)
        >>> result.to_json("taylor.json")
        """
        from fastbp.report.serialise import json_text, write_text

        write_text(json_text(self.to_dict()), path)

    def _repr_html_(self) -> str | None:
        """Return what a notebook shows; None, for the text, where Jinja is not installed."""
        from fastbp.report.html.page import taylor_in_notebook

        return taylor_in_notebook(self)

    def raise_unless_passed(self, allow: Collection[str] = ()) -> None:
        """Raise `GradientMismatchError`, with this result, unless the verdict is "passed".

        Parameters
        ----------
        allow : collection of {"inconclusive"}
            Verdicts that do not raise, beside "passed".

        Raises
        ------
        GradientMismatchError
            If the verdict is "failed", or "inconclusive" and not allowed: its ``report`` is this.
        OptionError
            If `allow` holds anything else.

        Examples
        --------
        >>> import fastbp
        >>> import numpy as np
        >>> result = fastbp.taylor_test(lambda x: np.sum(x**2), lambda x: 2 * x, np.ones(3), seed=0)
        >>> result.raise_unless_passed()
        """
        __tracebackhide__ = True  # pytest then points at the test
        fits = isinstance(allow, Collection) and not isinstance(allow, str)
        if not fits or any(verdict != "inconclusive" for verdict in allow):
            raise OptionError(f"allow must be () or a collection of 'inconclusive', not {allow!r}.")
        if self.verdict in ("passed", *allow):
            return
        said = "is wrong" if self.verdict == "failed" else "could not be judged"
        raise GradientMismatchError(f"The gradient {said}: {self.reason}.\n\n{self}", self)

    def plot(self, ax: Any = None) -> Any:
        """Draw the remainders over h, both on logarithmic axes, with lines of slope 1, 2 and 3.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default new axes. Needs matplotlib.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        OptionError
            If there is no matplotlib and no `ax`.

        Examples
        --------
        >>> import fastbp
        >>> import numpy as np
        >>> result = fastbp.taylor_test(lambda x: np.sum(x**2), lambda x: 2 * x, np.ones(3), seed=0)
        >>> axes = result.plot()
        >>> axes.get_xscale()
        'log'
        """
        import numpy as np

        from fastbp.report.pictures.style import MOST_SIGNS, plain, pyplot
        from fastbp.report.wording.long_names import ends

        if ax is None:
            _, ax = pyplot("plot").subplots()
        for order, remainder in enumerate(self.remainders):
            shown = (remainder > 0) & np.isfinite(remainder)
            if not shown.any():
                continue
            [line] = ax.loglog(
                self.steps[shown], remainder[shown], "o-", label=f"remainder of order {order}"
            )
            slanted = remainder[shown][0] * (self.steps / self.steps[shown][0]) ** (order + 1)
            ax.loglog(self.steps, slanted, ":", color=line.get_color(), label=f"slope {order + 1}")
        ax.set_xlabel("h")
        ax.set_ylabel("remainder")
        title = f"{ends(plain(self.function), MOST_SIGNS)}: {self.verdict}"
        ax.set_title(title, parse_math=False, usetex=False)
        ax.legend()
        return ax


def cells(result: TaylorTest) -> list[list[str]]:
    """Return the table of steps, remainders and rates, a heading first."""
    names = ["|f(x+hv) - f(x)|", "... - h <g, v>", "... - h^2/2 <v, H v>"]
    rows = [["h", *(part for name in names[: len(result.remainders)] for part in (name, "rate"))]]
    for place, step in enumerate(result.steps.tolist()):
        row = [f"{step:.3g}"]
        for remainder, rates in zip(result.remainders, result.rates, strict=True):
            rate = float(rates[place - 1]) if place else float("nan")
            row += [f"{float(remainder[place]):.3e}", "" if rate != rate else f"{rate:.2f}"]
        rows.append(row)
    return rows

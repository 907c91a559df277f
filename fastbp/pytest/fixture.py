"""The fixture ``gradient_check``: checks that fail a test, seeded by its name."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import fastbp
from fastbp.errors import OptionError
from fastbp.pytest.collected import as_entry, summary_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from fastbp.report import Report, TaylorTest

__all__ = ["GradientCheck", "options_of", "seed_of"]

OPTIONS = ("allow", "budget", "method", "seed")
ALLOWED = {"inconclusive", "vacuous"}
FUNCTION_METHODS = {"auto", "every", "probe"}


class Checks:
    """The checks of one module of fastbp, bound to a test.

    Parameters
    ----------
    module : module
        Where they are.
    judge : callable
        ``judge(check, arguments, keywords)`` calls a check and returns what it found.
    """

    def __init__(self, module: Any, judge: Callable[..., Any]) -> None:
        self._module = module
        self._judge = judge

    def __getattr__(self, name: str) -> Any:
        """Return a check; one that does not pass fails the test."""
        if name not in dir(self):
            raise AttributeError(f"gradient_check has no {name}: there are {', '.join(dir(self))}.")
        check = getattr(self._module, name)

        @functools.wraps(check)
        def checked(*arguments: Any, **keywords: Any) -> Any:
            __tracebackhide__ = True
            return self._judge(check, arguments, keywords)

        return checked

    def __dir__(self) -> list[str]:
        """List the checks."""
        return [name for name in self._module.__all__ if name.startswith(("check", "taylor"))]


class GradientCheck(Checks):
    """All checks of fastbp, each of which fails the test unless it passes.

    ``gradient_check(f, gradient, at)`` is ``gradient_check.check_gradient(f, gradient, at)``; the
    others are ``check_jacobian``, ``check_network`` and so on, under their names in `fastbp`, and
    those of ``gradient_check.torch`` and ``gradient_check.jax``. Each takes the arguments of its
    namesake, and returns its report.

    Parameters
    ----------
    item : pytest.Item
        The test.
    options : dict
        ``allow``, ``method``, ``budget`` and ``seed``; arguments of a call take precedence.
    collected : list or None
        What is kept of each check; None where nothing is.
    """

    def __init__(
        self, item: pytest.Item, options: dict[str, Any], collected: list[Any] | None
    ) -> None:
        super().__init__(fastbp, self._checked)
        self._item = item
        self._options = options
        self._collected = collected

    def __call__(self, f: Any, gradient: Any, at: Any, **options: Any) -> Report:
        """Check the gradient of a function; see `fastbp.check_gradient`."""
        __tracebackhide__ = True
        report: Report = self.check_gradient(f, gradient, at, **options)
        return report

    @property
    def torch(self) -> Checks:
        """The checks of `fastbp.torch`."""
        return Checks(importlib.import_module("fastbp.torch"), self._checked)

    @property
    def jax(self) -> Checks:
        """The checks of `fastbp.jax`."""
        return Checks(importlib.import_module("fastbp.jax"), self._checked)

    def _checked(
        self, check: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Report | TaylorTest:
        __tracebackhide__ = True
        found = check(*arguments, **{**self._options_for(check), **keywords})
        test = self._item.nodeid
        found = replace(found, notes=(*found.notes, f"test {test}"))
        self._item.user_properties.append(("gradient_check", summary_of(found)))
        if self._collected is not None:
            self._collected.append(as_entry(test, check.__name__, found))
        if found.verdict not in self._options["allow"]:
            found.raise_unless_passed()
        return found  # type: ignore[no-any-return]

    def _options_for(self, check: Callable[..., Any]) -> dict[str, Any]:
        """Return the options that a check has; a method of others leaves it at its default."""
        parameters = inspect.signature(check).parameters
        options = {
            name: value
            for name, value in self._options.items()
            if name in parameters and name != "allow"
        }
        if "method" in options:
            of_functions = parameters["method"].default in FUNCTION_METHODS
            if (options["method"] in FUNCTION_METHODS) != of_functions:
                del options["method"]
        return options


def options_of(item: pytest.Item, defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a test: those of its markers, the closest first, else the defaults.

    Raises
    ------
    OptionError
        If a marker has an argument that there is not.
    """
    __tracebackhide__ = True
    options = {"allow": (), "seed": seed_of(item), **defaults}
    for marker in reversed(list(item.iter_markers("gradient_check"))):
        unknown = [*map(repr, marker.args), *(set(marker.kwargs) - set(OPTIONS))]
        if unknown:
            raise OptionError(
                f"the marker gradient_check takes {', '.join(OPTIONS)} by name, not {unknown[0]}."
            )
        options |= marker.kwargs
    allow = options["allow"]
    options["allow"] = {allow} if isinstance(allow, str) else set(allow)
    if not options["allow"] <= ALLOWED:
        raise OptionError(f"allow must be 'inconclusive', 'vacuous' or both, not {allow!r}.")
    return options


def seed_of(item: pytest.Item) -> int:
    """Return the seed of a test, drawn from its name: the same in every run.

    With --dist=loadgroup pytest-xdist appends the group to the name; that does not count.
    """
    name = item.nodeid
    for marker in item.iter_markers("xdist_group"):
        group = marker.args[0] if marker.args else marker.kwargs.get("name", "default")
        name = name.removesuffix(f"@{group}")
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")

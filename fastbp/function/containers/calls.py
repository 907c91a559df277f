"""How a user's function is called: with several arguments, for two results, and watched."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import DTypeError, OptionError, ShapeError
from fastbp.function.containers.pytree import take_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ["MemberOfPair", "Unpacked", "Watched", "keywords_of", "member_names", "takes_keyword"]


def keywords_of(
    f: Callable[..., Any],
    kwargs: Mapping[str, Any] | None,
    options: dict[str, Any],
    known: Collection[str],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tell the keyword arguments of a function from the options of its check.

    Parameters
    ----------
    f : callable
    kwargs : mapping or None
        Keyword arguments that are said to be those of f.
    options : dict
        Keywords of either.
    known : collection of str
        The names of the options.
    """
    if not isinstance(kwargs, Mapping | None):
        raise DTypeError(f"kwargs must be a dict by name, not {type(kwargs).__name__}.")
    keywords = dict(kwargs or {})
    if not all(isinstance(name, str) for name in keywords):
        raise DTypeError(f"kwargs must have names as keys, not {list(keywords)}.")
    rest = {}
    for name, value in options.items():
        if name in known or not takes_keyword(f, name):
            rest[name] = value
        elif name in keywords:
            raise OptionError(f"{name} is given twice: among kwargs, and as a keyword.")
        else:
            keywords[name] = value
    return keywords, rest


def takes_keyword(f: Callable[..., Any], name: str) -> bool:
    """Tell whether a function may take a keyword; of those written in C nobody knows."""
    try:
        parameters = inspect.signature(getattr(f, "forward", f)).parameters
    except (TypeError, ValueError):
        return True
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return True
    return name in parameters and parameters[name].kind is not inspect.Parameter.POSITIONAL_ONLY


class Unpacked:
    """A function of one argument that calls another one with its members.

    Those of a tuple or list come first, in their order; those of a dict by name.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, at: Any, *rest: Any) -> Any:
        """Call it; what belongs to no member, as a cotangent, comes last."""
        if isinstance(at, dict):
            return self.function(*rest, **at)
        return self.function(*at, *rest)


class MemberOfPair:
    """One of the two results of a function, its value or its gradient."""

    def __init__(self, function: Callable[..., Any], member: int) -> None:
        self.function, self.member = function, member
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, at: Any) -> Any:
        """Call it, and return that result."""
        result = self.function(at)
        if not isinstance(result, tuple | list) or len(result) != 2:
            size = f" of length {len(result)}" if isinstance(result, tuple | list) else ""
            raise ShapeError(
                f"f must return (value, gradient) where gradient is True, not "
                f"{type(result).__name__}{size}."
            )
        return result[self.member]


class Watched:
    """A product that gets a copy of its vector in every call, and is asked what it changed of it.

    Attributes
    ----------
    changed : list of str
        The arrays that the last call changed.
    """

    def __init__(self, product: Callable[[Any, Any], Any], name: str) -> None:
        self.product, self.name = product, name
        self.changed: list[str] = []

    def __call__(self, at: Any, vector: Any) -> Any:
        """Call it with a copy of a vector."""
        before = take_apart(vector, self.name)
        own = before.copied()
        result = self.product(at, own.rebuilt(own.leaves))
        self.changed = [
            name
            for name, one, two in zip(before.names, before.leaves, own.leaves, strict=True)
            if not np.array_equal(one, two)
        ]
        return result


def member_names(function: Callable[..., Any], at: Any) -> dict[str, str]:
    """Return what each argument is called in reports, by its path in `at`.

    Raises
    ------
    DTypeError
        If `at` is no tuple, list or dict of arguments.

    Examples
    --------
    >>> member_names(lambda weight, bias: 0.0, (1.0, 2.0))
    {'[0]': 'weight', '[1]': 'bias'}
    """
    if isinstance(at, dict) and all(isinstance(key, str) for key in at):
        return {f"[{key!r}]": key for key in at}
    if not isinstance(at, tuple | list):
        came = "a dict by other keys" if isinstance(at, dict) else type(at).__name__
        raise DTypeError(
            f"at must be a tuple of arguments, or a dict by name, where unpack is True, not {came}."
        )
    return {f"[{place}]": name for place, name in enumerate(_names(function, len(at)))}


def _names(function: Callable[..., Any], count: int) -> list[str]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [one.name for one in parameters if one.kind in named]
    return [names[place] if place < len(names) else f"args[{place}]" for place in range(count)]

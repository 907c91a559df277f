"""How a user's function is called: with several arguments, or for its value and its gradient."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from fastbp.errors import DTypeError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MemberOfPair", "Unpacked", "member_names"]


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
            raise ShapeError(
                f"f must return (value, gradient) where gradient is True, not "
                f"{type(result).__name__}."
            )
        return result[self.member]


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
        raise DTypeError(
            f"at must be a tuple of arguments, or a dict by name, where unpack is True, not "
            f"{type(at).__name__}."
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

"""A function by its name, ``module:function``, as other tools take it."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from fastbp.errors import FastbpError, OptionError

__all__ = ["call_of", "modules_from_here", "named_function"]


@contextlib.contextmanager
def modules_from_here() -> Iterator[None]:
    """Let modules be imported from where the program runs, also while a function is called."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # a module of the user's may have removed it
            sys.path.remove(here)


def named_function(name: str) -> Any:
    """Import a module, and return a function of it.

    Parameters
    ----------
    name : str
        As ``package.module:function``, or ``module:Class.method``.

    Raises
    ------
    OptionError
        If the module or the function is missing, the module raises, or it is no function.
    """
    module_name, _, attributes = name.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise OptionError(f"{name}: there is no module {error.name}.") from error
        raise OptionError(f"{name}: {module_name} raised {raised(error)}.") from error
    except FastbpError:
        raise
    except (Exception, SystemExit) as error:
        raise OptionError(f"{name}: {module_name} raised {raised(error)}.") from error
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            raise OptionError(f"{name}: there is no {attribute} in {module_name}.")
        found = getattr(found, attribute)
    if not callable(found):
        raise OptionError(f"{name} must be a function, not of type {type(found).__name__}.")
    return found


def call_of(name: str, function: Any) -> Any:
    """Call a function without arguments; what it raises is an error of the input."""
    try:
        return function()
    except FastbpError:
        raise
    except (Exception, SystemExit) as error:
        raise OptionError(f"{name} raised {raised(error)}.") from error


def raised(error: BaseException) -> str:
    """Say what was raised, and in which line."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{said.rstrip('.')} ({where.filename}, line {where.lineno})"

"""The code of a module that is imported already, exchanged in place.

Functions keep their identity and get other code, so that whoever imported one by its name runs the
mutant too; what is no function is exchanged wherever it is known by the same name.
"""

from __future__ import annotations

import ast
import sys
import types
from typing import Any

__all__ = ["exchange"]

SPECIAL = ("__init__", "__new__", "__call__")


def exchange(module: types.ModuleType, tree: ast.Module) -> None:
    """Let a module, and all that imported from it, be what the tree says."""
    fresh: dict[str, Any] = {
        name: value for name, value in vars(module).items() if name.startswith("__")
    }
    exec(compile(tree, module.__file__ or "", "exec"), fresh)
    for name, new in fresh.items():
        old = vars(module).get(name)
        if name.startswith("__") or old is new or isinstance(new, types.ModuleType):
            continue
        if getattr(new, "__module__", None) == module.__name__ and _take_over(old, new):
            continue
        if type(old) is type(new) and isinstance(old, (int, float, str, tuple)) and old == new:
            continue
        if getattr(new, "__module__", module.__name__) == module.__name__:
            for other in list(sys.modules.values()):
                if getattr(other, "__dict__", {}).get(name, other) is old:
                    setattr(other, name, new)
            setattr(module, name, new)


def _take_over(old: Any, new: Any) -> bool:
    """Give a function, or those of a class, the code of another; whether it was one."""
    if isinstance(old, types.FunctionType) and isinstance(new, types.FunctionType):
        if hasattr(old, "__wrapped__"):
            return _take_over(old.__wrapped__, new.__wrapped__)
        if old.__code__.co_freevars == new.__code__.co_freevars:
            old.__code__, old.__defaults__ = new.__code__, new.__defaults__
            old.__kwdefaults__ = new.__kwdefaults__
        return True
    if isinstance(old, (staticmethod, classmethod)):
        return _take_over(old.__func__, new.__func__)
    if isinstance(old, property):
        return _take_over(old.fget, new.fget)
    if isinstance(old, type) and isinstance(new, type):
        for name, part in vars(new).items():
            if name in vars(old) and (not name.startswith("__") or name in SPECIAL):
                _take_over(vars(old).get(name), part)
        return True
    return hasattr(old, "__wrapped__") and _take_over(old.__wrapped__, new.__wrapped__)

"""One optimisation and one emission for an entry and all that it calls.

numba optimises every function together with all that it calls and emits it as machine code, and
then does the same again in each of its callers. Python calls only the entries. So the others are
kept here as they were lowered, and are linked, optimised and emitted once, in the entry: LLVM then
takes 0.4 times as long for a certified check.

This rests on names of numba that are not public. Where one of those that are listed below is
missing, numba compiles in its own way: slower, with the same results.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, Flags
from numba.core.environment import lookup_environment
from numba.core.types.common import Buffer
from numba.core.types.containers import BaseTuple

from .remembered import remembering

OF_A_LIBRARY = (
    "_codegen", "_final_module", "_finalize_final_module", "_finalized",
    "_get_module_for_linking", "_linking_libraries", "_optimize_functions",
    "_raise_if_finalized", "_reload_init", "_shared_module",
)  # fmt: skip
OF_A_CODEGEN = ("_data_layout", "_function_pass_manager", "_library_class", "set_env")
ENVIRONMENT = "_ZN08NumbaEnv"  # how the names of such variables begin


class _Part:
    """What numba asks of a library that it links."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._reload_init = library._reload_init

    def _get_module_for_linking(self) -> Any:
        return self._library.as_lowered()


class _KernelLibrary(JITCodeLibrary):  # type: ignore[misc]
    """A library that is linked with all that its parts call."""

    def _optimize_functions(self, module: Any) -> None:
        """As numba does, with one pass manager for all functions and none for declarations."""
        module.data_layout = self._codegen._data_layout
        manager, builder = self._codegen._function_pass_manager()
        for function in module.functions:
            if not function.is_declaration:
                manager.run(function, builder)

    def _link_and_emit(self) -> None:
        parts: dict[Any, None] = {}
        _collect(self, parts)
        self._linking_libraries = [
            _Part(part) if isinstance(part, DeferredLibrary) else part for part in parts
        ]
        super().finalize()
        for variable in self._final_module.global_variables:
            if variable.name.startswith(ENVIRONMENT):
                environment = lookup_environment(variable.name)
                if environment is not None:
                    self._codegen.set_env(variable.name, environment)


def _collect(library: Any, parts: dict[Any, None]) -> None:
    """Add all libraries that a library calls, directly or through others."""
    for part in library._linking_libraries:
        if part not in parts:
            parts[part] = None
            if isinstance(part, DeferredLibrary) and not part.emitted:
                _collect(part, parts)


class EntryLibrary(_KernelLibrary):
    """The library of a kernel that Python calls."""

    def finalize(self) -> None:
        """Link, optimise and emit all that the entry calls."""
        self._link_and_emit()


class DeferredLibrary(_KernelLibrary):
    """The library of what is called by kernels only.

    Where a compiler other than `EntryCompiler` wants to link it, or Python to call it, it is
    linked, optimised and emitted after all.
    """

    def __init__(self, codegen: Any, name: str) -> None:
        super().__init__(codegen, name)
        self.emitted = False

    @property
    def codegen(self) -> Any:
        """What takes the environment of a function: there is no variable yet to hold it."""
        return self._codegen if self.emitted else _NoMachineCode()

    def as_lowered(self) -> Any:
        """Return the module, optimised only if it has been emitted."""
        return super()._get_module_for_linking()

    def finalize(self) -> None:
        """Let nothing more be added."""
        self._raise_if_finalized()
        self._finalized = True

    def _emit(self) -> None:
        self._ensure_finalized()
        if not self.emitted:
            self._finalized, self._shared_module = False, None
            self._link_and_emit()

    def _finalize_final_module(self) -> None:
        self.emitted = True
        super()._finalize_final_module()

    def _get_module_for_linking(self) -> Any:
        self._emit()
        return super()._get_module_for_linking()

    def get_pointer_to_function(self, name: str) -> int:
        """Return the address of a function, 0 where there is none of this name."""
        self._ensure_finalized()
        if not self.emitted:
            defined = (f.name for f in self._final_module.functions if not f.is_declaration)
            if name not in defined:
                return 0
            self._emit()
        return int(super().get_pointer_to_function(name))


class _NoMachineCode:
    def set_env(self, name: str, environment: Any) -> None:
        """Leave it to `_link_and_emit`, which looks the environment up by its name."""


class _FixedFlags(Flags):  # type: ignore[misc]
    """Flags that are compared quickly: numba looks up each overload by them, 30 000 times."""

    def __init__(self, flags: Any) -> None:
        super().__init__(flags)
        self._all = super().values()
        self._hash = super().__hash__()

    def copy(self) -> _FixedFlags:
        """Return the same: they do not change."""
        return self

    def values(self) -> Any:
        """Return all options and their values."""
        return self._all

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> Any:
        return self is other or super().__eq__(other)


class KernelCompiler(Compiler):  # type: ignore[misc]
    """How a kernel is compiled that kernels call."""

    def _compile_core(self) -> Any:
        flags = self.state.flags
        if type(flags) is Flags:
            self.state.flags = _FixedFlags(flags)
        result = super()._compile_core()
        if not flags.nrt and _holds_arrays(result.signature.return_type):
            raise TypeError(f"{self.state.func_id.func_name} returns arrays: say allocates=True.")
        return result


class EntryCompiler(KernelCompiler):
    """How an entry is compiled, with all that it calls."""

    def _compile_core(self) -> Any:
        codegen = self.state.targetctx.codegen()
        if "_library_class" in vars(codegen) or not _is_supported(codegen):
            return super()._compile_core()
        library = EntryLibrary(codegen, self.state.func_id.func_qualname)
        library.enable_object_caching()
        self.state.library = library
        with _deferring(codegen), _without_collections(), remembering():
            return super()._compile_core()


def _holds_arrays(kind: Any) -> bool:
    if isinstance(kind, BaseTuple):
        return any(map(_holds_arrays, kind))
    return isinstance(kind, Buffer)


def _is_supported(codegen: Any) -> bool:
    """Tell whether numba has all that is used here."""
    library = JITCodeLibrary(codegen, "probe")
    return all(hasattr(library, name) for name in OF_A_LIBRARY) and all(
        hasattr(codegen, name) for name in OF_A_CODEGEN
    )


@contextmanager
def _deferring(codegen: Any) -> Iterator[None]:
    """Let all that is compiled within be deferred; numba's compiler lock is held."""
    codegen._library_class = DeferredLibrary
    try:
        yield
    finally:
        del codegen._library_class


@contextmanager
def _without_collections() -> Iterator[None]:
    """Spare the search for circles of garbage among the many objects of a compiler."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

"""How a kernel is compiled and cached: the only place with JIT options.

numba stamps a cached kernel with the hash of its *own* file alone, so that after an edit of a
kernel that it calls, or of an option in another file, the old machine code would keep running,
and a comment would compile the file's kernels anew. Here a kernel is kept under a key of all that
its machine code depends on, and of nothing else.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from typing import Any

import numba
from numba import types
from numba.core import compiler
from numba.core.serialize import dumps

from . import disk_cache
from .dependencies import digest_of_dependencies
from .link_once import EntryCompiler, KernelCompiler

JIT_DISABLED = bool(numba.config.DISABLE_JIT)

# Sums may be reordered into vectors and products contracted into FMAs; NaN and infinity keep
# their meaning ("fast" would include nnan and ninf, under which isnan finds nothing).
REASSOCIATE = frozenset({"nsz", "arcp", "contract", "afn", "reassoc"})
# Variables of the environment (NUMBA_...) that change the machine code beside the processor's
# name and features.
SETTINGS = ("BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "OPT", "SLP_VECTORIZE")


class KernelCache:
    """What a dispatcher of numba asks for compiled kernels, and gives them to.

    It rests on private names of numba: the dispatcher's ``_cache`` and `PRIVATE` of a result of
    its compiler. Where one is missing there is no disk cache at all, rather than a stale one.
    """

    PRIVATE = ("_reduce", "_rebuild")

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"

    @property
    def cache_path(self) -> str | None:
        """Folder of the cache, as in numba's statistics."""
        folder = disk_cache.folder()
        return None if folder is None else str(folder)

    def _key(self, signature: Any, context: Any) -> str | None:
        function = self._function
        digest = digest_of_dependencies(function.__module__)
        if digest is None:
            return None
        own = function.__module__, function.__qualname__
        bytecode = hashlib.sha256(function.__code__.co_code).hexdigest()
        settings = [getattr(numba.config, name, None) for name in SETTINGS]
        return repr(
            (own, str(signature), context.codegen().magic_tuple(), settings, bytecode, digest)
        )

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Return the compiled kernel for a signature, or None where the disk has none of use."""
        context.refresh()
        key = self._key(signature, context)
        content = None if key is None else disk_cache.read(self._name, key)
        if content is None:
            return None
        try:
            return compiler.CompileResult._rebuild(context, *pickle.loads(content))
        except Exception as error:  # of any kind: what was written whole should have been usable
            disk_cache.note_damaged(f"{self._name} in {self.cache_path}", repr(error))
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep a compiled kernel, where there is room."""
        key = self._key(signature, result.target_context)
        if key is None or result.lifted or result.library.has_dynamic_globals:
            return
        disk_cache.write(self._name, key, dumps(result._reduce()))

    def flush(self) -> None:
        """Forget nothing: an entry is as good as what is compiled anew."""


def _can_be_kept(dispatcher: Any, function: Callable[..., Any]) -> bool:
    """Whether numba offers what the disk cache takes, and the source tells all about a kernel."""
    named = all(hasattr(compiler.CompileResult, name) for name in KernelCache.PRIVATE)
    return named and hasattr(dispatcher, "_cache") and function.__closure__ is None


def _ignore_literals(dispatcher: Any) -> None:
    """Compile once for integers, not again for every constant that a caller passes."""
    resolve = dispatcher.get_call_template

    def resolve_unliteral(args: Any, kws: Any) -> Any:
        plain = {name: types.unliteral(kind) for name, kind in kws.items()}
        return resolve(tuple(types.unliteral(kind) for kind in args), plain)

    dispatcher.get_call_template = resolve_unliteral


def kernel(
    function: Callable[..., Any] | None = None,
    *,
    entry: bool = False,
    inline: bool = False,
    reassociate: bool = False,
    allocates: bool = False,
    on_disk: bool = True,
) -> Any:
    """Compile a function on first use, without the GIL, and cache entries on disk.

    Parameters
    ----------
    function : callable
        A function over numbers and contiguous arrays, its outputs last.
    entry : bool
        Python calls it; the other kernels are called by kernels only. They have no wrapper, and
        are compiled and kept within each entry (``link_once.py``).
    inline : bool
        Too small to be compiled on its own: its text is put where it is called.
    reassociate : bool
        Let the compiler reorder the sums of this one function.  Only for reductions: the
        order is fixed at compile time, so equal inputs still give equal bits.
    allocates : bool
        It makes arrays, or returns some. The others (but entries) only borrow arrays, so numba
        need not write code that counts references to them, a fifth of what it would write.
    on_disk : bool
        Keep the machine code.  Not for a kernel that takes functions: what is compiled for one
        is never found again, and its file stays.

    Returns
    -------
    callable
        The dispatcher; under ``NUMBA_DISABLE_JIT=1`` the function itself.
    """
    if function is None:
        return lambda f: kernel(
            f, entry=entry, inline=inline, reassociate=reassociate, allocates=allocates,
            on_disk=on_disk,
        )  # fmt: skip
    options: dict[str, Any] = {"fastmath": set(REASSOCIATE)} if reassociate else {}
    if inline:
        options["inline"] = "always"
    if not entry:
        options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    if not entry and not inline and on_disk:
        options |= {"pipeline_class": KernelCompiler, "_nrt": allocates}
    elif entry and on_disk:
        options["pipeline_class"] = EntryCompiler
    compiled = numba.jit(nopython=True, nogil=True, error_model="numpy", **options)(function)
    if compiled is function:
        return function
    _ignore_literals(compiled)
    if on_disk and entry and _can_be_kept(compiled, function):
        compiled._cache = KernelCache(function)
    return compiled

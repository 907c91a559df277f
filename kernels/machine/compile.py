"""How a kernel is compiled and cached: the only place with JIT options.

numba stamps a cached kernel with the hash of its *own* file alone, so that after an edit of a
kernel that it calls, or of an option in another file, the old machine code would keep running.
Every kernel here is cached under a key that also holds the digest of all kernel sources.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import types

JIT_DISABLED = bool(numba.config.DISABLE_JIT)

# Sums may be reordered into vectors and products contracted into FMAs; NaN and infinity keep
# their meaning ("fast" would include nnan and ninf, under which isnan finds nothing).
REASSOCIATE = frozenset({"nsz", "arcp", "contract", "afn", "reassoc"})


def _digest_of_sources(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


SOURCES = _digest_of_sources(Path(__file__).parents[1])


def _salted_cache(function: Callable[..., Any]) -> Any:
    """Make the disk cache of one kernel, or None where numba does not offer what it takes.

    It rests on two private names of numba (``FunctionCache._index_key`` and the dispatcher's
    ``_cache``); without them there is no disk cache at all rather than a stale one.
    """
    try:
        from numba.core.caching import FunctionCache
    except ImportError:
        return None
    if not hasattr(FunctionCache, "_index_key"):
        return None

    class SaltedCache(FunctionCache):  # type: ignore[misc]
        def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
            return (*super()._index_key(sig, codegen), SOURCES)

    try:
        return SaltedCache(function)
    except RuntimeError:  # no folder that can be written
        return None


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
    on_disk: bool = True,
) -> Any:
    """Compile a function on first use, without the GIL, and cache it on disk.

    Parameters
    ----------
    function : callable
        A function over numbers and contiguous arrays, its outputs last.
    entry : bool
        Python calls it; the other kernels are called by kernels only, and have no wrapper.
    inline : bool
        Too small to be compiled on its own: its text is put where it is called.
    reassociate : bool
        Let the compiler reorder the sums of this one function.  Only for reductions: the
        order is fixed at compile time, so equal inputs still give equal bits.
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
            f, entry=entry, inline=inline, reassociate=reassociate, on_disk=on_disk
        )
    options: dict[str, Any] = {"fastmath": set(REASSOCIATE)} if reassociate else {}
    if inline:
        options["inline"] = "always"
    if not entry:
        options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    compiled = numba.jit(nopython=True, nogil=True, error_model="numpy", **options)(function)
    if compiled is function:
        return function
    _ignore_literals(compiled)
    cache = None if inline or not on_disk else _salted_cache(function)
    if cache is not None and hasattr(compiled, "_cache"):
        compiled._cache = cache
    return compiled

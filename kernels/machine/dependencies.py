"""What the machine code of a kernel depends on, as a digest: the key of its disk cache.

numba freezes globals and inlines what is called, so a kernel depends on its own file and on all
kernel files that it imports, directly or through others; overloads and intrinsics are imported
like the rest. Each file counts by its syntax tree without docstrings: a comment, a docstring or
another place in the file changes nothing. Constants count by their values too, since some are
facts of the machine (widths of vectors, sizes of caches).
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import disk_cache

ROOT = Path(__file__).parents[1]
PACKAGE = __name__.rsplit(".", 2)[0]


def _relative_name(module: str) -> str | None:
    """Name of a module of this package below it ("" is the package); None for any other."""
    if module == PACKAGE:
        return ""
    return module.removeprefix(f"{PACKAGE}.") if module.startswith(f"{PACKAGE}.") else None


def _sources() -> dict[str, tuple[str, bytes]]:
    """Package and text of every module below the root, by its relative name."""
    result = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        package = ".".join(parts[:-1])
        name = package if parts[-1] == "__init__" else ".".join(parts)
        result[name] = (package, path.read_bytes())
    return result


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_text(line)]  # type: ignore[attr-defined]
    return tree


def _is_text(line: ast.stmt) -> bool:
    return (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Relative names of what a module may import, at its top or inside its functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            absolute = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = [PACKAGE, *filter(None, package.split("."))]
                above = above[: len(above) - node.level + 1]
                base = ".".join([*above, *filter(None, [base])])
            absolute = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in absolute:
            relative = _relative_name(name)
            if relative is not None:
                yield relative


def _read_syntax(package: str, source: bytes) -> tuple[str, list[str]]:
    """Digest of a module's syntax, and what it may import."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # nobody can import it
        return hashlib.sha256(source).hexdigest(), []
    imported = sorted(set(_imported(tree, package)))
    text = ast.dump(_without_docstrings(tree))
    return hashlib.sha256(text.encode()).hexdigest(), imported


@functools.cache
def _modules() -> dict[str, tuple[str, list[str]]]:
    """Digest and imports of every module; parsing takes 0.1 s, so it is kept on disk."""
    sources = _sources()
    raw = hashlib.sha256()
    for name, (_, source) in sources.items():
        raw.update(f"{name}\0{len(source)}\0".encode() + source)
    key = f"{PACKAGE} {raw.hexdigest()}"
    kept = disk_cache.read("syntax", key)
    if kept is not None:
        return json.loads(kept)
    result = {name: _read_syntax(*source) for name, source in sources.items()}
    disk_cache.write("syntax", key, json.dumps(result).encode())
    return result


def _reached(module: str) -> list[str]:
    """Return the module, all that it imports, directly or through others, and their packages."""
    modules = _modules()
    found: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name in modules and name not in found:
            found.add(name)
            pending += modules[name][1]
            pending += [name.rpartition(".")[0]]
    return sorted(found)


def _is_constant(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_constant, value))
    return isinstance(value, (bool, int, float, complex, str, np.generic))


@functools.cache
def _digest_of_module(name: str) -> str:
    """Digest of a module's syntax and of the values of its constants."""
    module = importlib.import_module(f"{PACKAGE}.{name}".rstrip("."))
    constants = {
        key: repr(value)
        for key, value in sorted(vars(module).items())
        if key.isupper() and _is_constant(value)
    }
    return f"{name} {_modules()[name][0]} {constants}"


@functools.cache
def digest_of_dependencies(module: str) -> str | None:
    """Digest of all that the kernels of a module depend on; None where there is no source."""
    name = _relative_name(module)
    if name not in _modules():
        return None
    text = "\n".join(map(_digest_of_module, _reached(name)))
    return hashlib.sha256(text.encode()).hexdigest()

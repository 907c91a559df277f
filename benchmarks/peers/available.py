"""Which peers are installed, and why another one cannot take part."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from types import ModuleType

# Package that it needs: our module about it.
PEERS = {
    "fastbp": "peer_fastbp",
    "numpy": "peer_numpy",
    "torch": "peer_torch",
    "jax": "peer_jax",
}


@dataclass(frozen=True)
class Peers:
    """The peers that take part, by name, what they are, and those that are missing."""

    modules: dict[str, ModuleType]
    versions: list[str]
    missing: list[str]


def installed(package: str) -> bool:
    """Tell whether a package is there."""
    return importlib.util.find_spec(package) is not None


def find_peers(threads: int) -> Peers:
    """Import and set up every peer that is installed."""
    modules, versions, missing = {}, [], []
    for package, module_name in PEERS.items():
        if not installed(package):
            missing.append(package)
            continue
        module = importlib.import_module(f".{module_name}", __package__)
        versions.append(module.prepare(threads))
        modules[module.NAME] = module
    return Peers(modules, versions, missing)

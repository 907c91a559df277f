"""Changes that no test can notice, and why."""

from __future__ import annotations

__all__ = ["reason_for"]

HARMLESS: dict[str, str] = {}


def reason_for(name: str) -> str:
    """Return why a mutant makes no difference; empty if it is not known to make none."""
    return HARMLESS.get(name, "")

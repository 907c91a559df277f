"""A plugin of pytest: gradient checks in tests. See docs/reference.md."""

from __future__ import annotations

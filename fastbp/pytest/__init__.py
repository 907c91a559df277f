"""A plugin of pytest: gradient checks in tests. See docs/reference/pytest-plugin.md."""

from __future__ import annotations

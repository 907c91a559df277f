"""What a command writes beside its reports on the terminal."""

from __future__ import annotations

"""The peers, one thin file each: `ATTACKS` maps an attack's name to the one signature below.

    attack(victim, rows, table, *, seed) -> list[Found]

`victim` is a `Counter`; `rows` are (text, label); `table` holds each word's candidates in order. A peer searches one
text at a time, as it always does.
"""

from __future__ import annotations

import importlib.machinery
import sys
from typing import Any
from unittest import mock


def stub(*modules: str) -> None:
    """Stand-ins for what a peer imports and never uses here: taggers, grammar checkers, embeddings."""
    for name in modules:
        module: Any = mock.MagicMock(name=name)
        module.__spec__, module.__path__ = importlib.machinery.ModuleSpec(name, None), []
        sys.modules.setdefault(name, module)

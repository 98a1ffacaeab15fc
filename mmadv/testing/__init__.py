"""The author kit: the laws as checks, victims whose behaviour is known, and a pytest plugin.

A plugin's whole test suite can be three lines:

    from mmadv.testing import conformance

    test_laws = conformance("image")

Names load on first use, so that pytest starts without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmadv.testing.checks import LAWS as LAWS
    from mmadv.testing.conform import cases as cases
    from mmadv.testing.conform import conformance as conformance
    from mmadv.testing.kit import Case as Case
    from mmadv.testing.kit import Kit as Kit
    from mmadv.testing.kit import Trial as Trial
    from mmadv.testing.victims import Linear as Linear
    from mmadv.testing.victims import linear_victim as linear_victim

_HOME = {
    "Case": "kit",
    "Kit": "kit",
    "LAWS": "checks",
    "Linear": "victims",
    "Trial": "kit",
    "cases": "conform",
    "conformance": "conform",
    "linear_victim": "victims",
}

__all__ = ["LAWS", "Case", "Kit", "Linear", "Trial", "cases", "conformance", "linear_victim"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mmadv.testing' has no attribute {name!r}")
    value = getattr(import_module(f"mmadv.testing.{_HOME[name]}"), name)
    globals()[name] = value
    return value

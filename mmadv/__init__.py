"""mmadv measures how models hold up against adversarial inputs, in every modality with one engine.

Names load on first use, so that importing the package, its command line and its plugins' listings stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmadv.errors import MmadvError
from mmadv.hookspecs import hookimpl

if TYPE_CHECKING:
    from mmadv.access import Access as Access
    from mmadv.access import Output as Output

__version__ = "0.1.0"

_HOME = {
    "Access": "access",
    "Output": "access",
    "Budget": "budget",
    "Targeted": "goals",
    "Untargeted": "goals",
    "Goal": "goals",
    "Verdict": "goals",
    "Ledger": "ledger",
    "Status": "ledger",
    "Loss": "losses",
    "Noise": "noise",
    "Oracle": "oracle",
    "Evaluation": "oracle",
    "Attack": "protocol",
    "BallSpace": "space",
    "BallRegion": "space",
    "Constraint": "space",
    "Region": "space",
    "Space": "space",
    "CallableTarget": "target",
    "ModuleTarget": "target",
    "Target": "target",
    "Problem": "threat",
    "ThreatModel": "threat",
    "solve": "engine",
    "attack": "api",
    "Result": "result",
    "Alarm": "result",
    "Modality": "modality",
    "TargetClaim": "modality",
}

__all__ = [*sorted(_HOME), "MmadvError", "hookimpl"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mmadv' has no attribute {name!r}")
    value = getattr(import_module(f"mmadv.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

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
    from mmadv.alarms import Alarm as Alarm
    from mmadv.api import attack as attack
    from mmadv.budget import Budget as Budget
    from mmadv.engine import solve as solve
    from mmadv.goals import Goal as Goal
    from mmadv.goals import Targeted as Targeted
    from mmadv.goals import Untargeted as Untargeted
    from mmadv.goals import Verdict as Verdict
    from mmadv.ledger import Ledger as Ledger
    from mmadv.ledger import Status as Status
    from mmadv.losses import Loss as Loss
    from mmadv.modality import Modality as Modality
    from mmadv.modality import TargetClaim as TargetClaim
    from mmadv.noise import Noise as Noise
    from mmadv.oracle import Evaluation as Evaluation
    from mmadv.oracle import Oracle as Oracle
    from mmadv.protocol import Attack as Attack
    from mmadv.result import Result as Result
    from mmadv.source import Examples as Examples
    from mmadv.source import MemorySource as MemorySource
    from mmadv.source import Source as Source
    from mmadv.space import BallRegion as BallRegion
    from mmadv.space import BallSpace as BallSpace
    from mmadv.space import Constraint as Constraint
    from mmadv.space import Region as Region
    from mmadv.space import Space as Space
    from mmadv.target import CallableTarget as CallableTarget
    from mmadv.target import ModuleTarget as ModuleTarget
    from mmadv.target import Target as Target
    from mmadv.threat import Problem as Problem
    from mmadv.threat import ThreatModel as ThreatModel

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
    "Alarm": "alarms",
    "Modality": "modality",
    "Examples": "source",
    "MemorySource": "source",
    "Source": "source",
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

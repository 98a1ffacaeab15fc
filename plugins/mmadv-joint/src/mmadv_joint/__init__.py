"""Inputs of several parts, each with a space of its own; what is here loads on first use, so that listing the plugin stays quick."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmadv_joint.space import Joint as Joint
    from mmadv_joint.space import JointRegion as JointRegion
    from mmadv_joint.space import JointSpace as JointSpace

__all__ = ["Joint", "JointRegion", "JointSpace"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mmadv_joint' has no attribute {name!r}")
    from mmadv_joint import space

    return getattr(space, name)

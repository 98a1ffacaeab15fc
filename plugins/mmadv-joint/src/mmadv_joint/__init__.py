"""Inputs of several parts, each with a space of its own."""

from mmadv_joint.space import Joint, JointRegion, JointSpace

__all__ = ["Joint", "JointRegion", "JointSpace"]

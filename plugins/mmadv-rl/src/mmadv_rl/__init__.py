"""The reinforcement-learning modality: an agent's observations are touched, and the episodes that it then plays judged."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmadv_rl.episodes import Episodes as Episodes
    from mmadv_rl.episodes import Game as Game
    from mmadv_rl.target import PolicyTarget as PolicyTarget

_HOME = {"Episodes": "episodes", "Game": "episodes", "PolicyTarget": "target"}

__all__ = ["Episodes", "Game", "PolicyTarget"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mmadv_rl' has no attribute {name!r}")
    return getattr(import_module(f"mmadv_rl.{_HOME[name]}"), name)

"""The audio modality of mmadv; `Waves` loads on first use, so that listing the plugin stays quick."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmadv_audio.waves import Waves as Waves

__all__ = ["Waves"]


def __getattr__(name: str) -> Any:
    if name != "Waves":
        raise AttributeError(f"module 'mmadv_audio' has no attribute {name!r}")
    from mmadv_audio.waves import Waves

    return Waves

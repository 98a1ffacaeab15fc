"""Typed errors: each says what is wrong, where, and the fix.

Example:
    >>> print(ParameterError("eps is -0.1", where="image.pgd", fix="give eps >= 0"))
    eps is -0.1
      where: image.pgd
      fix:   give eps >= 0
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class MmadvError(Exception):
    """The root of every error that mmadv raises on purpose.

    Args:
        what: one sentence that names the offending value.
        where: the row, file and line, plugin and version, or parameter it was found in.
        fix: what the caller can do about it.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what, where, fix)
        self.what, self.where, self.fix = what, where, fix

    def __reduce__(self) -> tuple[Any, ...]:
        """As it passes from a worker to the process that waits for it."""
        return _made_again, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  fix:   {self.fix}")
        return "\n".join(lines)


def _made_again(kind: type[MmadvError], args: tuple[str, ...], found: dict[str, Any]) -> MmadvError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(found)
    return error


class InputError(MmadvError):
    """Inputs or labels that the modality cannot take: shape, dtype, range, NaN, label out of range."""


class ParameterError(MmadvError):
    """An unknown, unused or out-of-range parameter of an attack, constraint or threat model."""


class AccessError(MmadvError):
    """An attack asked for more of the victim than the threat model or the target grants."""


class TargetError(MmadvError):
    """A victim that cannot be attacked as it is: train mode, wrong output shape, no claimant, a needed unpickling."""


class VictimMovedError(TargetError):
    """The victim's weights or buffers changed while it was attacked (law 3)."""


class AttackError(MmadvError):
    """An attack that broke its contract with the engine."""


class PluginError(MmadvError):
    """A plugin that failed to load, collides with another, or is asked for and absent."""


class SpecError(MmadvError):
    """An unreadable or malformed audit spec: file, line, what was expected."""


class RunError(MmadvError):
    """A run folder that belongs to another spec, is in use, or holds a corrupt shard."""


class AssetError(MmadvError):
    """A model or data set that is missing, cannot be built, or does not match its pinned fingerprint."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names what the caller probably meant.

    Args:
        name: what was given.
        known: what would have been understood.

    Returns:
        One sentence.

    Example:
        >>> nearest("step", ["steps", "norm"])
        "did you mean 'steps'? known: norm, steps"
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    listing = f"known: {', '.join(known) or 'none'}"
    return f"did you mean {close[0]!r}? {listing}" if close else listing

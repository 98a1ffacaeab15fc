"""The suite: a parameter-free sequence of attacks that gives one number, each on the images still standing.

    APGD, cross-entropy        100 steps
    APGD, targeted DLR         100 steps towards each of the 9 next classes
    Square                     5,000 queries, no gradients

It is AutoAttack's standard sequence (Croce & Hein, arXiv 2003.01690) without FAB. Where targeted DLR has no meaning, towards classes of
the user's own or with fewer than four, APGD climbs the margin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mmadv import Attack, Oracle
from mmadv.errors import ParameterError
from mmadv.search.relay import Relay
from mmadv_image.attacks.apgd import APGD
from mmadv_image.attacks.square import Square


@dataclass(frozen=True, kw_only=True)
class Suite(Relay):
    """APGD with two losses, and Square.

    Args:
        ascent: steps of each run of APGD.
        squares: queries of Square.

    Example:
        >>> Suite().squares
        5000
    """

    ascent: int = 100
    squares: int = 5000

    ratio: ClassVar[float] = 1.05

    def check(self, oracle: Oracle) -> None:
        for name in ("ascent", "squares"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ParameterError(f"{name} is {value!r}", where=name, fix="give a whole number of at least 1")
        if oracle.region.norm not in ("linf", "l2"):
            raise ParameterError(
                f"the suite works in linf and l2, not in {oracle.region.norm}",
                where="norm",
                fix="use norm='linf' or 'l2', or image.pgd",
            )

    def members(self, oracle: Oracle) -> tuple[tuple[Attack, int], ...]:
        classes = oracle.evaluate(oracle.region.x).output.shape[-1]
        second = APGD(loss="dlr_targeted") if oracle.towards is None and classes >= 4 else APGD(loss="margin")
        return (APGD(), self.ascent), (second, self.ascent), (Square(), self.squares)

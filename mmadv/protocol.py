"""What an attack is: a frozen dataclass of its parameters, whose state lives in rows."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from mmadv.access import Access
from mmadv.oracle import Oracle


class Attack:
    """The base of every attack; subclasses are frozen, keyword-only dataclasses.

    An attack reads like its paper: `init` makes the state, `step` is one iteration on all rows. It reaches
    the victim only through `oracle.evaluate`, keeps everything that differs between examples in rows of its
    state, and never changes a tensor that it has handed to the oracle.

    Attributes:
        access: what it needs to see of the victim.
        keeps: `hit` ends a row at its first feasible success; `nearest` searches for the least distance until
            the budget ends, without a limit on distance, so that one run answers every ε.
        steps: its default number of steps.
        single_step: whether a number of steps makes no sense for it, and is refused.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Still(Attack):
        ...     access = Access.SCORE
        ...     def init(self, oracle): return oracle.region.x
        ...     def step(self, state, oracle):
        ...         oracle.evaluate(state)
        ...         return state
    """

    access: ClassVar[Access] = Access.GRADIENT
    keeps: ClassVar[Literal["hit", "nearest"]] = "hit"
    steps: ClassVar[int] = 1
    single_step: ClassVar[bool] = False

    def iterations(self, steps: int) -> int:
        """How often the engine calls `step`, where `steps` are those of one run, restart or round of the attack."""
        return steps

    def check(self, oracle: Oracle) -> None:
        """Refuse, before the first query, what the attack can't do.

        Raises:
            ParameterError: a norm, goal or output it doesn't work with.
        """

    def init(self, oracle: Oracle) -> Any:
        """The state before the first step."""
        raise NotImplementedError

    def step(self, state: Any, oracle: Oracle) -> Any:
        """One iteration on all rows."""
        raise NotImplementedError

    def pending(self, state: Any) -> Any | None:
        """The last iterate, if it has not been scored yet; the engine's closing pass does it."""
        return None

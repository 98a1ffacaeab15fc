"""What an attacker may spend, per example."""

from __future__ import annotations

from dataclasses import dataclass

from mmadv.errors import ParameterError


@dataclass(frozen=True)
class Budget:
    """Limits per example; None is no limit of that kind.

    A query is one forward pass of one input of that example, the clean one included: it is the first
    that the victim is asked. A gradient is one backward pass of one input.

    Args:
        steps: of the attack; None for the attack's own default.
        queries: at most so many forward passes.
        gradients: at most so many backward passes.

    Raises:
        ParameterError: a limit below 1 (queries, steps) or below 0 (gradients).

    Example:
        >>> Budget(queries=1000).queries
        1000
    """

    steps: int | None = None
    queries: int | None = None
    gradients: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("queries", 1), ("gradients", 0)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                raise ParameterError(
                    f"{name} is {value!r}", where="budget", fix=f"give a whole number of at least {least}"
                )

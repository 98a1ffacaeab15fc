"""What an attacker may see of a victim, and what a victim's outputs mean. No torch here: the command line lists these."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from mmadv.errors import ParameterError, nearest


class Access(IntEnum):
    """How much of the victim the attacker sees; each level grants what the lower ones do."""

    DECISION = 1
    SCORE = 2
    GRADIENT = 3

    @classmethod
    def of(cls, name: str | Access) -> Access:
        """The level called `name`.

        Raises:
            ParameterError: no such level.

        Example:
            >>> Access.of("score") < Access.GRADIENT
            True
        """
        if isinstance(name, cls):
            return name
        try:
            return cls[str(name).upper()]
        except KeyError:
            known = [level.name.lower() for level in cls]
            raise ParameterError(f"unknown access {name!r}", where="access", fix=nearest(str(name), known)) from None


class Output(StrEnum):
    """What a victim returns: declared by the user, never guessed. `values` are numbers that no class is decided by, such as a
    continuous action."""

    LOGITS = "logits"
    LOG_PROBABILITIES = "log_probabilities"
    PROBABILITIES = "probabilities"
    LABEL = "label"
    VALUES = "values"

    @classmethod
    def of(cls, name: str | Output) -> Output:
        """The kind called `name`.

        Raises:
            ParameterError: no such kind.
        """
        try:
            return cls(name)
        except ValueError:
            known = [kind.value for kind in cls]
            raise ParameterError(
                f"unknown output kind {name!r}", where="output", fix=nearest(str(name), known)
            ) from None

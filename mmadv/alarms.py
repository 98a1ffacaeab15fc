"""Alarms: signs that a robustness number is false comfort (law 9), reported with the number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import torch

from mmadv import rows
from mmadv.ledger import Ledger
from mmadv.target import Target, rng_preserved


class Trust(StrEnum):
    """How far a result can be relied on."""

    RELIABLE = "reliable"
    SUSPECT = "suspect"
    INVALID = "invalid"


@dataclass(frozen=True)
class Alarm:
    """One sign of trouble.

    Args:
        code: a fixed name, such as `zero_gradients`.
        trust: what it makes of the result.
        message: what was seen, with figures, and what to do.
    """

    code: str
    trust: Trust
    message: str


def verdict(alarms: Iterable[Alarm]) -> Trust:
    """The worst that any alarm says.

    Example:
        >>> verdict([]).value
        'reliable'
    """
    order = list(Trust)
    return max((alarm.trust for alarm in alarms), key=order.index, default=Trust.RELIABLE)


PROBE_ROWS, PROBE_CALLS = 2, 3


def randomised(target: Target, x: object) -> bool:
    """Whether the victim answers the same inputs differently from call to call.

    It is called three times on the first two rows, apart from any budget; round-off is not taken for chance.
    """
    x = rows.detached(rows.take(x, slice(0, PROBE_ROWS)), target.device)
    if not rows.count(x):
        return False
    with torch.inference_mode(False), torch.no_grad(), rng_preserved(target.device, seed=0), target.held():
        first, *others = (target(x) for _ in range(PROBE_CALLS))
    return any(not torch.allclose(first.double(), other.double(), rtol=1e-4, atol=1e-6, equal_nan=True) for other in others)


def of_ledger(ledger: Ledger, *, random: bool, eot: int) -> list[Alarm]:
    """The alarms of one attack on one batch.

    Args:
        ledger: closed.
        random: whether the victim was found to be randomised.
        eot: passes that its answers were averaged over.
    """
    alarms: list[Alarm] = []
    signals, total = ledger.signals, max(len(ledger.done), 1)
    assert signals is not None

    def add(code: str, share: float, suspect: float, invalid: float, message: str) -> None:
        if share > suspect:
            trust = Trust.INVALID if share > invalid else Trust.SUSPECT
            alarms.append(Alarm(code, trust, f"{share:.1%} {message}"))

    asked = max(int(signals.gradient_rows), 1)
    add("zero_gradients", int(signals.zero_gradients) / asked, 0.01, 0.5,
        "of the gradients are exactly zero: the victim masks them; use a score-based attack such as image.square beside this one")  # fmt: skip
    add("broken_gradients", int(signals.broken_gradients) / asked, 0.0, 0.5,
        "of the gradients hold NaN or inf, and were set to zero; make the forward pass finite (no sqrt, log or division at 0)")  # fmt: skip
    add("non_finite_outputs", int((ledger.broken & ~ledger.fooled).sum()) / total, 0.0, 0.1,
        "of the examples got NaN or inf from the victim; they have status error and count neither way")  # fmt: skip
    add("infeasible_successes", sum(status == "infeasible" for status in ledger.status) / total, 0.0, 0.5,
        "of the examples were only fooled outside of the constraints; the attack does not keep to its threat model")  # fmt: skip
    add("probabilities_as_logits", int(signals.looks_like_probabilities) / max(int(signals.opened), 1), 0.9, 1.0,
        "of the answers declared as logits look like probabilities, whose softmax hides the gradient; declare output='probabilities', or remove the softmax")  # fmt: skip
    if random and eot == 1:
        alarms.append(
            Alarm("randomised", Trust.SUSPECT, "the victim answers the same input differently each time, and was judged on one draw; use eot=20 or more")
        )
    return alarms

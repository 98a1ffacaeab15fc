"""Alarms: signs that a robustness number is false comfort (law 9), reported with the number."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from mmadv import rows
from mmadv.errors import InputError
from mmadv.goals import Goal, Targeted, Untargeted, decision
from mmadv.ledger import Ledger, Status
from mmadv.noise import Noise
from mmadv.target import CALL, Target, drawing, rng_preserved


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
FALLEN, MISLED = 0.25, 0.5
"""Shares of first steps along gradients that lower the loss from which on a victim is suspect, and a number invalid."""
UNTOUCHABLE = 0.05
"""Share of attacked examples that no attack may change from which on robust accuracy says little of the victim."""
PLANTED_MISSED = 0.05
"""Share of planted adversarials that a sound attack may miss (arXiv 2206.13991 asks for all but a few)."""


def randomised(target: Target, x: object) -> bool:
    """Whether the victim answers the same inputs differently from call to call.

    It is called three times on the first two rows, apart from any budget; round-off is not taken for chance. Where a victim has a
    loss of its own, how likely it holds its answer to be is compared besides: labels alone hide most of chance.
    """
    x = rows.detached(rows.take(x, slice(0, PROBE_ROWS)), target.device)
    if not rows.count(x):
        return False
    with torch.inference_mode(False), torch.no_grad(), rng_preserved(target.device, seed=0), target.held():
        first, *others = (_answers(target, x, call) for call in range(PROBE_CALLS))
    return any(
        not torch.allclose(one.double(), same.double(), rtol=1e-4, atol=1e-6, equal_nan=True)
        for other in others
        for one, same in zip(first, other, strict=False)
    )


def _answers(target: Any, x: Any, call: int) -> list[Tensor]:
    """What a victim answers at its call of that number, and how likely it holds that to be, where it can say so."""
    with drawing(target, Noise(0, torch.arange(rows.count(x), device=target.device), call * CALL)):
        if not hasattr(target, "likelihood"):
            return [target(x)]
        answer, unlikely = target.likelihood(x)
        try:
            return [answer, unlikely(decision(answer))]
        except InputError:  # it writes what it can't spell
            return [answer]


@dataclass(frozen=True)
class Counts:
    """What alarms are raised from; counts of several batches add up, but for the victim's `classes`, 0 where they aren't seen.

    Example:
        >>> sum([Counts(examples=2), Counts(examples=3)], Counts()).examples
        5
    """

    examples: int = 0
    errors: int = 0
    lost: int = 0
    strayed: int = 0
    repeated: int = 0
    unrepeated: int = 0
    gradient_rows: int = 0
    zero_gradients: int = 0
    broken_gradients: int = 0
    opened: int = 0
    looks_like_probabilities: int = 0
    still_shrinking: int = 0
    nearest_found: int = 0
    first_steps: int = 0
    fallen: int = 0
    random: int = 0
    planted: int = 0
    planted_missed: int = 0
    unplanted: int = 0
    attacked_before: int = 0
    classes: int = 0

    def __add__(self, other: Counts) -> Counts:
        both = {
            field.name: (getattr(self, field.name), getattr(other, field.name)) for field in dataclasses.fields(self)
        }
        return Counts(**{name: max(pair) if name == "classes" else sum(pair) for name, pair in both.items()})

    @classmethod
    def of(cls, ledger: Ledger, *, random: bool) -> Counts:
        """Of one closed ledger; reads the device."""
        statuses, signals = ledger.status, ledger.signals
        assert signals is not None
        seen = {field.name: int(getattr(signals, field.name)) for field in dataclasses.fields(signals)}
        return cls(
            examples=len(statuses),
            errors=statuses.count(Status.ERROR),
            strayed=statuses.count(Status.INFEASIBLE),
            random=int(random),
            classes=ledger.classes,
            **seen,
        )


_SIGNS = (
    # code, counted, out of, suspect above, invalid above, message
    ("zero_gradients", "zero_gradients", "gradient_rows", 0.01, 0.5,
     "of the gradients are exactly zero: the victim masks them; run a score-based attack beside this one"),
    ("broken_gradients", "broken_gradients", "gradient_rows", 0.0, 0.5,
     "of the gradients hold NaN or inf, and were set to zero; make the forward pass finite (no sqrt, log or division at 0)"),
    ("non_finite_outputs", "errors", "examples", 0.0, 0.1,
     "of the examples got NaN or inf from the victim; they have status error and count neither way"),
    ("lost_examples", "lost", "examples", 0.0, 0.1,
     "of the examples were lost where they are played: their environment raised or gave what it can't give, as notes say; they have status error and count neither way"),
    ("not_repeatable", "unrepeated", "repeated", 0.0, 0.0,
     "of the untouched episodes that were played once more by the same actions came out otherwise, so that what is laid to an attack may be chance; let all that the environment draws follow from its seed, and let nothing remain from one episode to the next"),
    ("infeasible_successes", "strayed", "examples", 0.0, 0.5,
     "of the examples were only fooled outside of the constraints: the attack does not keep to its threat model"),
    ("unfinished_search", "still_shrinking", "nearest_found", 0.1, 1.0,
     "of the nearest adversarials came a hundredth nearer in the very last step: the search was cut off, and distances are too large; give more steps"),
    ("probabilities_as_logits", "looks_like_probabilities", "opened", 0.9, 1.0,
     "of the answers declared as logits look like probabilities; declare output='probabilities', or remove the softmax"),
)  # fmt: skip


def of_counts(counts: Counts, *, eot: int) -> tuple[Alarm, ...]:
    """The alarms that counts give cause for.

    Args:
        counts: of one attack.
        eot: passes that a randomised victim's answers were averaged over.

    Example:
        >>> [alarm.code for alarm in of_counts(Counts(gradient_rows=10, zero_gradients=9), eot=1)]
        ['zero_gradients']
    """
    alarms = []
    for code, counted, total, suspect, invalid, message in _SIGNS:
        hits, whole = getattr(counts, counted), getattr(counts, total)
        share = hits / max(whole, 1)
        if share > suspect:
            told = f"{share:.1%} ({hits:,} of {whole:,}) {message}"
            alarms.append(Alarm(code, Trust.INVALID if share > invalid else Trust.SUSPECT, told))
    if counts.first_steps and not counts.random:  # chance alone moves losses
        share = _at_least(counts.fallen, counts.first_steps)
        message = (
            f"{counts.fallen} of the first {counts.first_steps} steps along gradients lowered the loss that they were to raise: "
            "the gradients mislead; run a score-based attack beside this one"
        )
        if share > FALLEN:
            alarms.append(Alarm("misleading_gradients", Trust.INVALID if share > MISLED else Trust.SUSPECT, message))
    if counts.random and eot == 1:
        message = (
            "the victim answers the same input differently each time, and was judged on one draw; use eot=20 or more, or, where "
            "eot can't be given, make it deterministic"
        )
        alarms.append(Alarm("randomised", Trust.SUSPECT, message))
    return tuple(alarms)


def of_untouchable(count: int, total: int) -> tuple[Alarm, ...]:
    """The alarm that examples of which nothing may be changed give cause for: they are robust against anything.

    Args:
        count: of them.
        total: examples that were attacked.

    Example:
        >>> [[alarm.trust.value for alarm in of_untouchable(count, 20)] for count in (1, 6, 17)]
        [[], ['suspect'], ['invalid']]
    """
    share = _at_least(count, total) if count else 0.0
    if share <= UNTOUCHABLE:
        return ()
    message = (
        f"of {count} of {total} attacked examples nothing may be changed within the threat model, and they count as robust whatever "
        "the victim does; give a larger eps, further candidates, or examples that can be changed"
    )
    return (Alarm("untouchable_examples", Trust.INVALID if share > 0.5 else Trust.SUSPECT, message),)


def of_clean(hits: int, total: int, answers: int | None) -> tuple[Alarm, ...]:
    """The alarm that a victim gives cause for which is no better than chance before any attack: what it "keeps right" is luck.

    It is raised where accuracy is not above that of guessing with 95 % confidence, and is below the middle between guessing and
    being always right with as much: neither a hard task nor a handful of examples raises it.

    Args:
        hits: examples that it gets right untouched.
        total: examples.
        answers: that a guess has to choose from, at least; None where there are any number, as of transcripts.

    Example:
        >>> [len(of_clean(*counts)) for counts in [(9, 100, 10), (30, 100, 10), (1, 2, 2), (48, 100, 2), (0, 20, None), (1, 20, None)]]
        [1, 0, 0, 1, 1, 0]
    """
    guessed = 0.0 if answers is None else 1 / max(answers, 2)
    middle = (1 + guessed) / 2
    if not total or hits / total >= middle:  # most often, and nothing needs to be computed
        return ()
    low, high = wilson(hits, total)
    if low > guessed or high >= middle:
        return ()
    among = "" if answers is None else f", no better than a guess among {answers} answers"
    message = (
        f"the victim is right on {hits} of {total} examples before any attack{among}: the number says little of it; see that what is "
        "right stands in the order of the inputs and in the victim's own terms, and that inputs are prepared as it was trained on them"
    )
    return (Alarm("clean_at_chance", Trust.SUSPECT, message),)


def answers_of(goal: Goal, classes: int, y: Iterable[int]) -> int | None:
    """How many answers a guess has to choose from, at least; None where answers are no classes.

    Args:
        goal: of the attacks; one of a modality's own judges transcripts or returns.
        classes: of the victim, 0 where it answers labels alone.
        y: what is right, of each example.
    """
    if not isinstance(goal, (Targeted, Untargeted)):
        return None
    return max(classes, 1 + max(y, default=0))


def _at_least(hits: int, total: int) -> float:
    """The lower end of the interval of a share: few observations don't prove much."""
    return wilson(hits, total)[0]


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share, which is anything where there are no examples.

    By its closed form (doi:10.1080/01621459.1927.10502953): importing `scipy.stats` for it takes longer than many an attack.

    Example:
        >>> tuple(round(end, 4) for end in wilson(0, 10))
        (0.0, 0.2775)
    """
    if not total:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.975)
    share, shrunk = hits / total, 1 + z * z / total
    middle = share + z * z / (2 * total)
    half = z * math.sqrt((share * (1 - share) + z * z / (4 * total)) / total)
    # At either end of the scale the interval ends there, whatever is rounded.
    return (middle - half) / shrunk if hits else 0.0, (middle + half) / shrunk if hits < total else 1.0


def of_planted(counts: Iterable[Counts]) -> tuple[Alarm, ...]:
    """The alarm that adversarials which were planted, and not found, give cause for (`mmadv.planted`).

    Args:
        counts: of all attacks on a victim; what the best of them found is what counts.

    Example:
        >>> [alarm.trust.value for alarm in of_planted([Counts(planted=8, planted_missed=8), Counts(planted=8, planted_missed=1)])]
        ['suspect']
    """
    counts = list(counts)
    shares = [one.planted_missed / one.planted for one in counts if one.planted]
    if not shares and any(one.unplanted for one in counts):
        message = (
            "no adversarial could be planted, so that nothing is known of what the attacks would miss; "
            "give more examples or a larger eps, or leave plant out"
        )
        return (Alarm("nothing_planted", Trust.SUSPECT, message),)
    missed = min(shares, default=0.0)
    if missed <= PLANTED_MISSED:
        return ()
    message = (
        f"{missed:.1%} of the adversarials that were planted within the threat model were not found: attacks that can't find "
        "what is there say nothing where they find none; run stronger ones, or such as need no gradients"
    )
    return (Alarm("planted_missed", Trust.INVALID if missed > 0.5 else Trust.SUSPECT, message),)

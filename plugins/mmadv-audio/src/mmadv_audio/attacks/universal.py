"""One perturbation for all recordings (Neekhara et al., arXiv 1905.03828), or one prefix that mutes (Raina et al., arXiv 2405.06134).

    fit:    δ = 0;  repeat on batches of other recordings: δ = clip(δ + lr · eps · sign(Σ ∇ loss(project(x + δ))), eps)
    attack: adv = project(x + δ), δ repeated to the recording's length or, as a prefix, over its beginning alone

Fitting sees recordings of its own, and its queries are told apart from the attack's, which asks once. A prefix is played
before the speech: the recordings, those to be attacked too, begin with as much silence (`led`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmadv import Access, Attack, BallSpace, Ledger, Oracle, Problem, losses, solve
from mmadv.errors import ParameterError
from mmadv_audio.channels import read_file
from mmadv_audio.waves import Waves


@dataclass(frozen=True, kw_only=True)
class Universal(Attack):
    """A perturbation that was fitted beforehand, laid over each recording.

    Args:
        perturbation: (P,) samples, a WAV file of them, or a factory `package.module:function`.
        repeat: over the whole recording, or only over its beginning.

    Raises:
        ParameterError: none is given, or one that is no waveform at the recordings' sample rate.

    Example:
        >>> Universal(perturbation=torch.zeros(8)).access.name
        'DECISION'
    """

    perturbation: Tensor | str | Path | None = None
    repeat: bool = True

    access: ClassVar[Access] = Access.DECISION
    single_step: ClassVar[bool] = True

    def check(self, oracle: Oracle) -> None:
        if self.perturbation is None:
            raise ParameterError(
                "the perturbation is missing",
                where="perturbation",
                fix="fit one: mmadv_audio.attacks.universal.fitted(…), or name a WAV file",
            )

    def init(self, oracle: Oracle) -> Waves:
        x = oracle.region.x
        return laid(oracle.region, _samples(self.perturbation, x.rate).to(x.samples), self.repeat)

    def step(self, state: Waves, oracle: Oracle) -> Waves:
        oracle.evaluate(state)
        return state


def fitted(
    problem: Problem, *, samples: int, eps: float, repeat: bool = True, steps: int = 100, lr: float = 0.1
) -> tuple[Tensor, Ledger]:
    """Fit one perturbation to the recordings of a problem.

    Args:
        problem: recordings apart from those to be attacked later, with the goal and the space of the attack.
        samples: P, of the perturbation.
        eps: the largest value of a sample.
        repeat: as it will be laid over recordings.
        steps: over all recordings.
        lr: length of a step as a share of `eps`.

    Returns:
        (P,) the perturbation, and the ledger that says what fitting cost and how many recordings it fooled.

    Raises:
        ParameterError: no number of samples or steps, or no size.
    """
    for name, count in (("samples", samples), ("steps", steps)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ParameterError(f"{name} is {count!r}", where=name, fix="give a whole number of at least 1")
    for name, size in (("eps", eps), ("lr", lr)):
        if isinstance(size, bool) or not isinstance(size, (int, float)) or not 0 < size < float("inf"):
            raise ParameterError(f"{name} is {size!r}", where=name, fix="give a number above 0")
    fitting = _Fitting(samples, eps, repeat, lr)
    from dataclasses import replace as changed

    threat = changed(problem.threat, budget=changed(problem.threat.budget, steps=steps))
    ledger = solve(changed(problem, threat=threat), fitting, early_stop=False)
    return fitting.delta[0], ledger


def led(waves: Waves, seconds: float) -> Waves:
    """Waveforms with silence before them, that a prefix may be played in.

    Example:
        >>> led(Waves.of([torch.ones(4)], rate=8000), 0.001)[0].tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    """
    lead = round(seconds * waves.rate)
    return Waves(torch.nn.functional.pad(waves.samples, (lead, 0)), waves.length + lead, waves.rate)


def laid(region: Any, delta: Tensor, repeat: bool) -> Waves:
    """A perturbation (P,) over each waveform of a region."""
    longest = region.x.samples.shape[-1]
    if repeat and len(delta):
        delta = delta.repeat(-(-longest // len(delta)))
    delta = torch.nn.functional.pad(delta, (0, max(0, longest - len(delta))))[:longest]
    return region.project(region.like(region.x.samples + delta))


class _Fitting(Attack):
    """The gradients of all rows together: rows are not independent here, and what is fitted is no result of any of them."""

    def __init__(self, samples: int, eps: float, repeat: bool, lr: float) -> None:
        self.repeat, self.lr, self.eps = repeat, lr, eps
        self.delta = torch.zeros(1, samples)

    def init(self, oracle: Oracle) -> None:
        self.ball = BallSpace("linf", self.eps, low=-1.0, high=1.0).around(self.delta.to(oracle.region.x.samples))
        self.delta = self.ball.x

    def step(self, state: None, oracle: Oracle) -> None:
        adv = laid(oracle.region, self.delta[0], self.repeat)
        grad = oracle.evaluate(adv, loss=losses.log_odds, grad=True).grad
        grad = (grad / grad.abs().amax(-1, keepdim=True).clamp_min(1e-30)).sum(0)
        period = self.delta.shape[1]
        whole = torch.nn.functional.pad(grad, (0, -len(grad) % period)).reshape(-1, period)
        self.delta = self.ball.climb_(self.delta, (whole.sum(0) if self.repeat else whole[0]).unsqueeze(0), self.lr)


def _samples(perturbation: Any, rate: int) -> Tensor:
    """(P,) samples of what a user gave.

    Raises:
        ParameterError: it is no waveform, or one at another sample rate than the recordings'.
    """
    where, found = "perturbation", perturbation
    if isinstance(found, str) and ":" in found and not Path(found).exists():
        found = resolve_name(found)()
    if isinstance(found, (str, Path)):
        found = read_file(Path(found))
    if isinstance(found, Waves):
        if len(found) != 1 or found.rate != rate:
            raise ParameterError(
                f"the perturbation has {found.rate} samples a second, and the recordings {rate}",
                where=where,
                fix=f"give one perturbation, resampled to {rate} Hz",
            )
        found = found[0]
    try:
        samples = torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ParameterError(
            f"a {type(found).__name__} can't be read as samples: {error}", where=where, fix="give a tensor (P,)"
        ) from error
    if samples.dim() != 1 or not len(samples) or not samples.is_floating_point() or not samples.isfinite().all():
        raise ParameterError(
            f"the perturbation has shape {tuple(samples.shape)} and dtype {samples.dtype}, or is not finite",
            where=where,
            fix="give finite floating samples of one channel (P,)",
        )
    return samples

"""What gradient attacks on observations share: they climb an objective of the answer, which in an episode decides what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmadv import Loss, Oracle, losses
from mmadv.access import Output
from mmadv.errors import InputError, ParameterError
from mmadv.search.pgd import Ascent

if TYPE_CHECKING:
    from mmadv_rl.episodes import Game
    from mmadv_rl.play import Played


@dataclass(frozen=True)
class Lessons:
    """What an attack had to spend before its first episode: who wants to lose a single one has to spend all of it.

    Args:
        steps: of the environment.
        queries: of the victim: one for each step, and those of attacks that were tried on the way.
        gradients: of those attacks.

    Example:
        >>> Lessons(10, 10) + Lessons(5, 25, 20)
        Lessons(steps=15, queries=35, gradients=20)
    """

    steps: int = 0
    queries: int = 0
    gradients: int = 0

    def __add__(self, other: Lessons) -> Lessons:
        return Lessons(self.steps + other.steps, self.queries + other.queries, self.gradients + other.gradients)


def none_played(game: Game, count: int, reason: str) -> InputError:
    """The error of who was to learn from episodes that all broke."""
    return InputError(
        f"none of the {count} training episodes could be played: {reason}",
        where=game.name,
        fix="training plays episodes of its own, with seeds from 2**20 on: make the environment accept and survive them",
    )


def why_broken(played: Played) -> str:
    """Why the first episode broke for which a reason is known."""
    return next(iter(played.reasons.values()), "the policy answered NaN or inf")


def check_rehearsed(played: Played, game: Game) -> None:
    """See that there is an episode to learn from: one of nothing would be held for an attack that was tried.

    Raises:
        InputError: all of them broke.
    """
    if bool(played.broken.all()):
        raise none_played(game, len(played.broken), why_broken(played))


def deviation(x: Tensor) -> Tensor:
    """(…,) standard deviation of rows, 0 of a single one."""
    return x.std(0) if len(x) > 1 else x.new_zeros(x.shape[1:])


@dataclass(frozen=True, kw_only=True)
class Climb(Ascent):
    """Ascent of `objective`, which compares an answer with what was `known` of the clean one."""

    def objective(self, values: bool) -> Loss:
        """What is climbed: `(answers (…, L), the policy's own actions y (…,), facts (…, F)) -> (…,)`.

        Args:
            values: whether answers are [mean, log σ] of continuous actions, not scores of discrete ones.
        """
        raise NotImplementedError

    def known(self, x: Tensor, answer: Tensor, values: bool) -> Tensor:
        """(A, F) what the objective has to know of clean observations and the answers to them."""
        return answer

    def facts(self, oracle: Oracle) -> Any:
        x = oracle.region.x
        return self.known(x, oracle.evaluate(x).output.detach(), continuous(oracle))

    def climb(self, adv: Tensor, facts: Any, oracle: Oracle) -> Tensor:
        return oracle.evaluate(adv, loss=self.objective(continuous(oracle)), towards=facts, grad=True).grad

    def check(self, oracle: Oracle) -> None:
        super().check(oracle)
        if oracle.problem.threat.goal.needs_target:
            raise ParameterError(
                "targets is given, and the attack has an aim of its own",
                where=type(self).__name__,
                fix="use rl.pgd or rl.fgsm for a certain action",
            )


def divergence(output: Tensor, clean: Tensor, discrete: bool) -> Tensor:
    """(…,) how far a policy's answer is from the clean one: KL(π(s) ‖ π(s′)), or Σ((μ′ − μ)/σ)² of [mean, log σ].

    Where the clean policy is all but certain of its action, KL is cross-entropy, whose gradient underflows once the answer
    is certain too; there the log-odds stand in, which rank answers alike (law 5).

    Example:
        >>> divergence(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]]), False)
        tensor([1.])
    """
    if not discrete:
        width = output.shape[-1] // 2
        sigma = clean[..., width:].exp()
        return ((output[..., :width] - clean[..., :width]) / sigma).square().sum(-1)
    chance, own = clean.softmax(-1), clean.argmax(-1)
    relative = (chance * (clean.log_softmax(-1) - output.log_softmax(-1))).sum(-1)
    return torch.where(chance.amax(-1) > 0.999, losses.log_odds(output, own), relative)


def refuse_unused(attack: Any, names: Sequence[str], reason: str) -> None:
    """Refuse by name what was given and plays no part here (law 12).

    Args:
        attack: a dataclass.
        names: of its parameters.
        reason: why they play none.

    Raises:
        ParameterError: one of them has another value than if it were not given.
    """
    for one in fields(attack):
        if one.name in names and getattr(attack, one.name) != one.default:
            raise ParameterError(f"{one.name} is given, and {reason}", where=one.name, fix="leave it out")


def check_numbers(attack: Any, **ranges: tuple[type, float, float]) -> None:
    """See that parameters are numbers that mean something.

    Args:
        attack: a dataclass.
        **ranges: by name: `int` or `float`, and the least and the largest that it may be.

    Raises:
        ParameterError: one is none.
    """
    for name, (kind, least, most) in ranges.items():
        value = getattr(attack, name)
        fits = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
        if not (fits and least <= value <= most):
            raise ParameterError(
                f"{name} is {value!r}",
                where=name,
                fix=f"give a {'whole ' if kind is int else ''}number of "
                + (f"at least {least:g}" if most == float("inf") else f"{least:g} to {most:g}"),
            )


def continuous(oracle: Oracle) -> bool:
    """Whether the victim's actions are continuous."""
    return oracle.problem.target.output is Output.VALUES

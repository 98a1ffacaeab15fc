"""All of them: each episode's return is the worst that any member brought about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mmadv import Attack, Oracle
from mmadv_rl.attacks.critic import Critic
from mmadv_rl.attacks.director import Director
from mmadv_rl.attacks.fgsm import FGSM
from mmadv_rl.attacks.mad import MAD
from mmadv_rl.attacks.pgd import PGD
from mmadv_rl.attacks.random import Random
from mmadv_rl.attacks.robust_sarsa import RobustSarsa


@dataclass(frozen=True, kw_only=True)
class Suite(Attack):
    """Noise, FGSM, PGD, MAD, the critic, Robust Sarsa and the director, as far as the policy has what they need.

    Single observations are attacked by PGD alone: which action is worst shows only in an episode.

    Example:
        >>> Suite().steps
        20
    """

    steps: ClassVar[int] = 20

    def members(self, policy: Any, game: Any) -> list[Attack]:
        """What it is made of for a policy in a game."""
        found: list[Attack] = [Random(), FGSM(), PGD(), MAD()]
        if policy.has_critic:
            found.append(Critic())
        if not policy.memory:
            found.append(RobustSarsa())
            if game.actions is not None:
                found.append(Director())
        return found

    def init(self, oracle: Oracle) -> Any:
        return self._alone(oracle).init(oracle)

    def step(self, state: Any, oracle: Oracle) -> Any:
        return self._alone(oracle).step(state, oracle)

    def pending(self, state: Any) -> Any:
        return state.adv

    def _alone(self, oracle: Oracle) -> PGD:
        return PGD()

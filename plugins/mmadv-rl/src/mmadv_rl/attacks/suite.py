"""All of them: each episode's return is the worst that any member brought about, and notes say what each one did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mmadv import Attack, Oracle, ThreatModel
from mmadv.errors import ParameterError
from mmadv_rl.attacks.base import refuse_unused
from mmadv_rl.attacks.critic import Critic
from mmadv_rl.attacks.director import Director
from mmadv_rl.attacks.fgsm import FGSM
from mmadv_rl.attacks.learned import Learned, trainable
from mmadv_rl.attacks.mad import MAD
from mmadv_rl.attacks.pgd import PGD
from mmadv_rl.attacks.random import Random
from mmadv_rl.attacks.robust_sarsa import RobustSarsa
from mmadv_rl.attacks.timed import Timed
from mmadv_rl.attacks.waves import Waves
from mmadv_rl.constraints import Turns


@dataclass(frozen=True, kw_only=True)
class Suite(Attack):
    """Noise, FGSM, PGD, MAD, waves, the critic, Robust Sarsa, the director, the learned adversary and, where an episode may be
    touched a few times, the timed attack: as far as they can be had, and the threat model's access allows.

    The critic and the values need a policy that has them or does not remember, the learned adversary Stable-Baselines3. Steps, if
    given, are those of each member that makes more than one. Single observations are attacked by PGD alone: which action is worst
    shows only in an episode.

    What can't be prepared, such as for want of training episodes that the environment survives, ends the run: a suite that went on
    without a member would claim more than it tried. `training: 0`, or the other attacks one by one, do without.

    Args:
        training: steps that the learned adversary is trained for; 0 leaves it out.

    Example:
        >>> Suite().steps
        20
    """

    training: int = 30_000

    steps: ClassVar[int] = 20

    def check(self, oracle: Oracle) -> None:
        self._check()
        refuse_unused(self, ("training",), "single observations train no adversary")

    def _check(self) -> None:
        if isinstance(self.training, bool) or not isinstance(self.training, int) or self.training < 0:
            raise ParameterError(f"training is {self.training!r}", where="training", fix="give a number of steps, or 0")

    def members(self, policy: Any, game: Any, threat: ThreatModel) -> list[Attack]:
        """What it is made of for a policy in a game under a threat model.

        Raises:
            ParameterError: a number that means nothing.
        """
        self._check()
        found: list[Attack] = [Random(), FGSM(), PGD(), MAD(), Waves()]
        if policy.has_critic:
            found.append(Critic())
        if not policy.memory:
            found.append(RobustSarsa())
            if game.actions is not None:
                found.append(Director())
        if self.training and trainable():
            found.append(Learned(training=self.training))
        turns: Turns = threat.space.turns  # type: ignore[attr-defined]
        if game.actions is not None and (turns.most is not None or turns.share is not None):
            found.append(Timed())  # with a turn at every step it would be PGD once more
        return [member for member in found if member.access <= threat.access]

    def init(self, oracle: Oracle) -> Any:
        return self._alone(oracle).init(oracle)

    def step(self, state: Any, oracle: Oracle) -> Any:
        return self._alone(oracle).step(state, oracle)

    def pending(self, state: Any) -> Any:
        return state.adv

    def _alone(self, oracle: Oracle) -> PGD:
        return PGD()

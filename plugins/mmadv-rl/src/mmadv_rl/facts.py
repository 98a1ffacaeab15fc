"""What is known of episodes whatever an attack makes of them, and noted beside what it made."""

from __future__ import annotations

import torch
from torch import Tensor

from mmadv import Problem
from mmadv_rl.episodes import Episodes
from mmadv_rl.space import ObsSpace
from mmadv_rl.target import PolicyTarget


def known(policy: PolicyTarget, problem: Problem, calm: Episodes) -> dict[str, Tensor]:
    """ε of the dimensions where it is least and most, raw and normalised: by the policy's own normaliser, or by the standard
    deviation of the untouched episode. And the least return that any attack could bring about, where the environment's
    `least_return` says.

    Args:
        policy: that plays.
        problem: of episodes.
        calm: the same episodes, untouched.

    Returns:
        (N,) each, by name; NaN where there is nothing to say.
    """
    space: ObsSpace = problem.threat.space  # type: ignore[assignment]
    raw = (space.eps * torch.tensor(space.unit, dtype=torch.float64)).expand(len(calm), -1)
    if policy.normalised:
        scale = policy.units("policy", calm.game).double().expand_as(raw)
    else:
        steps, true = calm.length.clamp_min(1).view(-1, 1), calm.true.double() * calm.played.unsqueeze(2)
        mean = true.sum(1) / steps
        scale = ((true - mean.unsqueeze(1)).square() * calm.played.unsqueeze(2)).sum(1).div(steps).sqrt()
    found = {}
    for name, each in (("raw", raw), ("normalised", raw / scale)):
        told = (raw > 0) & torch.isfinite(each)
        for end, extreme, nothing in (("least", torch.amin, float("inf")), ("most", torch.amax, -float("inf"))):
            values = extreme(each.where(told, nothing), 1)
            found[f"ε {name}, {end}"] = values.where(values.isfinite(), float("nan"))
    with calm.game.instances(1) as (env,):
        solved = getattr(getattr(env, "unwrapped", env), "least_return", None)
    if solved is not None and (least := solved(policy.module, space, calm.seed)) is not None:
        found["least return"] = least
    return found

"""Particle swarm search (Zang et al., arXiv 1910.12196) over the substitutions of any candidate source.

particles: the original with one word substituted at random, each
repeat, with ω from .8 to .2 and P_i from .8 to .2, P_g from .2 to .8 over the run:
    v_d ← ω v_d + (1 − ω) [I(own best_d, x_d) + I(swarm's best_d, x_d)],  I = 1 where equal, else −1
    with probability P_i: x_d ← own best_d with probability σ(v_d), for every word d
    with probability P_g: x_d ← swarm's best_d with probability σ(v_d)
    with probability max(0, 1 − 2 · words replaced / words): one word is substituted at random
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmadv import Access, Attack, Oracle
from mmadv.errors import ParameterError
from mmadv_text.search import population, spread, stuck

HIGH, LOW = 0.8, 0.2


@dataclass
class State:
    """Rows: particles and velocities (A, P, S), each one's best so far with its loss (A, P), and the step."""

    particles: Tensor
    velocity: Tensor
    own: Tensor
    own_loss: Tensor
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Swarm(Attack):
    """Particle swarm search; a step moves all particles once.

    Args:
        particles: P.

    Example:
        >>> Swarm(particles=20).particles
        20
    """

    particles: int = 60

    access: ClassVar[Access] = Access.SCORE
    steps: ClassVar[int] = 20

    def check(self, oracle: Oracle) -> None:
        if not isinstance(self.particles, int) or self.particles < 2:
            raise ParameterError(f"particles is {self.particles!r}", where="Swarm", fix="give a whole number above 1")

    def init(self, oracle: Oracle) -> State:
        oracle.retire(stuck(oracle))
        region = oracle.region
        zero = torch.zeros_like(region.x.choice).unsqueeze(1).repeat(1, self.particles, 1)
        everyone = torch.ones(zero.shape[:2], dtype=torch.bool, device=zero.device)
        particles = mutated(oracle, zero, everyone)
        loss = population(oracle, particles)
        velocity = spread(oracle.noise, *zero.shape[1:]) * 2 - 1
        return State(particles, velocity, particles, loss)

    def step(self, state: State, oracle: Oracle) -> State:
        region, noise = oracle.region, oracle.noise
        size, slots = state.particles.shape[1:]
        progress = state.step / max(oracle.steps, 1)
        omega = HIGH - (HIGH - LOW) * progress
        leader = state.own_loss.argmax(1)[:, None, None].expand(-1, 1, slots)
        swarm = state.own.gather(1, leader).expand_as(state.own)
        x = state.particles
        agree = torch.where(state.own == x, 1.0, -1.0) + torch.where(swarm == x, 1.0, -1.0)
        velocity = omega * state.velocity + (1 - omega) * agree
        for best, chance in ((state.own, omega), (swarm, LOW + (HIGH - LOW) * progress)):
            turning = (noise.uniform((size,)) < chance).unsqueeze(-1)
            follow = spread(noise, size, slots) < torch.sigmoid(velocity)
            x = torch.where(turning & follow, best, x)
        changed = (x != 0).sum(-1)
        # A particle with too many words goes back to its own best.
        x = torch.where((changed <= region.limit.unsqueeze(1)).unsqueeze(-1), x, state.own)
        length = region.length.clamp_min(1).unsqueeze(1)
        chance = (1 - 2 * (x != 0).sum(-1) / length).clamp_min(0)
        x = mutated(oracle, x, noise.uniform((size,)) < chance)
        loss = population(oracle, x)
        better = loss > state.own_loss
        own = torch.where(better.unsqueeze(-1), x, state.own)
        return State(x, velocity, own, torch.where(better, loss, state.own_loss), state.step + 1)


def mutated(oracle: Oracle, members: Tensor, which: Tensor) -> Tensor:
    """Members (A, P, S) with one word substituted at random where `which` (A, P) says so and the limit leaves room."""
    region, noise = oracle.region, oracle.noise
    size, slots = members.shape[1:]
    if not slots:
        return members
    full = (members != 0).sum(-1, keepdim=True) >= region.limit[:, None, None]
    open_ = (region.size > 1).unsqueeze(1) & (~full | (members != 0))
    # The open slot with the largest of independent draws is a uniform choice.
    slot = spread(noise, size, slots).masked_fill(~open_, -1.0).argmax(-1, keepdim=True)
    options = (region.size.unsqueeze(1).expand_as(members).gather(2, slot)[..., 0] - 1).clamp_min(0)
    option = 1 + (noise.uniform((size,), torch.float64) * options).long().minimum((options - 1).clamp_min(0))
    allowed = (which & open_.gather(2, slot)[..., 0]).unsqueeze(-1)
    return torch.where(allowed, members.scatter(2, slot, option.unsqueeze(-1)), members)

"""Particle swarm search (Zang et al., arXiv 1910.12196) over the substitutions of any candidate source.

    perturb(x): of the words not replaced yet draw one with probability ∝ min(its number of substitutes, 10);
                ask about all of them; take the best if it raises the loss
    P particles x = perturb(the original) each; v_d ~ U(−V, V), V = 3, the same for all words d of a particle
    repeat, with ω and P_i from .8 to .2 and P_g from .2 to .8 over the run:
        v_d ← ω v_d + (1 − ω) [I(own best_d, x_d) + I(swarm's best_d, x_d)],  I = −V where equal, else V
        with probability P_i: x_d ← own best_d with probability σ(v_d), for every word d
        with probability P_g: x_d ← swarm's best_d with probability σ(v_d)
        ask about x
        with probability 1 − 2 · words replaced / words: x ← perturb(x)
        own and swarm's best ← those of the highest loss so far

It follows the authors' code: the paper prints I = 1 where equal, else −1, by which a particle would hardly take a word that it
lacks. It departs from both in:
- the loss is the log-odds, which ranks texts as the paper's probability does, and doesn't vanish when the victim is sure.
- the limits of the text space, where the paper has none: perturb takes the best feasible substitute, and a particle that moves
  out of them goes back to its own best. Where as many words are replaced as may be, perturb draws one of those.
- a search ends after 3 steps without a new text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmadv import Access, Attack, Oracle
from mmadv.errors import ParameterError
from mmadv_text.search import clean_loss, idled, perturbed, population, spread, stuck, within

HIGH, LOW = 0.8, 0.2
FASTEST = 3.0
"""V, of which σ is .95."""
MOST = 10
"""Substitutes of a word that count when one is drawn."""


@dataclass
class State:
    """Rows: the swarm of each text.

    Args:
        particles: (A, P, S).
        velocity: (A, P, S).
        own: (A, P, S) each one's best so far.
        own_loss: (A, P) its loss.
        idle: (A,) steps without a new text.
        step: how many there were.
    """

    particles: Tensor
    velocity: Tensor
    own: Tensor
    own_loss: Tensor
    idle: Tensor
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
        original = torch.zeros_like(oracle.region.x.choice).unsqueeze(1).repeat(1, self.particles, 1)
        loss = clean_loss(oracle).unsqueeze(1).expand(-1, self.particles)
        particles, loss = perturbed(oracle, original, loss, most=MOST)
        velocity = (oracle.noise.uniform((self.particles,)) * 2 - 1) * FASTEST
        idle = torch.zeros_like(oracle.region.limit)
        return State(particles, velocity.unsqueeze(-1).expand(particles.shape), particles, loss, idle)

    def step(self, state: State, oracle: Oracle) -> State:
        region, noise = oracle.region, oracle.noise
        size, slots = state.particles.shape[1:]
        before = oracle.ledger.queries.clone()
        progress = state.step / max(oracle.steps, 1)
        omega = HIGH - (HIGH - LOW) * progress
        leader = state.own_loss.argmax(1)[:, None, None].expand(-1, 1, slots)
        swarm = state.own.gather(1, leader).expand_as(state.own)
        x = state.particles
        pull = sum(torch.where(best == x, -FASTEST, FASTEST) for best in (state.own, swarm))
        velocity = omega * state.velocity + (1 - omega) * pull
        for best, chance in ((state.own, omega), (swarm, LOW + (HIGH - LOW) * progress)):
            turning = (noise.uniform((size,)) < chance).unsqueeze(-1)
            follow = spread(noise, size, slots) < torch.sigmoid(velocity)
            x = torch.where(turning & follow, best, x)
        x = within(oracle, x, state.own)
        loss = population(oracle, x)
        length = region.length.clamp_min(1).unsqueeze(1)
        chosen = noise.uniform((size,)) < 1 - 2 * (x != 0).sum(-1) / length
        x, loss = perturbed(oracle, x, loss, chosen, MOST)
        better = loss > state.own_loss
        own = torch.where(better.unsqueeze(-1), x, state.own)
        own_loss = torch.where(better, loss, state.own_loss)
        return State(x, velocity, own, own_loss, idled(oracle, before, state.idle), state.step + 1)

"""Planted adversarials: does an attack find what is known to be there? (law 9)

    h = what the victim's last linear layer reads, or its answer where it has none
    for each example x: points that stay right, x and draws from 0.9 ε and from the border; one more on the border, x + δ with |δ| = ε
    w: least squares tell x + δ from those that stay right
    b: nine tenths of the way to it from the nearest of them, and of 64 further draws from the border
    the planted victim says 1 where w · h(x') > b, and 0 elsewhere: x is right, and x + δ an adversarial within ε

All but the readout is the victim's own, so an attack that can't find these adversarials is blind to what the victim does with its
inputs, and finding none in the victim itself says nothing. Finding all of them proves nothing: the victim's own adversarials may be
harder to find, and what it does after that layer is not put to the test. Examples are left out whose x + δ can't be told apart.
This is the binarisation test of Zimmermann et al. (NeurIPS 2022, arXiv 2206.13991), with the readouts of all examples solved for
in closed form, and attacked in one batch.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmadv import rows
from mmadv.access import Access, Output
from mmadv.engine import solve
from mmadv.errors import ParameterError
from mmadv.noise import Noise
from mmadv.protocol import Attack
from mmadv.target import Target, rng_preserved
from mmadv.threat import Problem, ThreatModel

INSIDE = 0.9
"""Of ε, where half of the points that stay right are drawn."""
MOST = 32
"""Draws of each kind, for each example; with few features fewer, so that one more point can still be told apart."""
CLOSE = 0.9
"""Of the way from the nearest point that stays right to the planted one, where the answer changes."""
DRAWS = 64
"""Further draws from the border, none of which succeeds."""
RIDGE = 1e-4
"""Of the features' spread, added to it where readouts are solved for."""


class Features:
    """What a victim's last linear layer reads.

    Args:
        target: the victim; where it has no linear layer or is no module, its answers are the features.
        x: rows to find the layer with.
    """

    def __init__(self, target: Target, x: Any) -> None:
        self.target = target
        module = getattr(target, "module", None)
        linear = [part for part in module.modules() if isinstance(part, nn.Linear)] if module is not None else []
        called: list[nn.Linear] = []
        hooks = [part.register_forward_pre_hook(lambda part, _: called.append(part)) for part in linear]
        try:
            target(x)
        finally:
            for hook in hooks:
                hook.remove()
        self.layer = called[-1] if called else None

    def __call__(self, x: Any) -> Tensor:
        """(B, D) of B rows."""
        if self.layer is None:
            found = self.target(x)
        else:
            seen: list[Tensor] = []
            hook = self.layer.register_forward_pre_hook(
                lambda _, given, named: seen.append(given[0] if given else named["input"]), with_kwargs=True
            )
            try:
                self.target(x)
            finally:
                hook.remove()
            found = seen[-1]
        if len(found) != rows.count(x) or not found.is_floating_point():
            raise ParameterError(
                f"of {rows.count(x)} inputs the victim's readout sees {tuple(found.shape)} {found.dtype}",
                where="plant",
                fix="leave plant out: it needs a victim with a feature vector, or scores, for each input",
            )
        return found.flatten(1)


class Planted:
    """A victim with a readout for each example: class 1 is where its planted adversarial lies, and 0 all else.

    Two more classes always come last: some losses compare four. Which example a row belongs to is read off the row: it is the nearest of the clean ones.

    Args:
        features: of the victim.
        x: N clean rows.
        weights: (N, D) float64.
        bias: (N,) float64.
    """

    def __init__(self, features: Features, x: Any, weights: Tensor, bias: Tensor) -> None:
        self.features, self.clean = features, _flat(x)
        self.weights, self.bias = weights, bias
        own = features.target
        self.name, self.output = f"{own.name}, planted", Output.LOGITS
        self.access = Access.GRADIENT if own.access is Access.GRADIENT else Access.SCORE
        self.device, self.batch_size = own.device, own.batch_size

    def __call__(self, x: Any) -> Tensor:
        flat = _flat(x)
        width = max(flat.shape[1], self.clean.shape[1])  # waveforms are padded to the longest of a batch
        flat, clean = (nn.functional.pad(one, (0, width - one.shape[1])) for one in (flat.detach(), self.clean))
        # Not by a matrix product: far from 0 it loses the difference, and it is taken for large batches alone.
        row = torch.cdist(flat, clean, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
        lead = (self.features(x).double() * self.weights[row]).sum(1) - self.bias[row]
        last = -lead.abs() - 1
        return torch.stack([-lead, lead, last, last - 1], 1).float()

    @contextmanager
    def held(self) -> Iterator[None]:
        with self.features.target.held():
            yield

    def fingerprint(self) -> str:
        own = f"{self.features.target.fingerprint()}|{self.weights.tolist()}|{self.bias.tolist()}"
        return hashlib.sha256(own.encode()).hexdigest()


def search(problem: Problem, attack: Attack, most: int) -> tuple[int, int]:
    """Plant adversarials around examples, and look for them with an attack.

    Args:
        problem: of the victim itself; its budget is that of the search too.
        attack: on trial.
        most: examples to plant at.

    Returns:
        How many adversarials were planted, and how many of them the attack did not find.

    Raises:
        ParameterError: a victim without features, a space without a radius, or none that can be planted.

    Example:
        >>> from mmadv import BallSpace, ModuleTarget
        >>> from mmadv.search.pgd import PGD
        >>> victim, x = nn.Linear(400, 3).eval(), 0.2 + 0.6 * torch.rand(8, 400)
        >>> threat = ThreatModel(BallSpace("linf", 0.1))
        >>> problem = Problem(ModuleTarget(victim), threat, x, victim(x).argmax(1), torch.arange(8))
        >>> search(problem, PGD(), 8)
        (8, 0)
    """
    index = torch.arange(min(most, len(problem.y)))
    target = problem.target
    with torch.inference_mode(False), torch.no_grad(), rng_preserved(target.device, problem.seed), target.held():
        victim, x, ids = _planted(problem, index)
    if not len(ids):
        raise ParameterError(
            f"no adversarial can be planted: for none of {len(index)} examples do the victim's features tell a point on the "
            "border from all others",
            where="plant",
            fix="leave plant out, or give more examples or a larger ε",
        )
    threat = dataclasses.replace(problem.threat, goal=ThreatModel(problem.threat.space).goal)
    threat = dataclasses.replace(threat, access=min(threat.access, victim.access))
    posed = Problem(
        victim, threat, x, torch.zeros(len(ids), dtype=torch.int64), ids,
        seed=problem.seed, eot=problem.eot, deterministic=problem.deterministic,
    )  # fmt: skip
    ledger = solve(posed, attack)
    found = ledger.fooled
    if (
        attack.keeps == "nearest"
    ):  # looked for at any distance; what keeps to a radius has been judged, rounding and all
        found = found & (ledger.distance <= float(problem.threat.space.eps) * (1 + 1e-5))  # type: ignore[attr-defined]
    return len(ids), int((~found).sum())


def _planted(problem: Problem, index: Tensor) -> tuple[Planted, Any, Tensor]:
    """The planted victim, and the rows and ids of the examples that something is planted at."""
    target, space = problem.target, problem.threat.space
    radius = getattr(space, "eps", float("inf"))
    if not dataclasses.is_dataclass(space) or not 0 < radius < float("inf"):
        raise ParameterError(
            f"the radius is {radius:g}, and there is no border to plant at",
            where="plant",
            fix="give eps above 0, in a space of perturbations of that size",
        )
    if not next(rows.leaves(problem.x)).is_floating_point():
        raise ParameterError(
            "the inputs are no floating tensors, such as those of an environment that is played",
            where="plant",
            fix="leave plant out, or attack single observations",
        )
    x = rows.detached(rows.take(problem.x, index), target.device)
    ids = problem.ids[index].to(target.device)
    features = Features(target, rows.take(x, slice(0, 1)))
    size = target.batch_size
    clean = _asked(features, x, size)
    count = max(1, min(MOST, 3 * clean.shape[1] // 8))
    noise = Noise(~problem.seed, ids)  # not the attack's own stream, which would draw the very points
    region = space.around(x)
    narrow: Any = dataclasses.replace(space, eps=INSIDE * radius)
    inside = _asked(features, rows.fold(narrow.around(x).jitter(noise, count)), size).unflatten(0, (len(ids), count))
    others = [_asked(features, _border(region, x, noise), size) for _ in range(count)]
    spot = _border(region, x, noise)
    known = torch.cat([clean.unsqueeze(1), inside, torch.stack([*others, _asked(features, spot, size)], 1)], 1)
    draws = [_asked(features, _border(region, x, noise), size) for _ in range(DRAWS)]
    weights, bias = readouts(known.double(), torch.stack(draws, 1).double())
    victim = Planted(features, x, weights, bias)
    # Judged as the attack meets it: by answers, after rounding, and where rows may lie near to each other.
    usable = (_asked(victim, x, size).argmax(1) == 0) & (_asked(victim, spot, size).argmax(1) == 1)
    kept = usable.nonzero()[:, 0]
    x = rows.take(x, kept)
    return Planted(features, x, weights[kept], bias[kept]), x, ids[kept].cpu()


def readouts(known: Tensor, further: Tensor) -> tuple[Tensor, Tensor]:
    """For each example the direction that tells its last point from all others, by least squares with a ridge.

    Args:
        known: (N, P, D) float64 features of P points, the one to be told apart last.
        further: (N, M, D) of more points that it lies beyond, but isn't solved for: with D features few points can be told apart.

    Returns:
        (N, D) weights and (N,) bias, with the last point at 1 and, where it can be told apart, all others at -9 or below.

    Example:
        >>> known = torch.tensor([[[0.0, 0.0], [0.0, 1.0], [3.0, 0.0]]], dtype=torch.float64)
        >>> weights, bias = readouts(known, torch.tensor([[[1.5, 0.5]]], dtype=torch.float64))
        >>> [round(value, 3) for value in (known[0] @ weights[0] - bias[0]).tolist()]
        [-19.0, -19.0, 1.0]
    """
    apart = known - known.mean(1, keepdim=True)
    wanted = torch.zeros(known.shape[:2], dtype=known.dtype, device=known.device)
    wanted[:, -1] = 1
    wanted -= wanted.mean(1, keepdim=True)
    spread = apart @ apart.mT
    size = spread.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(known.dtype).tiny)
    ridge = RIDGE * size[:, None, None] * torch.eye(known.shape[1], dtype=known.dtype, device=known.device)
    weights = (apart.mT @ torch.linalg.solve(spread + ridge, wanted.unsqueeze(2))).squeeze(2)
    scores = (torch.cat([further, known], 1) @ weights.unsqueeze(2)).squeeze(2)
    nearest, last = scores[:, :-1].amax(1), scores[:, -1]
    gap = (1 - CLOSE) * (last - nearest).clamp_min(torch.finfo(torch.float32).tiny)
    return weights / gap.unsqueeze(1), (nearest + CLOSE * (last - nearest)) / gap


def _border(region: Any, x: Any, noise: Noise) -> Any:
    """A random point at the full radius for each row."""
    leaf = next(rows.leaves(x))
    return region.climb_(x, noise.normal(leaf.shape[1:], leaf.dtype), 1.0)


def _flat(x: Any) -> Tensor:
    return next(rows.leaves(x)).flatten(1).float()


def _asked(ask: Callable[[Any], Tensor], x: Any, size: int | None) -> Tensor:
    """What is said of rows, `size` of them at a time, which is what the victim takes."""
    total = rows.count(x)
    return torch.cat([ask(rows.take(x, slice(at, at + (size or total)))) for at in range(0, total, size or total)])

"""Small victims whose behaviour is known: closed-form ones to measure against the optimum, and broken ones to raise alarms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmadv import rows as row_axis

DUAL = {"linf": 1.0, "l2": 2.0, "l1": math.inf}
"""The order of the norm that gradients are measured in where perturbations are measured in the key."""


class Linear(nn.Module):
    """W x + b, computed as a sum over a fixed axis so that no row's answer depends on the others, bit by bit.

    Args:
        weight: (L, n).
        bias: (L,).

    Example:
        >>> Linear(torch.ones(2, 3), torch.zeros(2))(torch.ones(1, 1, 1, 3)).tolist()
        [[3.0, 3.0]]
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        # One product and one sum a class, each over a contiguous last axis: a matrix product would choose
        # its order of summation by the batch's size.
        return torch.stack([(flat * row).sum(1) for row in self.weight], 1) + self.bias

    def nearest(self, x: Tensor, y: Tensor, norm: str) -> Tensor:
        """(B,) the exact distance from x to the nearest other class, the box left out; 0 where x is already wrong.

        min over j≠y of (z_y − z_j) / ‖w_y − w_j‖*, with the dual norm: L1 for Linf, L2 for L2, Linf for L1.
        """
        with torch.no_grad():
            logits = self(x).double()
            weight = self.weight.double()
            gaps = logits.gather(1, y.unsqueeze(1)) - logits
            slopes = torch.linalg.vector_norm(weight[y].unsqueeze(1) - weight, DUAL[norm], dim=-1)
            return (gaps / slopes).scatter(1, y.unsqueeze(1), math.inf).amin(1).clamp_min(0)


def linear_victim(
    rows: int = 32, shape: Sequence[int] | None = None, features: int | None = None, classes: int = 2, seed: int = 0
) -> tuple[Linear, Tensor, Tensor]:
    """A linear victim with inputs well inside [0, 1], so that the box is out of reach.

    Args:
        rows: examples.
        shape: of one input, or
        features: the length of a flat one.
        classes: of the victim.
        seed: of weights and inputs.

    Returns:
        The victim, x (rows, *shape) and its own labels y (rows,).

    Example:
        >>> victim, x, y = linear_victim(rows=4, features=6)
        >>> bool((victim(x).argmax(1) == y).all())
        True
    """
    generator = torch.Generator().manual_seed(seed)
    shape = tuple(shape or (features or 16,))
    n = math.prod(shape)
    victim = Linear(torch.randn(classes, n, generator=generator) / n**0.5, torch.zeros(classes)).eval()
    x = 0.35 + 0.3 * torch.rand(rows, *shape, generator=generator)
    with torch.no_grad():
        # Centre the classes on these inputs, so that none is empty.
        victim.bias.sub_(victim(x).mean(0))
        y = victim(x).argmax(1)
    return victim, x, y


class Stage(NamedTuple):
    """A victim, examples that it gets right, and a radius that means something to them.

    Args:
        victim: what is attacked.
        x: clean rows.
        y: (B,) the right labels.
        radius: in the threat model's unit; of what is said where the stage is made.
    """

    victim: Any
    x: Any
    y: Tensor
    radius: float


def duel(norm: str, rows: int = 6, shape: Sequence[int] = (16,), classes: int = 4, seed: int = 0) -> Stage:
    """A linear victim for whom every row's nearest adversarial is equally far: at the stage's radius.

    Two classes compete; the others lie between them in direction and far behind, so that losses that need four
    classes work and have the same optimum. The winner leads by 4, as sure as trained victims are.

    Args:
        norm: `linf`, `l2` or `l1`.
        rows: examples.
        shape: of one input.
        classes: of the victim, two or more.
        seed: of weights and inputs.

    Example:
        >>> victim, x, y, radius = duel("l2")
        >>> torch.allclose(victim.nearest(x, y, "l2"), torch.tensor(radius).double())
        True
    """
    victim, x, _ = linear_victim(rows, shape, seed=seed)
    with torch.no_grad():
        slope = victim.weight[0] - victim.weight[1]
        # In L1 the optimum moves one entry alone, and must not reach the edge of the box.
        lead = 0.25 * float(slope.abs().max())
        y = torch.arange(rows) % 2
        wanted = torch.where(y == 0, lead, -lead)
        flat = x.flatten(1)
        at = flat @ slope + victim.bias[0] - victim.bias[1]
        x = (flat + ((wanted - at) / slope.square().sum()).unsqueeze(1) * slope).reshape(x.shape)
        weight, bias = victim.weight * (4 / lead), victim.bias * (4 / lead)
        behind = classes - 2
        weight = torch.cat([weight, weight.mean(0, keepdim=True).repeat(behind, 1)])
        bias = torch.cat([bias, bias.mean() - 16 - torch.arange(behind)])
        victim = Linear(weight, bias).eval()
    return Stage(victim, x, y, float(victim.nearest(x, y, norm).median()))


class Bent(nn.Module):
    """A row-independent network of one hidden layer with slopes 1 and 0.2; no gradient of it is ever zero.

    Args:
        hidden: its first layer.
        head: its second.

    Example:
        >>> Bent(linear_victim(classes=4)[0], linear_victim(features=4, classes=3)[0])(torch.rand(2, 16)).shape
        torch.Size([2, 3])
    """

    def __init__(self, hidden: Linear, head: Linear) -> None:
        super().__init__()
        self.hidden, self.head = hidden, head
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.hidden(x)
        return self.head(torch.maximum(inner, 0.2 * inner))


def crowd(norm: str, rows: int = 8, shape: Sequence[int] = (16,), classes: int = 5, seed: int = 0) -> Stage:
    """A non-linear, row-independent victim with rows at many distances; the radius is their median one, to first order.

    Example:
        >>> victim, x, y, radius = crowd("linf")
        >>> bool((victim(x).argmax(1) == y).all()), radius > 0
        (True, True)
    """
    generator = torch.Generator().manual_seed(seed)
    hidden, _, _ = linear_victim(rows, shape, classes=8, seed=seed)
    x = 0.2 + 0.6 * torch.rand(4 * rows, *shape, generator=generator)
    head = Linear(4 * torch.randn(classes, 8, generator=generator), torch.zeros(classes))
    victim = Bent(hidden, head)
    with torch.no_grad():
        head.bias.sub_(victim(x).mean(0))
    inputs = x.clone().requires_grad_()
    top = victim(inputs).topk(2, dim=1)
    lead = top.values[:, 0] - top.values[:, 1]
    slope = torch.autograd.grad(lead.sum(), inputs)[0].flatten(1)
    far = lead.detach() / torch.linalg.vector_norm(slope, DUAL[norm], dim=1)
    kept = far.argsort()[-2 * rows :: 2].sort().values  # half of them stand on the boundary as good as
    return Stage(victim, x[kept], top.indices[kept, 0], float(far[kept].quantile(0.5)))


def corners(norm: str, rows: int = 6, shape: Sequence[int] = (16,), seed: int = 0) -> Stage:
    """A linear victim on inputs of exactly 0 and 1: at the radius each row can be fooled, the box's edges heeded.

    Example:
        >>> _, x, _, _ = corners("linf")
        >>> sorted(set(x.flatten().tolist()))
        [0.0, 1.0]
    """
    generator = torch.Generator().manual_seed(seed)
    victim, _, _ = linear_victim(rows, shape, classes=4, seed=seed)
    x = torch.randint(0, 2, (16 * rows, *shape), generator=generator).float()
    with torch.no_grad():
        slope = victim.weight[0] - victim.weight[1]
        at, order = (x.flatten(1) @ slope).sort()
        x = x[order[-2 * rows : -rows]]  # rows of one class, near each other
        victim.weight[2:] = victim.weight[:2].mean(0)
        victim.bias.copy_(torch.tensor([0.0, float(at[-2 * rows]) - 0.05, -16.0, -17.0]))
        flat = x.flatten(1)
        lead = flat @ slope - victim.bias[1]
        open_ways = torch.where((slope > 0) == (flat == 1), slope, 0.0)
        radius = (lead / torch.linalg.vector_norm(open_ways, DUAL[norm], dim=1)).amax()
    return Stage(victim, x, torch.zeros(rows, dtype=torch.int64), float(radius))


def _same(rows: Any) -> Any:
    return rows


class Altered(nn.Module):
    """A victim with something done to its inputs or to its answers.

    Args:
        victim: what answers.
        before: of its inputs.
        after: of its answers.

    Example:
        >>> shifted = Altered(linear_victim()[0], after=lambda z: z - 1000)
        >>> bool(shifted(torch.rand(1, 16)).max() < -900)
        True
    """

    def __init__(
        self, victim: nn.Module, before: Callable[[Any], Any] = _same, after: Callable[[Tensor], Tensor] = _same
    ) -> None:
        super().__init__()
        self.victim, self.before, self.after = victim, before, after
        self.eval()

    def forward(self, x: Any) -> Tensor:
        return self.after(self.victim(self.before(x)))


def masked(victim: nn.Module, levels: int = 24) -> Altered:
    """A victim that rounds its inputs, so that every gradient is exactly zero."""
    return Altered(victim, before=lambda x: (x * levels).round() / levels)


def noisy(victim: nn.Module, scale: float = 0.1) -> Altered:
    """A victim that adds noise of torch's global generator to its answers."""
    return Altered(victim, after=lambda z: z + scale * torch.randn_like(z))


def probable(victim: nn.Module) -> Altered:
    """A victim that answers probabilities."""
    return Altered(victim, after=lambda z: z.softmax(-1))


def silent(victim: nn.Module) -> Altered:
    """A victim that answers NaN."""
    return Altered(victim, after=lambda z: z * float("nan"))


def constant(victim: nn.Module, lead: float = 1.0) -> Altered:
    """A victim that always answers class 0, which leads by `lead`; its gradient is zero."""

    def answer(z: Tensor) -> Tensor:
        flat = 0 * z
        return torch.cat([flat[:, :1] + lead, flat[:, 1:]], 1)

    return Altered(victim, after=answer)


class Brittle(nn.Module):
    """A victim that answers NaN to everything but the clean rows.

    Args:
        victim: what answers otherwise.
        x: the clean rows.
    """

    def __init__(self, victim: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.victim = victim
        self.register_buffer("x", x.detach().flatten(1).clone())
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        known = (x.flatten(1).unsqueeze(1) == self.get_buffer("x")).all(2).any(1)
        return torch.where(known.unsqueeze(1), self.victim(x), float("nan"))


class Normed(nn.Module):
    """A victim behind batch normalisation, in eval mode unless `training` is true: then each pass moves the buffers.

    Args:
        victim: what answers.
        features: the length of a flat input.
        training: normalise by the batch.
    """

    def __init__(self, victim: nn.Module, features: int, training: bool = False) -> None:
        super().__init__()
        self.norm, self.victim, self.moving = nn.BatchNorm1d(features), victim, training
        self.asked: Tensor
        self.register_buffer("asked", torch.tensor(0))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        if not self.moving:
            return self.victim(self.norm(flat).reshape(x.shape))
        self.asked = self.asked + 1  # another tensor, where batch normalisation writes to its own
        self.norm.train()
        twice = self.norm(torch.cat([flat, flat]))  # it refuses a single row
        return self.victim(twice[: len(x)].reshape(x.shape))


class Failing(nn.Module):
    """A victim that raises.

    Args:
        victim: what answers until then.
        calls: it answers.
        error: what it raises; by default a `RuntimeError`.
        above: raise only for batches of more rows, and never because of calls.
    """

    def __init__(
        self, victim: nn.Module, calls: int = 0, error: BaseException | None = None, above: int | None = None
    ) -> None:
        super().__init__()
        self.victim, self.calls, self.above = victim, calls, above
        self.error = error or RuntimeError("the victim raises on purpose")
        self.asked = 0
        self.eval()

    def forward(self, x: Any) -> Tensor:
        self.asked += 1
        if row_axis.count(x) > self.above if self.above is not None else self.asked > self.calls:
            raise self.error
        return self.victim(x)


def _tally(name: str) -> Any:
    """A number that a victim counts and does not consist of, so that no fingerprint tells it."""
    return property(lambda self: self.__dict__[name], lambda self, value: self.__dict__.update({name: value}))


class Counting(nn.Module):
    """A victim that counts the rows it is asked about, forwards and backwards, apart from the engine.

    Args:
        victim: what answers.

    Example:
        >>> counting = Counting(linear_victim()[0])
        >>> _ = counting(torch.rand(3, 16)); counting.forwards
        3
    """

    forwards: int = _tally("_forwards")
    backwards: int = _tally("_backwards")

    def __init__(self, victim: nn.Module) -> None:
        super().__init__()
        self.victim = victim
        self.forwards = self.backwards = 0
        self.eval()

    def forward(self, x: Any) -> Tensor:
        self.forwards += row_axis.count(x)
        answer = self.victim(x)
        if answer.requires_grad:
            answer.register_hook(self._backward)
        return answer

    def _backward(self, grad: Tensor) -> None:
        self.backwards += len(grad)

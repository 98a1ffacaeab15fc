"""The floor: each attack as the shortest loop that a reader of its paper would write, and PGD with an active set."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import CW_CONST, CW_LR, CW_ROUNDS, step_size


def pgd_linf(
    model: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int, random_start: bool = True, **_: object
) -> Tensor:
    """The ten lines that the cost figures are ratios to, as one first writes them."""
    step = step_size(eps, steps)
    delta = torch.empty_like(x).uniform_(-eps, eps) if random_start else torch.zeros_like(x)
    for _ in range(steps):
        delta.requires_grad_()
        loss = F.cross_entropy(model(x + delta), y)
        (grad,) = torch.autograd.grad(loss, delta)
        delta = (delta.detach() + step * grad.sign()).clamp(-eps, eps)
        delta = (x + delta).clamp(0, 1) - x
    return x + delta


def pgd_linf_in_place(
    model: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int, random_start: bool = True, **_: object
) -> Tensor:
    """The same ten lines without a new tensor for every operation: half the time where the victim costs nothing."""
    step = step_size(eps, steps)
    delta = torch.empty_like(x).uniform_(-eps, eps) if random_start else torch.zeros_like(x)
    for _ in range(steps):
        delta.requires_grad_()
        loss = F.cross_entropy(model(x + delta), y)
        (grad,) = torch.autograd.grad(loss, delta)
        delta = delta.detach().add_(grad.sign_(), alpha=step).clamp_(-eps, eps)
        delta = delta.add_(x).clamp_(0, 1).sub_(x)
    return x + delta


def pgd(model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, steps: int, **_: object) -> Tensor:
    step = step_size(eps, steps)
    delta = _start(x, eps, norm)
    for _ in range(steps):
        grad = _gradient(model, x + delta, y)
        delta = _project(delta + step * _ascend(grad, norm), eps, norm)
        delta = (x + delta).clamp(0, 1) - x
    return x + delta


def fgsm(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, **_: object) -> Tensor:
    return (x + eps * _gradient(model, x, y).sign()).clamp(0, 1)


def mifgsm(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int, **_: object) -> Tensor:
    adv, momentum = x, torch.zeros_like(x)
    for _ in range(steps):
        grad = _gradient(model, adv, y)
        momentum = momentum + grad / grad.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-12)
        adv = adv + step_size(eps, steps) * momentum.sign()
        adv = (x + (adv - x).clamp(-eps, eps)).clamp(0, 1)
    return adv


def pgd_active(model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, steps: int, **_: object) -> Tensor:
    """PGD that stops paying for a row once it is fooled: the floor of passes per sample."""
    step, best = step_size(eps, steps), x.clone()
    rows, x, delta = torch.arange(len(x)), x, _start(x, eps, norm)
    for i in range(steps + 1):
        adv = (x + delta).clamp(0, 1).requires_grad_(i < steps)
        logits = model(adv)
        best[rows] = adv.detach()
        keep = logits.argmax(1) == y
        if i == steps or not keep.any():
            break
        (grad,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), adv)
        rows, x, y = rows[keep], x[keep], y[keep]
        delta = _project((adv.detach()[keep] - x) + step * _ascend(grad[keep], norm), eps, norm)
    return best


def ddn(model: nn.Module, x: Tensor, y: Tensor, *, steps: int, **_: object) -> Tensor:
    delta, radius = torch.zeros_like(x), torch.ones(len(x), 1, 1, 1)
    best, best_norm = x.clone(), torch.full((len(x), 1, 1, 1), torch.inf)
    for i in range(steps):
        adv = (x + delta).requires_grad_()
        logits = model(adv)
        (grad,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), adv)
        hit, norm = (logits.argmax(1) != y)[:, None, None, None], _norm(delta)
        better = hit & (norm < best_norm)
        best, best_norm = torch.where(better, adv.detach(), best), torch.where(better, norm, best_norm)
        rate = 0.01 + 0.99 * (1 + torch.cos(torch.tensor(torch.pi * i / steps))) / 2
        radius = radius * torch.where(hit, 0.95, 1.05)
        delta = delta + rate * grad / _norm(grad)
        delta = (x + delta * radius / _norm(delta)).clamp(0, 1) - x
    return best


def cw(model: nn.Module, x: Tensor, y: Tensor, *, steps: int, **_: object) -> Tensor:
    shape, true = (len(x), 1, 1, 1), F.one_hot(y, model(x[:1]).shape[1]).bool()
    w0, c, low, high = ((2 * x - 1) * (1 - 1e-6)).atanh(), *(torch.full(shape, v) for v in (CW_CONST, 0.0, torch.inf))
    best, best_norm = x.clone(), torch.full(shape, torch.inf)
    for _ in range(CW_ROUNDS):
        w = w0.clone().requires_grad_()
        adam, found = torch.optim.Adam([w], CW_LR), torch.zeros(shape, dtype=torch.bool)
        for _ in range(steps):
            adv = (w.tanh() + 1) / 2
            logits, norm = model(adv), _norm(adv - x)
            margin = logits[true] - logits.masked_fill(true, -torch.inf).amax(1)
            (w.grad,) = torch.autograd.grad((norm.square().flatten() + c.flatten() * margin.clamp(min=0)).sum(), w)
            hit = (margin < 0).reshape(shape)
            better, found = hit & (norm < best_norm), found | hit
            best, best_norm = torch.where(better, adv, best).detach(), torch.where(better, norm, best_norm).detach()
            adam.step()
        low, high = torch.where(found, low, c), torch.where(found, c, high)
        c = torch.where(high.isinf(), c * 10, (low + high) / 2)
    return best


def square(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int, **_: object) -> Tensor:
    """Square in Linf on the rows that still stand; one place and size of the square for all rows."""
    b, c, h, w = x.shape
    best = (x + eps * (torch.rand(b, c, 1, w) < 0.5).float().mul(2).sub(1)).clamp(0, 1)
    margin = _margin(model, best, y)
    marks = torch.tensor([10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000])
    for i in range(1, steps):
        rows = (margin > 0).nonzero()[:, 0]
        if not len(rows):
            break
        share = 0.8 / 2 ** int((marks < i / steps * 10_000).sum())
        side = max(1, min(h, w, round((share * h * w) ** 0.5)))
        top, left = (int(torch.randint(0, n - side + 1, ())) for n in (h, w))
        adv = best[rows]
        sign = (torch.rand(len(rows), c, 1, 1) < 0.5).float().mul(2).sub(1)
        window = (..., slice(top, top + side), slice(left, left + side))
        adv[window] = (x[rows][window] + eps * sign).clamp(0, 1)
        tried = _margin(model, adv, y[rows])
        better = tried < margin[rows]
        best[rows[better]], margin[rows[better]] = adv[better], tried[better]
    return best


def _gradient(model: nn.Module, adv: Tensor, y: Tensor) -> Tensor:
    adv = adv.detach().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(adv), y, reduction="sum"), adv)[0]


@torch.no_grad()
def _margin(model: nn.Module, adv: Tensor, y: Tensor) -> Tensor:
    logits = model(adv)
    true = F.one_hot(y, logits.shape[1]).bool()
    return logits[true] - logits.masked_fill(true, -torch.inf).amax(1)


def _norm(delta: Tensor) -> Tensor:
    return delta.square().sum((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)


def _start(x: Tensor, eps: float, norm: str) -> Tensor:
    if norm == "linf":
        return torch.empty_like(x).uniform_(-eps, eps)  # the same draws as the ten lines above
    return _project(torch.randn_like(x) * eps, eps, norm)


def _ascend(grad: Tensor, norm: str) -> Tensor:
    """The unit step of steepest ascent; in L1 spread over the largest 1 % of the pixels."""
    if norm == "linf":
        return grad.sign()
    if norm == "l2":
        return grad / _norm(grad)
    flat = grad.flatten(1)
    k = max(1, flat.shape[1] // 100)
    index = flat.abs().topk(k).indices
    return torch.zeros_like(flat).scatter(1, index, flat.gather(1, index).sign() / k).view_as(grad)


def _project(delta: Tensor, eps: float, norm: str) -> Tensor:
    if norm == "linf":
        return delta.clamp(-eps, eps)
    if norm == "l2":
        return delta * (eps / _norm(delta)).clamp(max=1)
    size = delta.abs().flatten(1)  # Duchi et al. 2008
    sums = (top := size.sort(descending=True).values).cumsum(1) - eps
    rank = torch.arange(1, size.shape[1] + 1)
    count = (top * rank > sums).sum(1, keepdim=True).clamp(min=1)
    shrink = (sums.gather(1, count - 1) / count).clamp(min=0)
    return delta.sign() * (size - shrink).clamp(min=0).view_as(delta)


ATTACKS = {
    "fgsm-linf": fgsm,
    "pgd-linf": pgd_linf,
    "pgd-l2": pgd,
    "pgd-l1": pgd,
    "mifgsm-linf": mifgsm,
    "square-linf": square,
    "cw-l2": cw,
    "ddn-l2": ddn,
}
ACTIVE = {"pgd-linf": pgd_active, "pgd-l2": pgd_active, "pgd-l1": pgd_active}

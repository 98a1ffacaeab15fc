"""foolbox 3.3.4."""

from __future__ import annotations

import foolbox as fb
import torch
from foolbox import attacks as fa
from torch import Tensor, nn

from . import CW_CONST, CW_LR, CW_ROUNDS, step_size


def _run(attack: fa.Attack, model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """`run` is the attack alone; `__call__` would add a forward that only judges it."""
    target, criterion = fb.PyTorchModel(model, bounds=(0, 1), device=x.device), fb.criteria.Misclassification(y)
    return attack.run(target, x, criterion, **({} if eps == torch.inf else {"epsilon": eps}))


def fgsm(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, **_: object) -> Tensor:
    return _run(fa.LinfFastGradientAttack(), model, x, y, eps)


def pgd(model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, steps: int, **_: object) -> Tensor:
    if norm == "l1":
        # Its L1 PGD only rescales and is far weaker than this one, whose projection in turn pushes rows out of the
        # ball: from zero, with steps that cannot add up to ε, it is never called.
        sparse = fa.SparseL1DescentAttack(abs_stepsize=0.999 * eps / steps, steps=steps)
        return _run(sparse, model, x, y, eps)
    kind = {"linf": fa.LinfProjectedGradientDescentAttack, "l2": fa.L2ProjectedGradientDescentAttack}[norm]
    return _run(kind(abs_stepsize=step_size(eps, steps), steps=steps, random_start=True), model, x, y, eps)


def mifgsm(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int, **_: object) -> Tensor:
    kind = fa.LinfMomentumIterativeFastGradientMethod
    return _run(kind(abs_stepsize=step_size(eps, steps), steps=steps), model, x, y, eps)


def cw(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int, **_: object) -> Tensor:
    attack = fa.L2CarliniWagnerAttack(CW_ROUNDS, steps, stepsize=CW_LR, initial_const=CW_CONST)
    return _run(attack, model, x, y, eps)


def ddn(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int, **_: object) -> Tensor:
    return _run(fa.DDNAttack(steps=steps), model, x, y, eps)


ATTACKS = {
    "fgsm-linf": fgsm,
    "pgd-linf": pgd,
    "pgd-l2": pgd,
    "pgd-l1": pgd,
    "mifgsm-linf": mifgsm,
    "cw-l2": cw,
    "ddn-l2": ddn,
}

"""adversarial-robustness-toolbox 1.20.1."""

from __future__ import annotations

import numpy as np
import torch
from art.attacks import evasion
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from . import CW_CONST, CW_ROUNDS, step_size

_NORMS = {"linf": np.inf, "l2": 2, "l1": 1}


def _classifier(model: nn.Module, x: Tensor) -> PyTorchClassifier:
    with torch.no_grad():
        classes = getattr(model, "model", model)(x[:1]).shape[1]  # past the counter: not the attack's query
    return PyTorchClassifier(model, nn.CrossEntropyLoss(), x.shape[1:], classes, clip_values=(0.0, 1.0))


def _run(kind: type, model: nn.Module, x: Tensor, y: Tensor, **kw: object) -> Tensor:
    attack = kind(_classifier(model, x), batch_size=len(x), verbose=False, **kw)
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def fgsm(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, **_: object) -> Tensor:
    attack = evasion.FastGradientMethod(_classifier(model, x), eps=eps, batch_size=len(x))
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def pgd(model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, steps: int, **_: object) -> Tensor:
    return _run(
        evasion.ProjectedGradientDescentPyTorch, model, x, y,
        norm=_NORMS[norm], eps=eps, eps_step=step_size(eps, steps), max_iter=steps, num_random_init=1,
    )  # fmt: skip


def mifgsm(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int, **_: object) -> Tensor:
    kind = evasion.MomentumIterativeMethod
    return _run(kind, model, x, y, eps=eps, eps_step=step_size(eps, steps), max_iter=steps)


def _apgd(norm: str, eps: float, steps: int, loss: str) -> dict[str, object]:
    return {
        "norm": _NORMS[norm], "eps": eps, "eps_step": 2 * eps, "max_iter": steps, "nb_random_init": 1,
        "loss_type": loss,
    }  # fmt: skip


def apgd_ce(model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, steps: int, **_: object) -> Tensor:
    return _run(evasion.AutoProjectedGradientDescent, model, x, y, **_apgd(norm, eps, steps, "cross_entropy"))


def apgd_dlr(model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, steps: int, **_: object) -> Tensor:
    return _run(evasion.AutoProjectedGradientDescent, model, x, y, **_apgd(norm, eps, steps, "difference_logits_ratio"))


def apgd_t(model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, steps: int, **_: object) -> Tensor:
    """What ART's AutoAttack does with `targeted=True`: one target after the other, on the rows that still stand."""
    settings, adv = _apgd(norm, eps, steps, "difference_logits_ratio"), x.clone()
    with torch.no_grad():
        logits = model(x)
    rows = (logits.argmax(1) == y).nonzero()[:, 0]
    others = logits.scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)[:, :-1]
    for target in others.T:
        if not len(rows):
            break
        tried = _run(evasion.AutoProjectedGradientDescent, model, x[rows], target[rows], targeted=True, **settings)
        with torch.no_grad():
            hit = model(tried).argmax(1) != y[rows]
        adv[rows[hit]], rows = tried[hit], rows[~hit]
    return adv


def square(model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, steps: int, **_: object) -> Tensor:
    return _run(evasion.SquareAttack, model, x, y, norm=_NORMS[norm], eps=eps, max_iter=steps)


def suite(model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, **_: object) -> Tensor:
    """AutoAttack as the library sets it: 5 × 100 steps of APGD with each loss, DeepFool, 5 × 5,000 queries of Square."""
    attack = evasion.AutoAttack(_classifier(model, x), norm=_NORMS[norm], eps=eps, eps_step=2 * eps, batch_size=len(x))
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def cw(model: nn.Module, x: Tensor, y: Tensor, *, steps: int, **_: object) -> Tensor:
    # No Adam but a line search: the rate is only its first guess.
    return _run(
        evasion.CarliniL2Method, model, x, y,
        learning_rate=0.01, binary_search_steps=CW_ROUNDS, max_iter=steps, initial_const=CW_CONST,
    )  # fmt: skip


ATTACKS = {
    "fgsm-linf": fgsm,
    "pgd-linf": pgd,
    "pgd-l2": pgd,
    "pgd-l1": pgd,
    "mifgsm-linf": mifgsm,
    "apgd-ce-linf": apgd_ce,
    "apgd-ce-l2": apgd_ce,
    "apgd-ce-l1": apgd_ce,
    "apgd-dlr-linf": apgd_dlr,
    "apgd-t-linf": apgd_t,
    "square-linf": square,
    "square-l2": square,
    "suite-linf": suite,
    "suite-l2": suite,
    "cw-l2": cw,
}

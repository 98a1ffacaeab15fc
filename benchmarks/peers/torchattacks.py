"""torchattacks 3.5.1."""

from __future__ import annotations

import contextlib
import io

import torchattacks as ta
from torch import Tensor, nn

from . import CW_ROUNDS, step_size

_NORMS = {"linf": "Linf", "l2": "L2"}


def _run(attack: ta.attack.Attack, x: Tensor, y: Tensor) -> Tensor:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its mode
        return attack(x, y)


def fgsm(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, **_: object) -> Tensor:
    return _run(ta.FGSM(model, eps=eps), x, y)


def pgd(model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, steps: int, **_: object) -> Tensor:
    kind = {"linf": ta.PGD, "l2": ta.PGDL2}[norm]
    return _run(kind(model, eps=eps, alpha=step_size(eps, steps), steps=steps, random_start=True), x, y)


def mifgsm(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int, **_: object) -> Tensor:
    return _run(ta.MIFGSM(model, eps=eps, alpha=step_size(eps, steps), steps=steps), x, y)


def apgd(
    model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, steps: int, seed: int, loss: str = "ce"
) -> Tensor:
    return _run(ta.APGD(model, norm=_NORMS[norm], eps=eps, steps=steps, seed=seed, loss=loss), x, y)


def apgd_dlr(model: nn.Module, x: Tensor, y: Tensor, **kw: object) -> Tensor:
    return apgd(model, x, y, loss="dlr", **kw)


def apgd_t(model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, steps: int, seed: int) -> Tensor:
    return _run(ta.APGDT(model, norm=_NORMS[norm], eps=eps, steps=steps, seed=seed, n_classes=10), x, y)


def square(model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, steps: int, seed: int) -> Tensor:
    return _run(ta.Square(model, norm=_NORMS[norm], eps=eps, n_queries=steps, seed=seed), x, y)


def suite(model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, seed: int, **_: object) -> Tensor:
    """AutoAttack's standard version as the library sets it: 10 steps of APGD and of FAB, 5,000 queries of Square."""
    return _run(ta.AutoAttack(model, norm=_NORMS[norm], eps=eps, version="standard", n_classes=10, seed=seed), x, y)


def cw(model: nn.Module, x: Tensor, y: Tensor, *, steps: int, **_: object) -> Tensor:
    # It has no search for c: it gets all rounds' steps at once, at the c that its documentation advises and at the
    # rate that served it best.
    return _run(ta.CW(model, c=1, steps=steps * CW_ROUNDS, lr=0.05), x, y)


ATTACKS = {
    "fgsm-linf": fgsm,
    "pgd-linf": pgd,
    "pgd-l2": pgd,
    "mifgsm-linf": mifgsm,
    "apgd-ce-linf": apgd,
    "apgd-ce-l2": apgd,
    "apgd-dlr-linf": apgd_dlr,
    "apgd-t-linf": apgd_t,
    "square-linf": square,
    "square-l2": square,
    "suite-linf": suite,
    "suite-l2": suite,
    "cw-l2": cw,
}

"""adv-lib (adversarial-library) 0.2.8."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys

from torch import Tensor, nn

from . import CW_CONST, CW_LR, CW_ROUNDS, step_size

if importlib.util.find_spec("visdom") is None:  # it imports the plotting server that it only needs for callbacks
    sys.modules["visdom"] = importlib.util.module_from_spec(importlib.machinery.ModuleSpec("visdom", None))

from adv_lib import attacks as al

_NORMS = {"linf": float("inf"), "l2": 2, "l1": 1}


def pgd(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int, **_: object) -> Tensor:
    return al.pgd_linf(model, x, y, eps, steps=steps, absolute_step_size=step_size(eps, steps))


def apgd(
    model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, steps: int, loss: str = "ce", **_: object
) -> Tensor:
    # In L1 the three phases of shrinking ε are the paper's setting (arXiv 2103.01208).
    return al.apgd(
        model, x, y, eps, _NORMS[norm], n_iter=steps, loss_function=loss, use_large_reps=norm == "l1"
    )  # fmt: skip


def apgd_dlr(model: nn.Module, x: Tensor, y: Tensor, **kw: object) -> Tensor:
    return apgd(model, x, y, loss="dlr", **kw)


def apgd_t(model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, steps: int, **_: object) -> Tensor:
    return al.apgd_targeted(model, x, y, eps, _NORMS[norm], n_iter=steps)


def cw(model: nn.Module, x: Tensor, y: Tensor, *, steps: int, **_: object) -> Tensor:
    return al.carlini_wagner_l2(
        model, x, y, learning_rate=CW_LR, initial_const=CW_CONST, binary_search_steps=CW_ROUNDS, max_iterations=steps
    )


def ddn(model: nn.Module, x: Tensor, y: Tensor, *, steps: int, **_: object) -> Tensor:
    return al.ddn(model, x, y, steps=steps, levels=None)  # nobody else rounds to 8 bits either


ATTACKS = {
    "pgd-linf": pgd,
    "apgd-ce-linf": apgd,
    "apgd-ce-l2": apgd,
    "apgd-ce-l1": apgd,
    "apgd-dlr-linf": apgd_dlr,
    "apgd-t-linf": apgd_t,
    "cw-l2": cw,
    "ddn-l2": ddn,
}

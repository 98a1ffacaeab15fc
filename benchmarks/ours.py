"""mmadv itself, behind the peers' signature."""

from __future__ import annotations

from typing import Any

import torch
from peers import CW_ROUNDS, step_size
from torch import Tensor, nn

import mmadv
from mmadv.search.pgd import PGD


def _attack(name: str, **fixed: Any):
    def run(
        model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, steps: int, seed: int, **kw: Any
    ) -> Tensor:
        if eps != float("inf"):
            kw["eps"] = eps
        if name == "image.square":
            kw["queries"] = steps
        elif name == "image.suite":
            kw["ascent"] = steps
        elif name != "image.fgsm":
            kw["steps"] = steps
        return mmadv.attack(model, x, y, name, norm=norm, seed=seed, **fixed, **kw).adv

    return run


def engine_pgd(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, steps: int, **_: Any) -> Tensor:
    """PGD by `solve` alone, without early stop: what the oracle and the ledger cost over a bare loop."""
    threat = mmadv.ThreatModel(mmadv.BallSpace("linf", eps), budget=mmadv.Budget(steps=steps))
    problem = mmadv.Problem(mmadv.ModuleTarget(model), threat, x, y, torch.arange(len(x)))
    return mmadv.solve(problem, PGD(lr=step_size(eps, steps) / eps, random_start=False), early_stop=False).adv


pgd = _attack("image.pgd")
fgsm = _attack("image.fgsm")
mifgsm = _attack("image.mifgsm")
square = _attack("image.square")
suite = _attack("image.suite")
cw = _attack("image.cw", rounds=CW_ROUNDS)  # its step and first c are its own estimates

ATTACKS = {
    "fgsm-linf": fgsm,
    "pgd-linf": pgd,
    "pgd-l2": pgd,
    "pgd-l1": pgd,
    "mifgsm-linf": mifgsm,
    "apgd-ce-linf": _attack("image.apgd", loss="ce"),
    "apgd-ce-l2": _attack("image.apgd", loss="ce"),
    "apgd-dlr-linf": _attack("image.apgd", loss="dlr"),
    "apgd-t-linf": _attack("image.apgd", loss="dlr_targeted"),
    "square-linf": square,
    "square-l2": square,
    "suite-linf": suite,
    "suite-l2": suite,
    "cw-l2": cw,
    "ddn-l2": _attack("image.ddn"),
}

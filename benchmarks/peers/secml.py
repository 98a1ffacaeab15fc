"""secml-torch 1.5: its own ("native") implementations; its other backends are foolbox and adv-lib again."""

from __future__ import annotations

from secmlt.adv.backends import Backends
from secmlt.adv.evasion.ddn import DDN
from secmlt.adv.evasion.pgd import PGD
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from . import advlib as _stand_ins  # noqa: F401  (secml imports adv-lib where it finds it)
from . import step_size


def _run(attack: object, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    loader = DataLoader(TensorDataset(x, y), batch_size=len(x))
    return attack(model, loader).dataset.tensors[0].detach()


def pgd(model: nn.Module, x: Tensor, y: Tensor, *, norm: str, eps: float, steps: int, **_: object) -> Tensor:
    attack = PGD(norm, eps, steps, step_size(eps, steps), random_start=True, backend=Backends.NATIVE)
    return _run(attack, model, x, y)


def ddn(model: nn.Module, x: Tensor, y: Tensor, *, steps: int, **_: object) -> Tensor:
    return _run(DDN(steps, eps_init=1.0, gamma=0.05, backend=Backends.NATIVE), model, x, y)


ATTACKS = {"pgd-linf": pgd, "pgd-l2": pgd, "pgd-l1": pgd, "ddn-l2": ddn}

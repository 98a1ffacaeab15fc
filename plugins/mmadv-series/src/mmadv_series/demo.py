"""Real victims and data: a small convolutional network on three data sets of the UCR and UEA archives.

The series come inside the wheel of aeon, which is never imported, and are pinned by SHA-256. Each network is trained by the
seeded recipe below and cached.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmadv import MemorySource, assets
from mmadv.errors import ParameterError, nearest
from mmadv_series import space
from mmadv_series.source import read_ts
from mmadv_series.target import SeriesTarget

EPOCHS = 150
PINNED = {
    "BasicMotions": (
        "8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6",
        "79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc",
    ),
    "GunPoint": (
        "f842401779fd9800d247d8b33121a1a4643710a19b24917dbdd9a060ca8630d5",
        "79332750788a6227b325b96bd0d70130c8eb707b9731f8d7dec62b7a7d36017e",
    ),
    "ItalyPowerDemand": (
        "341269cb7e6cef96846b30e774580beec79addb93848ba360145219115a74b7c",
        "26122451f87dd0387ef90b18bc8a86c041371b8a1c068004922b939971247144",
    ),
}
"""SHA-256 of each data set's training and test file."""


def series(name: str = "BasicMotions", train: bool = False) -> MemorySource:
    """A data set as the archive holds it, its test part if not told otherwise.

    Args:
        name: `BasicMotions` (6 channels of a smart watch, 100 steps, 4 classes; UEA archive, arXiv 1811.00075), or of the
            UCR archive (arXiv 1810.07758) `GunPoint` (150 steps, 2 classes) or `ItalyPowerDemand` (24 hours, 2 classes).
        train: the training part.

    Raises:
        ParameterError: another name.
        AssetError: aeon 1.6.0 is not installed, or its files are not the pinned ones.
    """
    if name not in PINNED:
        raise ParameterError(f"there is no data set {name!r} here", where="name", fix=nearest(name, PINNED))
    part = "TRAIN" if train else "TEST"
    (path,) = assets.package_files(
        "aeon", f"datasets/data/{name}/{name}_{part}.ts", sha256=PINNED[name][not train], distribution="aeon==1.6.0"
    )
    return read_ts(path)


def units(name: str = "BasicMotions") -> list[float]:
    """The standard deviation of each channel over the training part of a data set, for `unit:`.

    Example:
        >>> [round(one, 2) for one in units("GunPoint")]
        [1.0]
    """
    return space.units(series(name, train=True).x)


@dataclass(frozen=True)
class _Recipe:
    """All that decides the weights."""

    data: str
    model: str = "SeriesCNN"
    version: int = 1
    epochs: int = EPOCHS


class SeriesCNN(nn.Sequential):
    """Three convolutions and a mean over time, the plan of the fully convolutional network of arXiv 1611.06455, smaller."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(
            nn.Conv1d(channels, 32, 7, padding=3), nn.BatchNorm1d(32), nn.ReLU(),
            nn.Conv1d(32, 64, 5, padding=2), nn.BatchNorm1d(64), nn.ReLU(),
            nn.Conv1d(64, 32, 3, padding=1), nn.BatchNorm1d(32), nn.ReLU(),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, classes),
        )  # fmt: skip


def classifier(name: str = "BasicMotions") -> SeriesTarget:
    """The network for a data set; the training part's mean and standard deviation are subtracted and divided by inside.

    Args:
        name: of the data set.
    """
    data = series(name, train=True)
    recipe = _Recipe(name)
    weights = assets.trained("series_cnn", vars(recipe), lambda: _train(data))
    model = SeriesCNN(data.x.shape[1], len(data.labels or ()))
    model.load_state_dict(weights)
    mean, std = _moments(data.x)
    return SeriesTarget(model.eval(), mean=mean, std=std, name=f"CNN on {name}")


def _moments(x: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over all series and steps."""
    wide = x.double().transpose(0, 1).flatten(1)
    return wide.mean(1).tolist(), wide.std(1).tolist()


def _train(data: MemorySource) -> dict[str, Tensor]:
    mean, std = (torch.tensor(values).unsqueeze(1) for values in _moments(data.x))
    x = (data.x - mean) / std
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = SeriesCNN(x.shape[1], len(data.labels or ()))
        generator = torch.Generator().manual_seed(0)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(x), generator=generator).split(16):
                if len(batch) == 1:  # batch normalisation can't be fitted to one series
                    continue
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(x[batch]), data.y[batch]).backward()
                optimiser.step()
    return model.state_dict()

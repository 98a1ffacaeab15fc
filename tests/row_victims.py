"""Factories for audit specs in tests: a row-independent victim and its inputs, and one that dies on demand."""

import os
import time

import torch

from mmadv import MemorySource, assets
from mmadv.testing import linear_victim

ROWS, SHAPE, CLASSES = 24, (1, 4, 4), 4


def victim():
    return linear_victim(ROWS, SHAPE, classes=CLASSES)[0]


def other_victim():
    return linear_victim(ROWS, SHAPE, classes=CLASSES, seed=1)[0]


class Slow(torch.nn.Module):
    """The same victim, taking its time, so that a process can be killed in the middle."""

    def __init__(self):
        super().__init__()
        self.inner = victim()

    def forward(self, x):
        if os.environ.get("ROW_VICTIM_TELLS"):
            print("asked", flush=True)
        time.sleep(float(os.environ.get("ROW_VICTIM_DELAY", "0")))
        return self.inner(x)


def slow_victim():
    return Slow().eval()


def inputs():
    _, x, y = linear_victim(ROWS, SHAPE, classes=CLASSES)
    y = y.clone()
    y[::6] = (y[::6] + 1) % CLASSES  # some examples that the victim gets wrong
    return MemorySource("rows", x, y)


class Steps(torch.nn.Module):
    """Class 1 from a mean of 128.2 grey levels on."""

    def forward(self, x):
        lead = x.double().mean((1, 2, 3)) * 255 - 128.2
        return torch.stack([-lead, lead], 1)


def steps():
    return Steps().eval()


def greys():
    """Pictures of 128 and of 127 whole grey levels: a change of .3 levels is rounded away, one of 3 is not."""
    levels = torch.tensor([128.0, 127.0])[:, None, None, None].expand(2, 1, 2, 2)
    return MemorySource("greys", levels / 255, torch.zeros(2, dtype=torch.int64))


class Moving(torch.nn.Module):
    """A victim whose weights change while it is asked, as long as the environment says so."""

    def __init__(self):
        super().__init__()
        self.inner = victim()

    def forward(self, x):
        if os.environ.get("ROW_VICTIM_MOVES"):
            with torch.no_grad():
                for weight in self.inner.parameters():
                    weight.add_(1e-3)
        return self.inner(x)


def moving_victim():
    return Moving().eval()


class Contrary(torch.nn.Module):
    """A victim that prefers what the first one likes least."""

    def __init__(self):
        super().__init__()
        self.inner = victim()

    def forward(self, x):
        return -self.inner(x)


def contrary_victim():
    return Contrary().eval()


def failing():
    return {}["weights"]


def trained_victim(name, other):
    """A victim that is trained once, and only while another of the kind is being trained too."""

    def train():
        place = assets.cache_folder()
        with open(place / "log", "a") as log:
            log.write(f"{name} {os.getpid()}\n")
        (place / name).touch()
        until = time.monotonic() + 120
        while not (place / other).exists():
            if time.monotonic() > until:
                raise TimeoutError(f"{other} was not trained beside {name}")
            time.sleep(0.01)
        return victim().state_dict()

    model = victim()
    model.load_state_dict(assets.trained(name, {}, train))
    return model


def busy_victim():
    raise assets.Busy("its weights")

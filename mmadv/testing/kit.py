"""What the checks need of a modality, and one attack on trial.

`Kit` is written for tensors in a box inside Lp balls. A modality with other inputs gives a kit of its own, by an
attribute `kit` of its `Modality` or as an argument of `conformance`, that has the same methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmadv import api, rows
from mmadv.access import Access
from mmadv.budget import Budget
from mmadv.catalog import Catalog
from mmadv.goals import Targeted, Untargeted
from mmadv.host import Host, default_host
from mmadv.modality import Modality
from mmadv.protocol import Attack
from mmadv.result import Result
from mmadv.target import Target
from mmadv.testing import victims
from mmadv.testing.victims import Stage
from mmadv.threat import ThreatModel

Words = Mapping[str, Any]

RATIOS = {Access.GRADIENT: 1.1, Access.SCORE: 3.0, Access.DECISION: 5.0}
"""How many times as far as the nearest adversarial an attack may have to go on a linear victim, by what it sees."""


@dataclass(frozen=True)
class Kit:
    """Victims, inputs and slow independent judgements for tensors in [0, 1] inside Lp balls.

    Args:
        shape: of one input.
        norms: to try each attack in.
        levels: how many steps of [0, 1] the stored artefact keeps; None if storing loses nothing.
        rows: examples on each stage.

    Example:
        >>> [words["norm"] for words in Kit().settings()]
        ['linf', 'l2', 'l1']
    """

    shape: tuple[int, ...] = (3, 5, 4)
    norms: tuple[str, ...] = ("linf", "l2", "l1")
    levels: int | None = 255
    rows: int = 6

    def settings(self) -> list[dict[str, Any]]:
        """The words of the space, without the radius, that each attack is tried with."""
        return [{"norm": norm} for norm in self.norms]

    def radius(self, value: float) -> dict[str, Any]:
        """The words of the space that give it a radius."""
        return {"eps": value}

    def duel(self, words: Words) -> Stage:
        """Every row's nearest adversarial is at the radius exactly; classes 0 and 1 compete, 2 and 3 are far behind."""
        return victims.duel(words["norm"], self.rows, self.shape)

    def crowd(self, words: Words) -> Stage:
        """A row-independent, non-linear victim, five classes, rows at all distances; about half of them within the radius."""
        return victims.crowd(words["norm"], self.rows + 2, self.shape)

    def corners(self, words: Words) -> Stage:
        """Inputs at the very ends of their range, all of whom can be fooled within the radius."""
        return victims.corners(words["norm"], self.rows, self.shape)

    def distance(self, adv: Tensor, x: Tensor, words: Words) -> Tensor:
        """(B,) in float64, computed without mmadv."""
        delta = np.abs(adv.detach().double().numpy() - x.detach().double().numpy()).reshape(len(x), -1)
        by_norm = {"linf": lambda d: d.max(1), "l2": lambda d: np.sqrt((d * d).sum(1)), "l1": lambda d: d.sum(1)}
        return torch.from_numpy(by_norm[words["norm"]](delta))

    def rounding(self, words: Words) -> float:
        """How far float32 rounding of each entry can carry a distance."""
        n = float(np.prod(self.shape))
        return 2 * 2.0**-23 * {"linf": 1.0, "l2": n**0.5, "l1": n}[words["norm"]]

    def inside(self, adv: Tensor) -> Tensor:
        """(B,) bool: finite and in the box."""
        flat = adv.detach().double().numpy().reshape(len(adv), -1)
        return torch.from_numpy((flat >= 0).all(1) & (flat <= 1).all(1))

    def stored(self, adv: Tensor) -> Tensor:
        """What comes back from storage, computed without mmadv."""
        if self.levels is None:
            return adv
        return torch.from_numpy(np.rint(adv.double().numpy() * self.levels) / self.levels).to(adv.dtype)

    def answers(self, victim: nn.Module, x: Any) -> Tensor:
        """(B, L) what a victim says to inputs, asked directly."""
        with torch.no_grad():
            return victim(x)

    def brittle(self, victim: nn.Module, x: Any) -> nn.Module:
        """A victim that answers NaN to everything but these inputs."""
        return victims.Brittle(victim, x)

    def masked(self, victim: nn.Module) -> nn.Module:
        """A victim whose gradients are all zero."""
        return victims.masked(victim)

    def differs(self, one: Any, other: Any) -> Tensor:
        """(B,) bool: which of the adversarials of two results are not the same, bit by bit."""
        pairs = zip(rows.leaves(one), rows.leaves(other), strict=True)
        return torch.stack([(a != b).reshape(len(a), -1).any(1) for a, b in pairs]).any(0)

    def single_step(self, stage: Stage, radius: float, words: Words) -> Tensor:
        """(B,) bool: whether one step of steepest ascent of the margin, clipped to the box, fools the victim."""
        x = stage.x.clone().requires_grad_()
        logits = stage.victim(x)
        own = logits.gather(1, stage.y.unsqueeze(1)).squeeze(1)
        other = logits.scatter(1, stage.y.unsqueeze(1), float("-inf")).amax(1)
        grad = torch.autograd.grad((other - own).sum(), x)[0].flatten(1)
        if words["norm"] == "linf":
            step = grad.sign()
        elif words["norm"] == "l2":
            step = grad / grad.square().sum(1, keepdim=True).sqrt()
        else:
            step = torch.zeros_like(grad).scatter(1, grad.abs().argmax(1, keepdim=True), 1.0) * grad.sign()
        adv = (stage.x + radius * step.reshape(stage.x.shape)).clamp(0, 1)
        with torch.no_grad():
            return stage.victim(adv).argmax(1) != stage.y


@dataclass(frozen=True)
class Case:
    """One attack in one setting.

    Args:
        name: of the attack, qualified.
        space: words of the space but for the radius.
        words: of the attack.

    Example:
        >>> str(Case("image.apgd", {"norm": "l2"}, {"loss": "dlr"}))
        'image.apgd-l2-loss=dlr'
    """

    name: str
    space: Words = field(default_factory=dict)
    words: Words = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join(
            [self.name, *map(str, self.space.values()), *(f"{word}={value}" for word, value in self.words.items())]
        )


class Broken(AssertionError):
    """An attack that breaks a law."""


class Trial:
    """One case before the checks.

    Args:
        case: the attack and its setting.
        kit: of the modality; its own, or the one for tensors, if not given.
        host: of plugins; the default one if not given.

    Attributes:
        attack: itself.
        kind: its modality.
        single_step: whether it takes no number of steps.
        few: a number of steps that keeps a check quick, None for a single step.
        some: a number of steps that leaves time to fool easy victims.
        ratio: how near to the optimum it is to come: its own `ratio` if it states one, else that of `RATIOS`.

    Example:
        >>> trial = Trial(Case("image.fgsm", {"norm": "linf"}))
        >>> stage = trial.kit.duel(trial.case.space)
        >>> trial.run(stage, 1.1 * stage.radius).success.all().item()
        True
    """

    def __init__(self, case: Case, kit: Kit | None = None, host: Host | None = None) -> None:
        self.case, self.host = case, host or default_host()
        self.catalog = Catalog(self.host)
        record = self.catalog.attack(case.name)
        self.modality = record.modality
        self.kind: Modality = self.catalog.modality(record.modality).resolve()()
        self.kit: Kit = kit or getattr(self.kind, "kit", None) or Kit()
        self.maker = record.resolve()
        self.attack: Attack = self.maker(**case.words)
        self.single_step = self.attack.single_step
        self.few, self.some = (self.steps(min(self.attack.steps, most)) for most in (12, 250))
        self.ratio: float = getattr(self.attack, "ratio", RATIOS[self.attack.access])

    # --- running -----------------------------------------------------------------------------------

    def steps(self, steps: int) -> int | None:
        """`steps`, or None for an attack that takes none."""
        return None if self.single_step else steps

    def run(
        self,
        stage: Stage,
        radius: float,
        *,
        steps: int | None = None,
        targets: Any = None,
        queries: int | None = None,
        gradients: int | None = None,
        seed: int = 0,
        ids: Any = None,
        attack: Attack | None = None,
        compact_every: int | None = None,
        **options: Any,
    ) -> Result:
        """Attack a stage within a radius, as `mmadv.attack` does.

        Args:
            stage: victim, x and y; the stage's own radius is not used.
            radius: of the threat model.
            steps: of the attack; its default if not given.
            targets: of a targeted goal.
            queries: budget of each example.
            gradients: likewise.
            seed: of all noise.
            ids: of the examples.
            attack: in place of the case's own.
            compact_every: steps between looks at which rows are finished.
            **options: of the target.
        """
        target: Target = self.host.adapt(stage.victim, self.modality).factory(**options)
        space = self.kind.space(**self.case.space, **self.kit.radius(radius))
        threat = ThreatModel(
            space, target.access, Untargeted() if targets is None else Targeted(), Budget(steps, queries, gradients)
        )
        problem = api.make_problem(self.kind, target, threat, stage.x, stage.y, ids=ids, targets=targets, seed=seed)
        ledger, counts = api.run(self.kind, problem, attack or self.attack, compact_every=compact_every)
        return api.result_of(self.kind, problem, ledger, counts, self.case.name)

    # --- judging -----------------------------------------------------------------------------------

    def need(self, ok: Any, what: str) -> None:
        """Fail the check unless all of `ok` is true.

        Args:
            ok: one bool, or one for each row.
            what: is wrong.

        Raises:
            Broken: says what, and in which row.
        """
        flags = np.atleast_1d(np.asarray(ok, dtype=bool))
        if not flags.all():
            row = int((~flags).argmax())
            raise Broken(f"row {row} of {len(flags)}: {what}" if flags.size > 1 else what)

    def same(self, one: Result, other: Result, what: str, columns: tuple[str, ...] = ()) -> None:
        """Fail the check unless two results agree, bit by bit, in every row.

        Args:
            one: a result.
            other: what it is compared with.
            what: the two differ in, for the message.
            columns: those to compare; all that an attack decides if not given.
        """
        self.need([a == b for a, b in zip(one.status, other.status, strict=True)], f"another status {what}")
        for name in columns or ("adv", "score", "distance", "queries", "gradients"):
            a, b = getattr(one, name), getattr(other, name)
            differs = self.kit.differs(a, b) if name == "adv" else (a != b) & ~((a != a) & (b != b))
            self.need(~differs, f"another {name} {what}")

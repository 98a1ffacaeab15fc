"""foolbox's attacks as mmadv's: parameters with foolbox's own names and defaults, norm and ε from the threat model.

A parameter that is None is left to foolbox, whose default may differ between norms.
"""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from mmadv import Access, Attack, Oracle
from mmadv.errors import ParameterError
from mmadv.goals import Targeted, Untargeted

NOTES = ("foolbox finished", "foolbox success", "foolbox distance")
"""What is kept of foolbox's own answer to each example, besides ours: NaN where it gave none."""


@dataclass(frozen=True, kw_only=True)
class Foolbox(Attack):
    """The base of all: the whole of foolbox's run is one step of the engine, and every question of it a query.

    Attributes:
        kinds: foolbox's classes by norm.
        goals: that foolbox's attack knows.
        unit_box: whether foolbox's attack takes it for granted that inputs lie in [0, 1].
    """

    kinds: ClassVar[dict[str, str]] = {}
    goals: ClassVar[tuple[type, ...]] = (Untargeted, Targeted)
    unit_box: ClassVar[bool] = False

    def iterations(self, steps: int) -> int:
        return 1

    def check(self, oracle: Oracle) -> None:
        norm, goal = oracle.region.norm, oracle.problem.threat.goal
        if norm not in self.kinds:
            raise ParameterError(
                f"foolbox has {type(self).__name__} in {', '.join(self.kinds)}, not in {norm}",
                where="norm",
                fix=" or ".join(f"use norm={known!r}" for known in self.kinds),
            )
        if type(goal) not in self.goals:
            raise ParameterError(
                f"foolbox has no {goal.name} {type(self).__name__}",
                where="goal",
                fix=f"use the goal {' or '.join(kind.name for kind in self.goals)}",  # type: ignore[attr-defined]
            )
        low, high = (float(bound) for bound in oracle.region.box)
        if self.unit_box and (low, high) != (0.0, 1.0):
            raise ParameterError(
                f"foolbox's {type(self).__name__} clips to [0, 1] and the inputs lie in [{low:g}, {high:g}]",
                where="low, high",
                fix="scale the inputs to [0, 1]",
            )
        self.made(norm, oracle.steps)

    def words(self, norm: str, steps: int) -> dict[str, Any]:
        """Parameters of foolbox's class."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        own = {name: value for name, value in own.items() if value is not None}
        return own if self.single_step else {**own, "steps": steps}

    def made(self, norm: str, steps: int) -> Any:
        """foolbox's attack.

        Raises:
            ParameterError: foolbox refuses the parameters.
        """
        from mmadv_foolbox.library import foolbox

        try:
            return getattr(foolbox.attacks, self.kinds[norm])(**self.words(norm, steps))
        except (TypeError, ValueError, AssertionError, NotImplementedError) as error:
            raise ParameterError(
                f"foolbox refuses {self.words(norm, steps)}: {error}",
                where=self.kinds[norm],
                fix="give values that foolbox's documentation of this class allows",
            ) from error

    def init(self, oracle: Oracle) -> None:
        return None

    def step(self, state: None, oracle: Oracle) -> None:
        from mmadv_foolbox.bridge import Run
        from mmadv_foolbox.library import foolbox as fb

        region, goal = oracle.region, oracle.problem.threat.goal
        x, eps = region.x.cpu(), region.eps.tolist()
        box = (float(region.box[0]), float(region.box[1]))
        labels = (oracle.y if isinstance(goal, Untargeted) else oracle.towards).cpu()  # type: ignore[union-attr]
        kind = fb.criteria.Misclassification if isinstance(goal, Untargeted) else fb.criteria.TargetedMisclassification
        seed, ids = oracle.problem.seed, oracle.noise.ids.tolist()
        runs = {
            row: Run(
                self.made(region.norm, oracle.steps),
                x[row : row + 1],
                kind(labels[row : row + 1]),
                box,
                None if self.keeps == "nearest" else eps[row],
                (seed % 2**64, ids[row] % 2**64),
            )
            for row, done in enumerate(oracle.ledger.done.tolist())
            if not done
        }
        with warnings.catch_warnings():
            # foolbox's advice to who calls it directly, such as that no start was found; the ledger says what came of it.
            warnings.filterwarnings("ignore", module=r"foolbox\.|eagerpy\.")
            try:
                for run in runs.values():
                    run.begin()
                while waiting := {row: run for row, run in runs.items() if run.question is not None}:
                    self._round(waiting, oracle)
                self._repair(runs, oracle)
            finally:
                for run in runs.values():
                    run.end()
                self._note(runs, oracle)

    def _round(self, waiting: dict[int, Any], oracle: Oracle) -> None:
        """Answer one question of each run that waits."""
        from mmadv_foolbox.bridge import rendezvous

        for (gradient, probe), asked in self._sorted(waiting, oracle).items():
            adv, valid = _batched({row: run.question.values for row, run in asked.items()}, oracle)
            if not gradient:
                output = oracle.evaluate(adv, valid=valid, probe=probe).output.cpu()
                done = oracle.ledger.done.tolist()
                for row, run in asked.items():
                    own = output[row, : len(run.question.values)]
                    if self._over(done[row], own, oracle):
                        run.end()
                    else:
                        run.answer(_scores(own))
                continue
            numbers = torch.arange(len(oracle.y), device=oracle.region.x.device)
            loss, given = rendezvous(asked)
            found = oracle.evaluate(adv, valid=valid, loss=loss, towards=numbers, grad=True, probe=probe)
            grad, output, done = found.grad.cpu(), found.output.cpu(), oracle.ledger.done.tolist()
            for row, run in asked.items():
                if row not in given or self._over(done[row], output[row], oracle):
                    run.end()
                elif run.question is not None and run.question.kind == "gradient":
                    run.answer(grad[row])

    def _sorted(self, waiting: dict[int, Any], oracle: Oracle) -> dict[tuple[bool, bool], dict[int, Any]]:
        """Runs by whether they want a gradient, and whether they look outside of the ball, which is for learning only.

        foolbox may pass outside on its way, as long as its answer comes back inside.
        """
        outside = [False] * len(oracle.y)
        if self.keeps == "hit":
            adv, _ = _batched({row: run.question.values for row, run in waiting.items()}, oracle)
            outside = (~oracle.region.feasible(adv)).any(1).tolist()
        kinds: dict[tuple[bool, bool], dict[int, Any]] = {}
        for row, run in waiting.items():
            kinds.setdefault((run.question.kind == "outputs_then_gradient", outside[row]), {})[row] = run
        return kinds

    def _over(self, done: bool, output: Tensor, oracle: Oracle) -> bool:
        """Whether a run can't go on: its row is finished, or its question was not sent or not answered."""
        unanswered = not bool(torch.isfinite(output).all()) if output.is_floating_point() else bool((output < 0).any())
        return unanswered or (done and oracle.early_stop)

    def _repair(self, runs: dict[int, Any], oracle: Oracle) -> None:
        """Where foolbox's answer lies outside of the ball, ask about the nearest point inside too."""
        if self.keeps == "nearest":
            return
        answers = {row: run.said.adv.unsqueeze(0) for row, run in runs.items() if run.said is not None}
        if not answers:
            return
        adv, valid = _batched(answers, oracle)
        outside = ~oracle.region.feasible(adv) & valid & ~oracle.ledger.done.unsqueeze(1)
        if bool(outside.any()):
            oracle.evaluate(oracle.region.project(adv), valid=outside)

    @staticmethod
    def _note(runs: dict[int, Any], oracle: Oracle) -> None:
        notes = torch.full((len(NOTES), len(oracle.y)), float("nan"), dtype=torch.float64)
        for row, run in runs.items():
            notes[0, row] = run.said is not None
            if run.said is not None:
                notes[1, row], notes[2, row] = run.said.success, run.said.distance
        for name, values in zip(NOTES, notes, strict=True):
            oracle.note(name, values)


def _batched(points: dict[int, Tensor], oracle: Oracle) -> tuple[Tensor, Tensor]:
    """Points (m, …) of some rows as candidates (A, K, …) of all, inside the box, and which of them are meant (A, K)."""
    x = oracle.region.x
    width = max(len(one) for one in points.values())
    adv = x.unsqueeze(1).repeat(1, width, *[1] * (x.dim() - 1))
    valid = torch.zeros(len(x), width, dtype=torch.bool)
    for row, one in points.items():
        adv[row, : len(one)] = one.to(x)
        valid[row, : len(one)] = True
    low, high = oracle.region.box
    return adv.clamp_(low, high), valid.to(x.device)


def _scores(answers: Tensor) -> Tensor:
    """What foolbox reads as scores: where only labels (m,) are granted, 1 for the label and 0 for all others.

    Example:
        >>> _scores(torch.tensor([1]))
        tensor([[0., 1.]])
    """
    if answers.is_floating_point():
        return answers
    return torch.nn.functional.one_hot(answers, int(answers.max()) + 1).float()


LP = ("linf", "l2", "l1")


def _by_norm(pattern: str, norms: tuple[str, ...] = LP) -> dict[str, str]:
    return {norm: pattern.format(norm.capitalize()) for norm in norms}


@dataclass(frozen=True, kw_only=True)
class FGSM(Foolbox):
    """Fast gradient (sign) method (Goodfellow et al., arXiv 1412.6572), untargeted.

    Example:
        >>> FGSM(random_start=True).words("linf", 1)
        {'random_start': True}
    """

    random_start: bool = False

    kinds = _by_norm("{}FastGradientAttack")
    goals: ClassVar[tuple[type, ...]] = (Untargeted,)
    single_step = True


@dataclass(frozen=True, kw_only=True)
class BIM(Foolbox):
    """Basic iterative method (Kurakin et al., arXiv 1607.02533).

    Args:
        rel_stepsize: in units of ε.
        abs_stepsize: in place of it, in the inputs' unit.
        random_start: whether it starts at random.
    """

    rel_stepsize: float | None = None
    abs_stepsize: float | None = None
    random_start: bool | None = None

    kinds = _by_norm("{}BasicIterativeAttack")
    steps = 10


@dataclass(frozen=True, kw_only=True)
class PGD(BIM):
    """Projected gradient descent (Madry et al., arXiv 1706.06083); foolbox's L1 projection only rescales."""

    kinds = _by_norm("{}ProjectedGradientDescentAttack")
    steps = 40


@dataclass(frozen=True, kw_only=True)
class AdamPGD(BIM):
    """PGD (arXiv 1706.06083) with Adam's steps (arXiv 1412.6980).

    Args:
        adam_beta1: decay of the mean.
        adam_beta2: decay of the square.
        adam_epsilon: against division by 0.
    """

    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8

    kinds = _by_norm("{}AdamProjectedGradientDescentAttack")
    steps = 40


@dataclass(frozen=True, kw_only=True)
class MIFGSM(BIM):
    """Momentum iterative FGSM (Dong et al., arXiv 1710.06081).

    Args:
        momentum: decay of the sum of gradients.
    """

    momentum: float = 1.0

    kinds = _by_norm("{}MomentumIterativeFastGradientMethod")
    steps = 10


@dataclass(frozen=True, kw_only=True)
class SparseL1(BIM):
    """Sparse L1 descent (Tramèr and Boneh, arXiv 1904.13000).

    foolbox's projection can push its iterates out of the ball; the victim is asked about them, and none of them is kept.

    Args:
        quantile: of the gradient's entries that a step leaves out.
    """

    quantile: float = 0.99

    kinds: ClassVar[dict[str, str]] = {"l1": "SparseL1DescentAttack"}
    steps = 10


@dataclass(frozen=True, kw_only=True)
class VirtualAdversarial(Foolbox):
    """Virtual adversarial direction (Miyato et al., arXiv 1507.00677), untargeted.

    Args:
        xi: length of the probing step.
    """

    xi: float = 1e-6

    kinds: ClassVar[dict[str, str]] = {"l2": "VirtualAdversarialAttack"}
    goals: ClassVar[tuple[type, ...]] = (Untargeted,)
    steps = 5


@dataclass(frozen=True, kw_only=True)
class UniformNoise(Foolbox):
    """The first of repeated uniform noise that fools (foolbox, arXiv 1707.04131).

    Args:
        repeats: how often it draws.
        check_trivial: whether it asks about the clean input first.
    """

    repeats: int = 100
    check_trivial: bool = True

    kinds = _by_norm("{}RepeatedAdditiveUniformNoiseAttack", ("linf", "l2"))
    access = Access.DECISION
    single_step = True


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(UniformNoise):
    """The first of repeated Gaussian noise that fools (foolbox, arXiv 1707.04131)."""

    kinds: ClassVar[dict[str, str]] = {"l2": "L2RepeatedAdditiveGaussianNoiseAttack"}


@dataclass(frozen=True, kw_only=True)
class Nearest(Foolbox):
    """The base of foolbox's minimum-norm attacks: searched without a limit on distance, so that one run answers every ε."""

    keeps: ClassVar[Literal["hit", "nearest"]] = "nearest"


@dataclass(frozen=True, kw_only=True)
class DeepFool(Nearest):
    """DeepFool (Moosavi-Dezfooli et al., arXiv 1511.04599), untargeted.

    Args:
        candidates: how many classes it looks at; None, foolbox's word for all, is left at foolbox's default of 10.
        overshoot: beyond the linearised boundary.
        loss: `logits` or `crossentropy`.
    """

    candidates: int | None = None
    overshoot: float = 0.02
    loss: str = "logits"

    kinds = _by_norm("{}DeepFoolAttack", ("linf", "l2"))
    goals: ClassVar[tuple[type, ...]] = (Untargeted,)
    steps = 50


@dataclass(frozen=True, kw_only=True)
class CarliniWagner(Nearest):
    """Carlini and Wagner's L2 attack (arXiv 1608.04644); `steps` are those of each round of its binary search.

    Args:
        binary_search_steps: rounds.
        stepsize: Adam's.
        confidence: margin by which the wrong class is to lead.
        initial_const: of the penalty.
        abort_early: whether a round ends where its loss does.
    """

    binary_search_steps: int = 9
    stepsize: float = 0.01
    confidence: float = 0.0
    initial_const: float = 0.001
    abort_early: bool = True

    kinds: ClassVar[dict[str, str]] = {"l2": "L2CarliniWagnerAttack"}
    steps = 10_000


@dataclass(frozen=True, kw_only=True)
class EAD(Nearest):
    """Elastic-net attack in L1 (Chen et al., arXiv 1709.04114); `steps` are those of each round.

    Args:
        binary_search_steps: rounds.
        initial_stepsize: of its descent.
        confidence: margin by which the wrong class is to lead.
        initial_const: of the penalty.
        regularization: weight of L1.
        decision_rule: `EN` or `L1`, by which it picks its own best.
        abort_early: whether a round ends where its loss does.
    """

    binary_search_steps: int = 9
    initial_stepsize: float = 0.01
    confidence: float = 0.0
    initial_const: float = 0.001
    regularization: float = 0.01
    decision_rule: str = "EN"
    abort_early: bool = True

    kinds: ClassVar[dict[str, str]] = {"l1": "EADAttack"}
    steps = 10_000


@dataclass(frozen=True, kw_only=True)
class DDN(Nearest):
    """Decoupled direction and norm (Rony et al., arXiv 1811.09600).

    Args:
        init_epsilon: the first radius.
        gamma: by which share a radius shrinks or grows.
    """

    init_epsilon: float = 1.0
    gamma: float = 0.05

    kinds: ClassVar[dict[str, str]] = {"l2": "DDNAttack"}
    steps = 100


@dataclass(frozen=True, kw_only=True)
class FMN(Nearest):
    """Fast minimum norm (Pintor et al., arXiv 2102.12827).

    Args:
        max_stepsize: of the first step.
        min_stepsize: of the last; a hundredth of the first if not given.
        gamma: by which share a radius shrinks or grows at first.
    """

    max_stepsize: float = 1.0
    min_stepsize: float | None = None
    gamma: float = 0.05

    kinds: ClassVar[dict[str, str]] = {"linf": "LInfFMNAttack", "l2": "L2FMNAttack", "l1": "L1FMNAttack"}
    steps = 100


@dataclass(frozen=True, kw_only=True)
class NewtonFool(Nearest):
    """NewtonFool (Jang et al., ACSAC 2017), untargeted.

    Args:
        stepsize: its η.
    """

    stepsize: float = 0.01

    kinds: ClassVar[dict[str, str]] = {"l2": "NewtonFoolAttack"}
    goals: ClassVar[tuple[type, ...]] = (Untargeted,)
    steps = 100


@dataclass(frozen=True, kw_only=True)
class Boundary(Nearest):
    """Boundary attack (Brendel et al., arXiv 1712.04248), from labels alone.

    Args:
        spherical_step: first step along the sphere.
        source_step: first step towards the clean input.
        source_step_convergance: below which it ends; the spelling is foolbox's.
        step_adaptation: by which steps grow and shrink.
        update_stats_every_k: steps between adaptations.
    """

    spherical_step: float = 0.01
    source_step: float = 0.01
    source_step_convergance: float = 1e-7
    step_adaptation: float = 1.5
    update_stats_every_k: int = 10

    kinds: ClassVar[dict[str, str]] = {"l2": "BoundaryAttack"}
    access = Access.DECISION
    steps = 25_000


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(Nearest):
    """HopSkipJump (Chen et al., arXiv 1904.02144), from labels alone.

    Args:
        initial_gradient_eval_steps: queries of the first gradient estimate.
        max_gradient_eval_steps: of any.
        stepsize_search: `geometric_progression` or `grid_search`.
        gamma: scales the width of the binary search.
    """

    initial_gradient_eval_steps: int = 100
    max_gradient_eval_steps: int = 10_000
    stepsize_search: str = "geometric_progression"
    gamma: float = 1.0

    kinds: ClassVar[dict[str, str]] = {"linf": "HopSkipJumpAttack", "l2": "HopSkipJumpAttack"}
    access = Access.DECISION
    unit_box: ClassVar[bool] = True
    steps = 64

    def words(self, norm: str, steps: int) -> dict[str, Any]:
        return {**super().words(norm, steps), "constraint": norm}


@dataclass(frozen=True, kw_only=True)
class SaltAndPepper(Nearest):
    """Salt and pepper noise (foolbox, arXiv 1707.04131).

    Args:
        across_channels: whether all channels of a pixel change together.
    """

    across_channels: bool = True

    kinds: ClassVar[dict[str, str]] = {"l2": "SaltAndPepperNoiseAttack"}
    access = Access.DECISION
    steps = 1000


@dataclass(frozen=True, kw_only=True)
class BlendedNoise(Nearest):
    """The least share of uniform noise, mixed into the input, that fools (foolbox, arXiv 1707.04131).

    Args:
        directions: noises that it tries before it gives up.
    """

    directions: int = 1000

    kinds = dict.fromkeys(LP, "LinearSearchBlendedUniformNoiseAttack")
    access = Access.DECISION
    steps = 1000

    def words(self, norm: str, steps: int) -> dict[str, Any]:
        from mmadv_foolbox.library import foolbox

        return {**super().words(norm, steps), "distance": getattr(foolbox.distances, norm)}

"""The one call for who has a model and a batch."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmadv import alarms, rows
from mmadv.access import Access
from mmadv.budget import Budget
from mmadv.catalog import Catalog
from mmadv.engine import Observer, solve
from mmadv.errors import InputError, ParameterError, nearest
from mmadv.goals import Goal, Targeted, Untargeted, decision
from mmadv.host import Host, default_host
from mmadv.ledger import Ledger
from mmadv.modality import Modality
from mmadv.oracle import answered, expected
from mmadv.protocol import Attack
from mmadv.result import Result
from mmadv.target import Target, checked_batch_size, rng_preserved
from mmadv.threat import Problem, ThreatModel

BUDGET = ("steps", "queries", "gradients", "access", "targets", "eot", "seed")
"""Words of the engine's own, for hints."""


def attack(
    model: Any,
    x: Any,
    y: Any,
    attack: str | Attack,
    *,
    targets: Any = None,
    modality: str | None = None,
    access: str | Access | None = None,
    steps: int | None = None,
    queries: int | None = None,
    gradients: int | None = None,
    seed: int = 0,
    ids: Any = None,
    eot: int = 1,
    early_stop: bool = True,
    observe: Observer | None = None,
    host: Host | None = None,
    **words: Any,
) -> Result:
    """Attack a model on a batch, and say how it held.

    Args:
        model: what a plugin knows how to call, such as a `torch.nn.Module` in eval mode, or a `mmadv.Target`.
        x: N clean inputs as the modality has them; images: (N, C, H, W) floating in [0, 1].
        y: (N,) the right labels, never guessed; transcripts where the modality has them.
        attack: a qualified name such as `image.pgd`, or an attack itself.
        targets: (N,) or one class that the attack is to reach; any wrong class will do if not given.
        modality: only needed with an attack that is not given by name.
        access: what of the model the attacker sees: `gradient`, `score` or `decision`; as much as it gives if not given.
        steps: of the attack; its own default if not given.
        queries: forward passes per example, at most, the clean one included.
        gradients: backward passes per example, at most.
        seed: of all noise.
        ids: (N,) int64 that noise is keyed by; 0 … N−1 if not given.
        eot: passes over which a randomised model's answers are averaged.
        early_stop: drop rows that are finished.
        observe: called with (step, rows still standing).
        host: of plugins; the default one if not given.
        **words: those of the modality's space (`norm`, `eps`) and goal, of the target (`mean`, `std`, `batch_size`, `output`,
            `device`, …) and of the attack (`loss`, `restarts`, …). A word that none of them uses is refused.

    Returns:
        Per example `adv, status, success, distance, queries, gradients, score`, and `summary()`.

    Raises:
        MmadvError: what is wrong, where, and the fix.

    Example:
        >>> import mmadv
        >>> from mmadv.testing import linear_victim
        >>> model, x, y = linear_victim(rows=8, shape=(1, 4, 4))
        >>> result = mmadv.attack(model, x, y, "image.pgd", norm="linf", eps=0.3, steps=10)
        >>> result.summary().robust.hits
        0
    """
    catalog = Catalog(host or default_host())
    modality, maker = _named(catalog, attack, modality)
    kind: Modality = catalog.modality(modality).resolve()()
    adapt = adapter(catalog, model, modality)
    make_goal = goal_maker(kind, targets is not None)
    groups: dict[str, Callable[..., Any]] = {"attack": maker, "space": kind.space, "target": adapt, "goal": make_goal}
    given = sorted_out(words, groups, where=attack if isinstance(attack, str) else type(attack).__name__)
    chosen: Attack = maker(**given["attack"])
    target: Target = adapt(**given["target"])
    space = kind.space(**given["space"])
    if chosen.keeps == "hit" and getattr(space, "eps", None) == float("inf"):
        raise ParameterError(
            "eps is missing",
            where=str(attack),
            fix="give eps=, the largest perturbation allowed; only minimum-norm attacks do without",
        )
    goal: Goal = make_goal(**given["goal"])
    threat = ThreatModel(
        space, target.access if access is None else Access.of(access), goal, Budget(steps, queries, gradients)
    )
    problem = make_problem(kind, target, threat, x, y, ids=ids, targets=targets, seed=seed, eot=eot)
    ledger, counts = run(kind, problem, chosen, early_stop=early_stop, observe=observe)
    name = attack if isinstance(attack, str) else type(attack).__name__
    return result_of(kind, problem, ledger, counts, name, nearest=chosen.keeps == "nearest")


def make_problem(
    kind: Modality,
    target: Target,
    threat: ThreatModel,
    x: Any,
    y: Any,
    *,
    ids: Any = None,
    targets: Any = None,
    seed: int = 0,
    eot: int = 1,
) -> Problem:
    """A problem of what a user passed, checked.

    Raises:
        InputError: inputs, labels or ids that don't fit each other.
        ParameterError: eot below 1, or targets without a targeted goal.
    """
    with torch.inference_mode(False):  # what is made here must serve passes with gradients
        return _posed(kind, target, threat, x, y, ids, targets, seed, eot)


def _posed(
    kind: Modality, target: Target, threat: ThreatModel, x: Any, y: Any, ids: Any, targets: Any, seed: int, eot: int
) -> Problem:
    x = kind.inputs(x)
    length = rows.count(x)
    if (pose := getattr(kind, "pose", None)) is not None:
        target, threat = pose(target, threat, x)
    if y is None:
        raise InputError(
            "y is missing",
            where="y",
            fix="pass the right labels; the model's own predictions would call its mistakes robust",
        )
    named = getattr(kind, "labels", lambda values: values)
    labels = _integers(named(y), length, "y")
    keys = torch.arange(length) if ids is None else _integers(ids, length, "ids")
    if len(torch.unique(keys)) != length:
        raise InputError(
            "two examples have the same id", where="ids", fix="give each example an id of its own; noise is keyed by it"
        )
    towards = None
    if targets is not None:
        targets = named(targets)
        towards = torch.full((length,), targets) if isinstance(targets, int) else _integers(targets, length, "targets")
    if not isinstance(seed, int):
        raise ParameterError(f"seed is {seed!r}", where="seed", fix="give a whole number")
    if not isinstance(eot, int) or eot < 1:
        raise ParameterError(f"eot is {eot!r}", where="eot", fix="give a whole number of passes, at least 1")
    return Problem(target, threat, x, labels, keys, towards, seed, eot)


def run(kind: Modality, problem: Problem, attack: Attack, **options: Any) -> tuple[Ledger, alarms.Counts]:
    """Look for chance, solve, and count what alarms are raised from; a modality whose inputs are played does it itself."""
    if (played := getattr(kind, "run", None)) is not None and (found := played(problem, attack, **options)) is not None:
        return found
    random = alarms.randomised(problem.target, problem.x)
    problem.deterministic = not random
    ledger = solve(problem, attack, **options)
    return ledger, alarms.Counts.of(ledger, random=random)


def goal_maker(kind: Modality, targeted: bool) -> Callable[..., Goal]:
    """What makes the goal from its own words: the modality's if it has one, else of any or of one wrong class."""
    own = getattr(kind, "goal", None)
    if own is not None:
        return functools.partial(own, targeted)
    return Targeted if targeted else Untargeted


def still_fooled(kind: Modality, problem: Problem, ledger: Ledger) -> Tensor:
    """(N,) bool: fooled, and still so by what comes back from storage."""
    index = ledger.fooled.nonzero()[:, 0]
    still = torch.zeros_like(ledger.fooled)
    if len(index):
        still[index] = judge(problem, kind.stored(rows.take(ledger.adv, index)), index)[0]
    return still


def judge(problem: Problem, x: Any, index: Tensor) -> tuple[Tensor, Tensor]:
    """Ask the victim once more about inputs `x` (B, …) in place of the examples at `index` (B,), apart from any budget.

    Returns:
        (B,) bool: whether they reach the goal, and (B,) what the victim decides.
    """
    target, eot = problem.target, problem.eot
    x = rows.detached(x, target.device)
    there = rows.take((problem.y, problem.towards), index.to(problem.y.device))
    hits, labels = [], []
    with torch.inference_mode(False), torch.no_grad(), rng_preserved(target.device, problem.seed), target.held():
        size = target.batch_size or max(len(index), 1)
        for start in range(0, len(index), size):
            part, (y, towards) = rows.take((x, rows.moved(there, target.device)), slice(start, start + size))
            output = answered(target, target(rows.repeated(part, eot)), len(y) * eot)
            output = output if eot == 1 else expected(output, len(y), eot)
            hits.append(problem.threat.goal(output, y, towards).hit)
            labels.append(decision(output))
    if not hits:
        return torch.zeros(0, dtype=torch.bool), torch.zeros(0, dtype=torch.int64)
    return torch.cat(hits), torch.cat(labels)


def result_of(
    kind: Modality, problem: Problem, ledger: Ledger, counts: alarms.Counts, name: str, *, nearest: bool = False
) -> Result:
    """A result on the device that the inputs came from."""
    still = still_fooled(kind, problem, ledger)
    home = next(rows.leaves(problem.x)).device
    columns = (ledger.adv, ledger.fooled, ledger.distance, ledger.queries, ledger.gradients, ledger.score, still)
    adv, fooled, distance, queries, gradients, score, still = (rows.moved(column, home) for column in columns)
    checks = alarms.PROBE_CALLS * min(alarms.PROBE_ROWS, len(problem.y)) + int(fooled.sum())
    return Result(
        adv, ledger.status, fooled, distance, queries, gradients, score, still,
        problem.y, problem.ids, ledger.forwards, ledger.backwards, checks, alarms.of_counts(counts, eot=problem.eot), name, nearest,
    )  # fmt: skip


def _named(catalog: Catalog, attack: str | Attack, modality: str | None) -> tuple[str, Callable[..., Attack]]:
    """The qualified modality, and what makes the attack from its own words."""
    if isinstance(attack, str):
        record = catalog.attack(attack)
        return modality or record.modality, record.resolve()
    if modality is None:
        raise ParameterError(
            "modality is missing",
            where="attack",
            fix="name the modality, as in modality='image', or the attack, as in 'image.pgd'",
        )

    def itself() -> Attack:
        return attack

    return modality, itself


def adapter(catalog: Catalog, model: Any, modality: str) -> Callable[..., Target]:
    """What makes the target from its own words."""
    if isinstance(model, Target):

        def itself(*, batch_size: int | None = model.batch_size) -> Target:
            same = copy.copy(model)
            same.batch_size = checked_batch_size(batch_size)
            return same

        return itself
    return catalog.host.adapt(model, modality).factory


def sorted_out(words: dict[str, Any], groups: dict[str, Callable[..., Any]], where: str) -> dict[str, dict[str, Any]]:
    """Each word to the first group that uses it.

    Raises:
        ParameterError: a word that none uses.
    """
    known = {
        name: [p.name for p in inspect.signature(make).parameters.values() if p.kind is p.KEYWORD_ONLY]
        for name, make in groups.items()
    }
    given: dict[str, dict[str, Any]] = {name: {} for name in groups}
    for word, value in words.items():
        users = [name for name, own in known.items() if word in own]
        if not users:
            raise ParameterError(
                f"{word!r} is used by neither the attack, the space nor the target",
                where=where,
                fix=nearest(word, {*BUDGET, *set().union(*known.values())}),
            )
        given[users[0]][word] = value
    return given


def _integers(values: Any, length: int, name: str) -> Tensor:
    """Whole numbers (N,), int64."""
    try:
        tensor = torch.as_tensor(values).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{name} can't be read as numbers: {error}",
            where=name,
            fix=f"give {length} whole numbers, one for each input",
        ) from error
    if tensor.is_floating_point() or tensor.dtype == torch.bool or tensor.shape != (length,):
        raise InputError(
            f"{name} has dtype {tensor.dtype} and shape {tuple(tensor.shape)}",
            where=name,
            fix=f"give {length} whole numbers, one for each input",
        )
    tensor = tensor.to(torch.int64)
    return tensor.clone() if tensor.is_inference() else tensor

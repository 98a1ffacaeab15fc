"""The one call for who has a model and a batch."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmadv import alarms, planted, rows
from mmadv.access import Access, Output
from mmadv.budget import Budget
from mmadv.catalog import Catalog
from mmadv.data import SkippedWarning, matched, strings
from mmadv.engine import Observer, solve
from mmadv.errors import InputError, ParameterError, nearest
from mmadv.goals import Goal, Targeted, Untargeted, decision, judged
from mmadv.host import Host, default_host, describe
from mmadv.ledger import Ledger
from mmadv.modality import Modality
from mmadv.noise import Noise, streams
from mmadv.oracle import agreed, answered, expected
from mmadv.protocol import Attack
from mmadv.result import Result
from mmadv.source import Source
from mmadv.space import Space
from mmadv.target import CALL, Target, checked_batch_size, drawing, out_of_memory, rng_preserved, usable_device
from mmadv.threat import Problem, ThreatModel

BUDGET = ("steps", "queries", "gradients", "access", "targets", "eot", "seed", "plant")
"""Words of the engine's own, for hints."""
FEW = 4
"""Values of a limit that are listed in words."""
GIVEN = ("path", "target", "space", "limit")
"""What a modality's source is told besides the user's own words."""


def attack(
    model: Any,
    x: Any = None,
    y: Any = None,
    attack: str | Attack | None = None,
    *,
    data: str | Path | Source | None = None,
    limit: int | None = None,
    targets: Any = None,
    modality: str | None = None,
    access: str | Access | None = None,
    steps: int | None = None,
    queries: int | None = None,
    gradients: int | None = None,
    seed: int = 0,
    ids: Any = None,
    eot: int = 1,
    plant: int = 0,
    early_stop: bool = True,
    observe: Observer | None = None,
    host: Host | None = None,
    **words: Any,
) -> Result:
    """Attack a model on a batch, or on data from files, and say how it held.

    Args:
        model: what a plugin knows how to call, such as a `torch.nn.Module` in eval mode, a folder or hub name of a `transformers`
            model, or a `mmadv.Target`.
        x: N clean inputs as the modality has them; images: (N, C, H, W) floating in [0, 1].
        y: (N,) the right labels, never guessed; transcripts where the modality has them.
        attack: a qualified name such as `image.pgd`, or an attack itself.
        data: in place of x and y a table (CSV, TSV, JSON, JSON lines, Parquet), a folder with one subfolder for each class, or a
            `mmadv.Source`. All examples are attacked as one batch; an audit goes through them in shards.
        limit: use so many of its examples.
        targets: (N,) or one class that the attack is to reach; any wrong class will do if not given.
        modality: only needed with an attack that is not given by name.
        access: what of the model the attacker sees: `gradient`, `score` or `decision`; as much as it gives if not given.
        steps: of the attack; its own default if not given.
        queries: forward passes per example, at most, the clean one included.
        gradients: backward passes per example, at most.
        seed: of all noise.
        ids: (N,) int64 that noise is keyed by; 0 … N−1 if not given, and those of the data's keys for data.
        eot: passes over which a randomised model's answers are averaged.
        plant: examples to plant an adversarial at first, which the attack must find, or an alarm says so (`mmadv.planted`).
        early_stop: drop rows that are finished.
        observe: called with (step, rows still standing).
        host: of plugins; the default one if not given.
        **words: those of the modality's space (`norm`, `eps`) and goal, of the target (`mean`, `std`, `batch_size`, `output`,
            `device`, …), of the attack (`loss`, `restarts`, …) and of the data (`text_column`, `label_column`, `classes`, …). A word
            that none of them uses is refused.

    Returns:
        Per example `adv, status, success, distance, queries, gradients, score`, and `summary()`; of data their `keys`, and what was
        left out as `skipped`.

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
    if attack is None:
        raise ParameterError("attack is missing", where="attack", fix="name one, such as 'image.pgd'")
    if data is not None and (x is not None or y is not None):
        raise ParameterError("data are given beside x or y", where="data", fix="give the one or the others")
    if data is None and limit is not None:
        raise ParameterError(
            "limit is given without data", where="limit", fix="leave it out, or give x[:limit] and y[:limit]"
        )
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ParameterError(f"limit is {limit!r}", where="limit", fix="give a whole number of at least 1")
    modality, maker = _named(catalog, attack, modality)
    kind: Modality = catalog.modality(modality).resolve()()
    adapt = adapter(catalog, model, modality)
    make_goal = goal_maker(kind, targets is not None)
    groups: dict[str, Callable[..., Any]] = {"attack": maker, "space": kind.space, "target": adapt, "goal": make_goal}
    if isinstance(data, (str, Path)):
        groups["data"] = kind.source
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
    source, keys = data, list[str]()
    if source is not None:
        if isinstance(source, (str, Path)):
            source = source_of(kind, {"path": source, **given["data"]}, target=target, space=space, limit=limit)
        examples = source.take(0, len(source) if limit is None else min(limit, len(source)))
        x, y, ids, keys = examples.x, examples.y, examples.ids if ids is None else ids, examples.keys
    skipped = tuple(getattr(source, "skipped", ()))
    if skipped:
        warnings.warn(left_out(skipped), SkippedWarning, stacklevel=2)
    problem = make_problem(kind, target, threat, x, y, ids=ids, targets=targets, seed=seed, eot=eot)
    # First, so that where nothing can be planted no work is lost.
    sought = looked_for(kind, problem, chosen, plant) if plant else alarms.Counts()
    ledger, counts = run(kind, problem, chosen, early_stop=early_stop, observe=observe)
    counts += sought
    name = attack if isinstance(attack, str) else type(attack).__name__
    result = result_of(kind, problem, ledger, counts, name, nearest=chosen.keeps == "nearest")
    return dataclasses.replace(result, keys=tuple(keys), skipped=skipped)


def source_of(
    kind: Modality, words: Mapping[str, Any], *, target: Any = None, space: Any = None, limit: int | None = None
) -> Source:
    """A modality's source from a user's words.

    Args:
        kind: the modality.
        words: the user's, `path` among them where the modality reads files.
        target: the victim, whose classes labels are matched with; or a function that gives it, asked if the source wants to know.
        space: that examples are attacked in, so that those it has no limit for can be left out.
        limit: how many examples are wanted, so that no more are looked at.

    Raises:
        ParameterError: a word that the source doesn't use, or no path.
    """
    parameters = inspect.signature(kind.source).parameters
    free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    known = [name for name in parameters if name not in GIVEN[1:]]
    for word in words:
        if word not in known and not free:
            raise ParameterError(f"{word!r} is used by nobody", where="data", fix=nearest(word, known))
    for name in known:
        if name not in words and parameters[name].default is inspect.Parameter.empty and not free:
            raise ParameterError(
                f"{name} is missing", where="data", fix=f"give {name}: a file or a folder, or a factory"
            )
    told: dict[str, Any] = {"limit": limit} if "limit" in parameters else {}
    if "space" in parameters:
        told["space"] = space
    if "target" in parameters:
        told["target"] = target if isinstance(target, Target) or target is None else target()
    return kind.source(**words, **told)


def left_out(skipped: Any, most: int = 3) -> str:
    """One line that says which examples were left out, and why."""
    some = "; ".join(map(str, skipped[:most])) + ("; …" if len(skipped) > most else "")
    return f"{len(skipped)} left out of the data: {some}"


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
    labels = _integers(_numbered(kind, target, y, "y"), length, "y")
    keys = torch.arange(length) if ids is None else _integers(ids, length, "ids")
    if len(torch.unique(keys)) != length:
        raise InputError(
            "two examples have the same id", where="ids", fix="give each example an id of its own; noise is keyed by it"
        )
    towards = None
    if targets is not None:
        targets = _numbered(kind, target, targets, "targets")
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


def looked_for(kind: Modality, problem: Problem, attack: Attack, most: int) -> alarms.Counts:
    """Of adversarials that are planted, how many there are and how many the attack misses.

    Raises:
        ParameterError: no number of examples, or nothing can be planted.
    """
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ParameterError(f"plant is {most!r}", where="plant", fix="give a number of examples, such as 16")
    plantable(kind)
    there, missed = planted.search(problem, attack, most)
    return alarms.Counts(planted=there, planted_missed=missed)


def plantable(kind: Modality) -> None:
    """Whether adversarials can be planted among a modality's inputs.

    Raises:
        ParameterError: its inputs can't be moved by a little.
    """
    if not kind.continuous:
        raise ParameterError(
            f"{kind.name} has no ball with a border, and adversarials are planted there",
            where="plant",
            fix="leave plant out; compare with an exhaustive search instead",
        )


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
        (B,) bool: whether they reach the goal, and (B,) what the victim decides, of several passes what most of them say.
    """
    target, eot = problem.target, problem.eot
    x = rows.detached(x, target.device)
    there = rows.take((problem.y, problem.towards, problem.ids), index.to(problem.y.device))
    hits, labels = [], []
    with torch.inference_mode(False), torch.no_grad(), rng_preserved(target.device, problem.seed), target.held():
        start = 0
        while start < len(index):
            size = max(1, (target.batch_size or len(index) * eot) // eot)
            part, (y, towards, ids) = rows.take((x, rows.moved(there, target.device)), slice(start, start + size))
            try:
                # Other draws than any that the attack has seen.
                with drawing(target, Noise(~problem.seed, streams(ids, eot), -CALL)):
                    output = answered(target, target(rows.repeated(part, eot)), len(y) * eot)
            except (RuntimeError, MemoryError) as error:
                if len(y) == 1 or not out_of_memory(error):
                    raise
                target.batch_size = max(1, len(y) * eot // 2)
                continue
            start += size
            output = output if eot == 1 else expected(output, len(y), eot)
            hits.append(judged(problem.threat.goal, output, y, towards).hit)
            labels.append(agreed(decision(output), y))
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
    result = Result(
        adv, ledger.status, fooled, distance, queries, gradients, score, still,
        problem.y, problem.ids, ledger.forwards, ledger.backwards, checks,
        (*alarms.of_counts(counts, eot=problem.eot), *alarms.of_planted([counts])),
        name, in_words(kind, problem), nearest,
        notes={label: rows.moved(values, home) for label, values in ledger.notes.items()},
        terms={label: rows.moved(values, home) for label, values in ledger.terms.items()},
    )  # fmt: skip
    fixed, clean = result.untouched, result.clean
    further = (
        *alarms.of_untouchable(fixed.hits, fixed.total),
        *alarms.of_clean(
            clean.hits, clean.total, alarms.answers_of(problem.threat.goal, counts.classes, problem.y.tolist())
        ),
    )
    return dataclasses.replace(result, alarms=(*result.alarms, *further))


def in_words(kind: Modality, problem: Problem) -> str:
    """The threat model on one line.

    Example:
        >>> from mmadv.testing import linear_victim
        >>> import mmadv
        >>> model, x, y = linear_victim(rows=8, shape=(1, 4, 4))
        >>> mmadv.attack(model, x, y, "image.pgd", norm="linf", eps=8 / 255, queries=50).threat
        'linf, eps 0.03137 (8 of 255 levels at most), untargeted, gradient access, at most 50 queries each'
    """
    threat = problem.threat
    space, limits = threat.space, vars(threat.budget)
    radius = getattr(space, "eps", math.inf)
    reach = "the nearest, at any eps"
    if not isinstance(radius, (int, float)):  # a plugin's own
        reach = f"eps {radius}"
    elif radius < math.inf:
        told = scaled(kind, space, radius, problem.x) if len(problem.y) else ""
        reach = f"eps {radius:.4g}" + (f" ({told})" if told else "")
    further = [f"{name} {value}" for part in (space, threat.goal) for name, value in _chosen(part)]
    wanted = (
        "" if problem.towards is None or len(several := problem.towards.unique()) > 1 else f"towards {int(several)}"
    )
    spent = [f"at most {limits[what]:,} {what} each" for what in ("queries", "gradients") if limits[what] is not None]
    eot = f"answers are means over {problem.eot} passes" if problem.eot > 1 else ""
    access = f"{threat.access.name.lower()} access"
    return ", ".join(
        filter(None, [getattr(space, "norm", ""), reach, *further, threat.goal.name, wanted, access, *spent, eot])
    )


def _chosen(part: Any) -> Iterator[tuple[str, Any]]:
    """The plain fields of a dataclass, and of those in it, that are not as they are by default, by name."""
    if not dataclasses.is_dataclass(part):
        return
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            yield from ((f"{field.name} {name}", inner) for name, inner in _chosen(value))
        plain = isinstance(value, (bool, int, float, str)) or (isinstance(value, tuple) and len(value) <= FEW)
        if plain and field.name not in ("norm", "eps") and value != field.default:
            yield field.name.replace("_", " "), value


def scaled(kind: Modality, space: Space, distance: float, x: Any) -> str:
    """A distance in words on a scale that people know, as it is for the first of the examples; empty where there is no scale."""
    told = getattr(kind, "scale", None)
    try:
        return "" if told is None else str(told(space, distance, x))
    except (Exception, SystemExit) as error:  # a plugin's words don't cost a run its summary
        return f"its scale failed: {describe(error)}"


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

        def itself(*, batch_size: int | str | None = model.batch_size, device: str | None = None) -> Target:
            if device not in (None, "auto") and usable_device(device) != model.device:
                raise ParameterError(
                    f"the target is on {model.device} and {device} was asked for",
                    where="device",
                    fix="make the target there, or leave device out",
                )
            same = copy.copy(model)
            usual = getattr(model, "usual_batch", None) if model.device.type == "cpu" else None
            same.batch_size = checked_batch_size(batch_size, usual)
            return same

        return itself
    return catalog.host.adapt(model, modality).factory


def sorted_out(words: dict[str, Any], groups: dict[str, Callable[..., Any]], where: str) -> dict[str, dict[str, Any]]:
    """Each word to the first group that uses it.

    Raises:
        ParameterError: a word that none uses.
    """
    known = {
        name: [
            p.name
            for p in inspect.signature(make).parameters.values()
            if p.kind is p.KEYWORD_ONLY and (name != "data" or p.name not in GIVEN)
        ]
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


def _numbered(kind: Modality, target: Target, values: Any, name: str) -> Any:
    """Labels that are names as the numbers of the victim's classes, or as the modality has them where a victim answers labels itself.

    Raises:
        InputError: a name that is none of the classes'.
    """
    texts = [values] if isinstance(values, str) else strings(values)
    if texts is None or target.output is Output.LABEL:
        return getattr(kind, "labels", lambda same: same)(values)
    classes = getattr(target, "labels", None)
    if classes is None:
        raise InputError(
            f"{name} can't be read as numbers, and the victim doesn't say what its classes are called",
            where=name,
            fix=f"give {len(texts)} whole numbers, one for each input; output='label' if the victim itself answers labels",
        )
    numbers = matched(texts, classes, where=name)
    return numbers[0] if isinstance(values, str) else numbers


def _integers(values: Any, length: int, name: str) -> Tensor:
    """Whole numbers (N,), int64."""
    try:
        tensor = torch.as_tensor(values).detach()
        if not tensor.numel() and not length:  # of no kind yet
            tensor = tensor.to(torch.int64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{name} can't be read as numbers: {error}",
            where=name,
            fix=f"give {length} whole numbers, one for each input",
        ) from error
    if not tensor.numel():  # an empty list has no whole numbers to tell its dtype by
        tensor = tensor.to(torch.int64)
    if tensor.is_floating_point() or tensor.dtype == torch.bool or tensor.shape != (length,):
        raise InputError(
            f"{name} has dtype {tensor.dtype} and shape {tuple(tensor.shape)}",
            where=name,
            fix=f"give {length} whole numbers, one for each input",
        )
    tensor = tensor.to(torch.int64)
    return tensor.clone() if tensor.is_inference() else tensor

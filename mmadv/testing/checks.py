"""The laws as checks: one function a law, each given a `Trial` and raising `Broken` with law, attack, row and what was expected.

Law 13, that a run can be resumed, is one of runs and not of attacks.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmadv import api, rows
from mmadv.access import Access
from mmadv.alarms import Alarm, Trust, verdict
from mmadv.errors import ParameterError
from mmadv.ledger import Status
from mmadv.protocol import Attack
from mmadv.result import Result
from mmadv.testing import victims
from mmadv.testing.kit import Broken, Kit, Trial
from mmadv.testing.victims import Altered, Counting, Failing, Normed, Stage

Check = Callable[[Trial], None]

LAWS: dict[str, Check] = {}
"""The checks by name, in the order of the laws."""


def law(number: int) -> Callable[[Check], Check]:
    """Enter a check as that of a law; what it or the attack raises becomes a `Broken` that says which."""

    def enter(check: Check) -> Check:
        name = check.__name__

        @functools.wraps(check)
        def checked(trial: Trial) -> None:
            try:
                check(trial)
            except Exception as error:
                what = str(error) if isinstance(error, Broken) else f"it raised {type(error).__name__}: {error}"
                raise Broken(f"law {number} ({name}) is broken by {trial.case}: {what}") from error

        LAWS[name] = checked
        return checked

    return enter


@law(1)
def feasible(trial: Trial) -> None:
    """What comes back is inside ball and box, by a float64 judgement of the kit's own, and no nearer success than there is one."""
    words, kit = trial.case.space, trial.kit
    slack = kit.rounding(words)
    for stage, share in ((kit.crowd(words), 1.0), (kit.duel(words), 1.5), (kit.corners(words), 1.0)):
        radius = share * stage.radius
        result = trial.run(stage, radius, steps=trial.few)
        trial.need(
            [status != Status.INFEASIBLE for status in result.status],
            "it left the feasible set, and fooled the victim only there",
        )
        trial.need(kit.inside(result.adv), "the adversarial is outside of the box, or not finite")
        distance = kit.distance(result.adv, stage.x, words)
        bound = result.success if trial.attack.keeps == "nearest" else torch.ones_like(result.success)
        furthest = float(distance.where(bound, 0.0).amax())
        trial.need(
            ~bound | (distance <= radius * (1 + 1e-6) + slack),
            f"the adversarial is further than the radius {radius:.6g}, at up to {furthest:.6g}",
        )
        told = result.distance.double()
        trial.need(
            told.isinf() | ((told - distance).abs() <= 1e-5 * distance + slack),
            "the distance that was reported is not that of the adversarial",
        )
    stage = kit.duel(words)
    result = trial.run(stage, 0.98 * stage.radius, steps=trial.few)
    trial.need(~result.success, "it succeeded within 0.98 of the least distance that there is")


@law(2)
def counted(trial: Trial) -> None:
    """The counts are those of an independent hook on the victim, and no budget is exceeded."""
    stage = trial.kit.crowd(trial.case.space)

    def run(part: Stage, **limits: Any) -> tuple[Result, int, int]:
        counting = Counting(part.victim)
        result = trial.run(part._replace(victim=counting), stage.radius, steps=trial.few, **limits)
        return result, counting.forwards - result.checks, counting.backwards

    def agree(result: Result, forwards: int, backwards: int, where: str) -> None:
        trial.need(
            forwards == result.forwards,
            f"{where} the victim was asked {forwards} times, and {result.forwards} were counted",
        )
        trial.need(
            backwards == result.backwards,
            f"{where} there were {backwards} backward passes, and {result.backwards} were counted",
        )

    agree(*run(stage), "in a batch")
    for row in range(3):
        part = alone(stage, row)
        result, forwards, backwards = run(part)
        agree(result, forwards, backwards, f"for example {row} alone")
        queries, gradients = int(result.queries[0]), int(result.gradients[0])
        # A row that ends within a step may be sent along to the end of that step.
        ended = result.status[0] != Status.ROBUST
        trial.need(
            queries == forwards or (ended and queries < forwards),
            f"example {row} has {queries} queries, and {forwards} were sent",
        )
        trial.need(
            gradients == backwards or (ended and gradients < backwards),
            f"example {row} has {gradients} gradients, and {backwards} were computed",
        )
    for budget in (1, 2, 7, 50):
        for part in (stage, alone(stage, 0)):
            result, forwards, backwards = run(part, queries=budget)
            agree(result, forwards, backwards, f"with a budget of {budget} queries")
            trial.need(result.queries <= budget, f"a budget of {budget} queries is exceeded")
            trial.need(
                forwards <= budget * len(part.y),
                f"a budget of {budget} queries is exceeded: {forwards} were sent for {len(part.y)} examples",
            )
    if trial.attack.access == Access.GRADIENT:
        for budget in (0, 1, 7):
            result, _, backwards = run(stage, gradients=budget)
            trial.need(result.gradients <= budget, f"a budget of {budget} gradients is exceeded")
            trial.need(
                backwards <= budget * len(stage.y),
                f"a budget of {budget} gradients is exceeded: {backwards} were computed",
            )


@law(3)
def unmoved(trial: Trial) -> None:
    """Victim, global generators and the caller's tensors are as they were, also after the victim raised."""
    words, kit = trial.case.space, trial.kit
    stage = kit.crowd(words)
    victim = (
        Normed(stage.victim, int(np.prod(kit.shape)), training=True) if isinstance(stage.x, Tensor) else stage.victim
    )
    for position, parameter in enumerate(victim.parameters()):
        parameter.requires_grad_(position % 2 == 0)
        parameter.grad = torch.full_like(parameter, 0.5) if position % 2 else None
    stage = stage._replace(victim=victim)
    before = snapshot(stage)
    trial.run(stage, stage.radius, steps=trial.few)
    trial.need(*unchanged(before, snapshot(stage), "after the attack"))

    error = ConnectionError("the victim raises on purpose")
    failing = stage._replace(victim=Failing(victim, calls=4, error=error))
    before = snapshot(failing)
    try:
        trial.run(failing, stage.radius, steps=trial.few)
    except ConnectionError:
        trial.need(*unchanged(before, snapshot(failing), "after the victim raised"))
    else:
        raise Broken("the victim raised, and the attack went on")


@law(4)
def independent(trial: Trial) -> None:
    """Alone, in a batch, permuted, split and at any compaction cadence, each example gets the same result, bit by bit."""
    stage = trial.kit.crowd(trial.case.space)
    length = len(stage.y)
    ids = torch.arange(length) * 7919 + 11

    def run(index: Tensor, **options: Any) -> Result:
        part = stage._replace(x=rows.take(stage.x, index), y=stage.y[index])
        return trial.run(part, stage.radius, steps=trial.few, ids=ids[index], **options)

    everything = torch.arange(length)
    whole = run(everything)

    def expect(index: Tensor, what: str, **options: Any) -> None:
        trial.same(run(index, **options), picked(whole, index), what)

    for row in range(length):
        expect(everything[row : row + 1], f"for example {row} alone than in a batch of {length}")
    expect(everything.flip(0), "in the reverse order")
    cut = length // 3
    expect(everything[:cut], "in the first part of a batch split in two")
    expect(everything[cut:], "in the second part of a batch split in two")
    for cadence in (3, 8):
        expect(everything, f"when finished rows are dropped every {cadence} steps", compact_every=cadence)
    expect(everything, "when the victim takes 3 rows at a time", batch_size=3)


@law(5)
def shift_and_scale(trial: Trial) -> None:
    """Adding ±1000 to the logits, or multiplying them by 100, costs no success."""
    stage = trial.kit.duel(trial.case.space)
    radius = 1.5 * trial.ratio * stage.radius

    def successes(after: Callable[[Tensor], Tensor]) -> int:
        return int(
            trial.run(
                stage._replace(victim=Altered(stage.victim, after=after)),
                radius,
                steps=trial.some,
            ).success.sum()
        )

    plain = successes(lambda z: z)
    for what, after in (
        ("logits + 1000", lambda z: z + 1000),
        ("logits − 1000", lambda z: z - 1000),
        ("logits × 100", lambda z: z * 100),
        ("logits × 0.01", lambda z: z * 0.01),
    ):
        found = successes(after)
        trial.need(found >= plain, f"with {what} it fools {found} of {len(stage.y)} rows, and {plain} without")


@law(6)
def edges(trial: Trial) -> None:
    """Inputs at the ends of their range, empty batches, odd dtypes and layouts, outer modes, flat victims and a radius of 0."""
    words, kit = trial.case.space, trial.kit
    stage = kit.corners(words)
    result = trial.run(stage, 2 * trial.ratio * stage.radius)
    trial.need(
        result.success, "it does not fool a victim on inputs of exactly 0 and 1 within twice the radius where it can be"
    )

    stage = kit.crowd(words)

    def run(part: Stage, radius: float = stage.radius) -> Result:
        return trial.run(part, radius, steps=trial.few)

    plain = run(stage)
    empty = run(stage._replace(x=rows.take(stage.x, slice(0, 0)), y=stage.y[:0]))
    trial.need(len(empty.status) == 0 and rows.count(empty.adv) == 0, "an empty batch gives rows")
    with torch.no_grad():
        trial.same(run(stage), plain, "under an outer no_grad")
    with torch.inference_mode():
        trial.same(run(stage), plain, "under an outer inference_mode")
        inside = rows.copied(stage.x)
        trial.same(run(stage._replace(x=inside)), plain, "on inputs made in inference mode")

    if isinstance(stage.x, Tensor):
        strided = stage.x.movedim(-1, 0).contiguous().movedim(0, -1)
        trial.same(run(stage._replace(x=strided)), plain, "on non-contiguous inputs")
        trial.same(run(stage._replace(x=stage.x.clone().requires_grad_())), plain, "on inputs that require gradients")
        for dtype in (torch.float64, torch.bfloat16):
            other = run(stage._replace(x=stage.x.to(dtype), y=right(trial.kit, stage.victim, stage.x.to(dtype))))
            trial.need(
                other.adv.dtype == torch.promote_types(dtype, torch.float32),
                f"on {dtype} inputs it gives {other.adv.dtype}",
            )
            trial.need(kit.inside(other.adv), f"on {dtype} inputs it leaves the box")
            at_least = int(plain.success.sum()) - len(stage.y) // 3
            trial.need(
                int(other.success.sum()) >= at_least,
                f"on {dtype} inputs it fools {int(other.success.sum())} rows, {int(plain.success.sum())} on float32",
            )

    for what, lead in (("a constant victim", 1.0), ("a victim whose logits are all equal", 0.0)):
        flat = run(Stage(victims.constant(stage.victim, lead), stage.x, torch.zeros_like(stage.y), 0.0))
        trial.need(
            [status == Status.ROBUST for status in flat.status],
            f"{what} cannot be fooled, and is not reported as robust",
        )
        trial.need(kit.inside(flat.adv), f"against {what} it leaves the box")
    still = run(stage, 0.0)
    trial.need(~still.success, "it succeeds within a radius of 0")
    if trial.attack.keeps == "hit":
        trial.need(
            kit.distance(still.adv, stage.x, words) == 0,
            "within a radius of 0 it gives back something else than the clean input",
        )


@law(7)
def honest(trial: Trial) -> None:
    """Each status is earned: wrong already, targeted exactly, NaN an error, and success as anyone finds it who asks the victim."""
    words, kit = trial.case.space, trial.kit
    stage = kit.crowd(words)
    wrong = torch.arange(len(stage.y)) % 3 == 1
    claimed = stage._replace(y=torch.where(wrong, (stage.y + 1) % 5, stage.y))
    result = trial.run(claimed, stage.radius, steps=trial.few)
    trial.need(
        [(status == Status.ALREADY_WRONG) == bool(was) for status, was in zip(result.status, wrong, strict=True)],
        "wrong on the clean input and status already_wrong are not the same rows",
    )
    trial.need(~wrong | (result.queries == 1), "a row that was wrong already cost more than the clean query")
    trial.need(~(wrong & result.success), "a row that was wrong already counts as a success")
    trial.need(
        ~wrong | (kit.distance(result.adv, stage.x, words) == 0), "a row that was wrong already comes back changed"
    )

    def agrees(result: Result, part: Stage, fooled: Callable[[Tensor], Tensor], radius: float) -> None:
        there = fooled(right(trial.kit, part.victim, result.adv))
        if trial.attack.keeps == "nearest":  # it also gives adversarials beyond the radius, which are no success
            there &= kit.distance(result.adv, part.x, words) <= radius * (1 + 1e-6) + kit.rounding(words)
        trial.need(
            [
                (status == Status.FOOLED) == bool(told)
                for status, told in zip(result.status, result.success, strict=True)
            ],
            "success without status fooled",
        )
        attacked = torch.tensor([status != Status.ALREADY_WRONG for status in result.status])
        trial.need(
            ~attacked | (result.success == there), "success is not what asking the victim about the adversarial gives"
        )

    agrees(result, claimed, lambda labels: labels != claimed.y, stage.radius)

    stage = kit.duel(words)
    radius = 1.5 * trial.ratio * stage.radius
    targets = 1 - stage.y
    try:
        result = trial.run(stage, radius, steps=trial.some, targets=targets)
    except ParameterError:
        pass  # a goal that the attack refuses by name
    else:
        agrees(result, stage, lambda labels: labels == targets, radius)
    elsewhere = torch.full_like(stage.y, 3)
    try:
        result = trial.run(stage, radius, steps=trial.few, targets=elsewhere)
    except ParameterError:
        pass
    else:
        agrees(result, stage, lambda labels: labels == elsewhere, radius)

    for what, victim in (
        ("NaN", victims.silent(stage.victim)),
        ("NaN to all but the clean inputs", kit.brittle(stage.victim, stage.x)),
    ):
        result = trial.run(stage._replace(victim=victim), radius, steps=trial.few)
        trial.need(
            [status == Status.ERROR for status in result.status],
            f"the victim answers {what}, and the status is not error",
        )


@law(8)
def strong(trial: Trial) -> None:
    """Within its stated ratio of the optimum, not weaker than one step, and never worse for a larger radius or more steps."""
    words, kit = trial.case.space, trial.kit
    stage = kit.duel(words)
    radius = trial.ratio * stage.radius
    result = trial.run(stage, radius)
    if trial.attack.keeps == "nearest":
        far = float(result.distance.max()) / stage.radius
        trial.need(
            result.distance <= radius,
            f"it finds adversarials {far:.3f} times as far as the nearest, and promises {trial.ratio}",
        )
    trial.need(result.success, f"within {trial.ratio} times the distance of the nearest adversarial it finds none")

    counts = [int(trial.run(stage, radius * share, steps=trial.few).success.sum()) for share in (0.7, 1.0, 1.5, 3.0)]
    trial.need(counts == sorted(counts), f"with larger radii it fools fewer: {counts}")
    if not trial.single_step:
        counts = [int(trial.run(stage, 1.2 * radius, steps=steps).success.sum()) for steps in (2, 8, 32, 128)]
        trial.need(counts == sorted(counts), f"with more steps it fools fewer: {counts}")
    if trial.attack.access == Access.GRADIENT:
        stage = kit.crowd(words)
        radius = trial.ratio * stage.radius
        found, once = trial.run(stage, radius).success, kit.single_step(stage, stage.radius, words)
        trial.need(
            int(found.sum()) >= int(once.sum()),
            f"it fools {int(found.sum())} rows, and a single step fools {int(once.sum())}",
        )


@law(9)
def no_false_comfort(trial: Trial) -> None:
    """Victims that mask gradients, answer at random, in probabilities or NaN raise their alarm; a sound victim raises none."""
    stage = trial.kit.crowd(trial.case.space)

    def raised(victim: nn.Module, y: Tensor, steps: int | None = trial.few) -> tuple[Alarm, ...]:
        return trial.run(stage._replace(victim=victim, y=y), stage.radius, steps=steps).alarms

    def expect(code: str, victim: nn.Module) -> None:
        codes = [alarm.code for alarm in raised(victim, right(trial.kit, victim, stage.x))]
        trial.need(code in codes, f"no alarm {code!r}; raised: {', '.join(codes) or 'none'}")

    expect("randomised", victims.noisy(stage.victim))
    expect("probabilities_as_logits", victims.probable(stage.victim))
    if trial.attack.access == Access.GRADIENT:
        expect("zero_gradients", trial.kit.masked(stage.victim))
    told = verdict(raised(victims.silent(stage.victim), stage.y))
    trial.need(told == Trust.INVALID, f"the victim answers NaN, and the verdict is {told.value}")
    # With steps enough: a search that is cut off has a reason for its alarm.
    false = [alarm.code for alarm in raised(stage.victim, stage.y, trial.some)]
    trial.need(not false, f"a sound victim raises the alarm {', '.join(false)}")


@law(10)
def stored(trial: Trial) -> None:
    """Success after storing is what comes of rounding the adversarial as the artefact does, and asking the victim."""
    words, kit = trial.case.space, trial.kit
    stage = kit.duel(words)
    # Close to the optimum, so that rounding takes some of the successes away.
    for share in (1.003, 1.01, 1.05, 1.2 * trial.ratio):
        result = trial.run(stage, share * stage.radius, steps=trial.few)
        still = result.success & (right(trial.kit, stage.victim, kit.stored(result.adv)) != stage.y)
        trial.need(result.stored_success == still, "stored_success is not what the stored adversarial gives")
        trial.need(result.y == stage.y, "the labels that were recorded are not those that were given")


@law(11)
def replayable(trial: Trial) -> None:
    """The same seed gives the same result, whatever was run or drawn before; a result holds what it takes to score it again."""
    words = trial.case.space
    stage = trial.kit.crowd(words)
    ids = torch.arange(len(stage.y)) + 5

    def run() -> Result:
        return trial.run(stage, stage.radius, steps=trial.few, ids=ids, seed=3)

    with generators_kept():
        first = run()
        trial.run(stage, 2 * stage.radius, steps=trial.few, seed=4)
        for seed in (1, 2):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            trial.same(run(), first, "in a second run with the same seed")
    trial.need(first.ids == ids, "the ids that were recorded are not those that were given")
    score = margin(trial.kit, stage.victim, first.adv, stage.y)
    told = first.score
    trial.need(
        (told - score).abs() <= 1e-5 * (1 + score.abs()), "the score that was recorded is not that of the adversarial"
    )


@law(12)
def nothing_ignored(trial: Trial) -> None:
    """A made-up parameter, another attack's, and steps where there is one step are refused by name; what is accepted is read."""
    stage = trial.kit.duel(trial.case.space)
    own = trial.case.space | trial.kit.radius(stage.radius) | dict(trial.case.words)  # type: ignore[operator]

    def refused(word: str, value: Any) -> None:
        try:
            api.attack(stage.victim, stage.x, stage.y, trial.case.name, host=trial.host, **own, **{word: value})
        except ParameterError as error:
            trial.need(word in str(error), f"{word!r} is refused without being named: {error}")
        else:
            raise Broken(f"the parameter {word!r} is accepted and ignored")

    factories = (trial.maker, trial.kind.space, trial.host.adapt(stage.victim, trial.modality).factory, api.attack)
    known = {name for factory in factories for name in inspect.signature(factory).parameters}
    foreign = {
        name
        for record in trial.catalog.attacks(trial.modality).values()
        for name in inspect.signature(record.resolve()).parameters
    }
    for word in ["a_made_up_parameter", *sorted(foreign - known)]:
        refused(word, 1)
    if trial.single_step:
        refused("steps", 3)
        return

    attack, seen = watched(trial.maker(**trial.case.words))
    few = trial.run(stage, 0.5 * stage.radius, steps=3, attack=attack)
    own_words: set[str] = (
        {one.name for one in dataclasses.fields(attack)} if dataclasses.is_dataclass(attack) else set()
    )
    unread = own_words - seen
    trial.need(not unread, f"it never reads its own {', '.join(sorted(unread))}")
    fewer = trial.run(stage, 0.5 * stage.radius, steps=2)
    trial.need(
        fewer.queries.max() < few.queries.max(), "2 steps and 3 cost the same number of queries: steps is not passed on"
    )


# --- what several checks need ---------------------------------------------------------------------


def alone(stage: Stage, row: int) -> Stage:
    """One row of a stage."""
    part = slice(row, row + 1)
    return stage._replace(x=rows.take(stage.x, part), y=stage.y[part])


def picked(result: Result, index: Tensor) -> Result:
    """A result's rows at `index`."""
    columns = {
        name: rows.take(getattr(result, name), index)
        for name in ("adv", "score", "distance", "queries", "gradients", "success")
    }
    return dataclasses.replace(result, status=[result.status[row] for row in index.tolist()], **columns)


def right(kit: Kit, victim: nn.Module, x: Any) -> Tensor:
    """(B,) what the victim decides."""
    return kit.answers(victim, x).argmax(1)


def margin(kit: Kit, victim: nn.Module, x: Any, y: Tensor) -> Tensor:
    """(B,) by how much another class leads y."""
    logits = kit.answers(victim, x)
    own = logits.gather(1, y.unsqueeze(1)).squeeze(1)
    return logits.scatter(1, y.unsqueeze(1), float("-inf")).amax(1) - own


def watched(attack: Attack) -> tuple[Attack, set[str]]:
    """The attack, and the names of all attributes that are read of it from now on."""
    seen: set[str] = set()

    def read(self: Attack, name: str) -> Any:
        seen.add(name)
        return object.__getattribute__(self, name)

    kind = type(attack)
    object.__setattr__(
        attack, "__class__", type(kind.__name__, (kind,), {"__getattribute__": read, "__module__": kind.__module__})
    )
    return attack, seen


@contextmanager
def generators_kept() -> Iterator[None]:
    """Give the global generators back as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def snapshot(stage: Stage) -> dict[str, Any]:
    """All that an attack must leave as it is, by name."""

    def digest(tensor: Tensor) -> str:
        return hashlib.sha256(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()

    victim = stage.victim
    found: dict[str, Any] = {f"the victim's {name}": digest(tensor) for name, tensor in victim.state_dict().items()}
    for name, parameter in victim.named_parameters():
        found[f"requires_grad of {name}"] = parameter.requires_grad
        found[f"the gradient of {name}"] = None if parameter.grad is None else digest(parameter.grad)
    for name, module in victim.named_modules():
        found[f"the mode of {name or 'the victim'}"] = module.training
        found[f"the hooks of {name or 'the victim'}"] = {
            key: sorted(hooks) for key, hooks in vars(module).items() if key.endswith("_hooks")
        }
    found["python's generator"] = random.getstate()
    found["numpy's generator"] = [
        part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()
    ]
    found["torch's generator"] = digest(torch.get_rng_state())
    for name, value in (("x", stage.x), ("y", stage.y)):
        for leaf in rows.leaves(value):
            found[f"the caller's {name}"] = (digest(leaf), leaf.requires_grad, leaf.grad is None)
    return found


def unchanged(before: dict[str, Any], after: dict[str, Any], when: str) -> tuple[bool, str]:
    """Whether two snapshots agree, and what to say if they don't."""
    differ = [name for name in before | after if name not in before or name not in after or before[name] != after[name]]
    return not differ, f"{when} {', '.join(differ[:3])} {'is' if len(differ) == 1 else 'are'} not as before"

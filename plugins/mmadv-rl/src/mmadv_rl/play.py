"""Playing: a step's observations over all episodes that still go on are one batch of the engine.

Each episode has an environment of its own from its seed to its end, so that none is ever reset by itself, and noise is keyed
by episode and step: the same episode comes out alone and among any others.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmadv import Attack, Loss, Problem, ThreatModel, solve
from mmadv.alarms import PROBE_ROWS, Counts, randomised
from mmadv.errors import ParameterError
from mmadv.goals import Steered
from mmadv.ledger import Ledger, Signals
from mmadv.oracle import check_granted
from mmadv.target import rng_preserved
from mmadv_rl.attacks.base import Lessons
from mmadv_rl.constraints import Turns, preference
from mmadv_rl.episodes import Episodes, Game, return_of
from mmadv_rl.facts import known
from mmadv_rl.policies import one_line
from mmadv_rl.space import ObsSpace
from mmadv_rl.target import Player, PolicyTarget, shaped


@dataclass
class Played:
    """What came of episodes.

    Args:
        episodes: with all their steps.
        total: (A,) float64 returns.
        broken: (A,) bool: the environment raised or gave what it can't give, and the episode was lost; or the policy answered NaN.
        queries: (A,) forward passes of the policy for the attack.
        gradients: (A,) backward passes.
        counts: for alarms.
        reasons: why the environment broke episodes off, by row.
        rewards: (A, T) of each step.
        ended: (A,) bool: the environment ended the episode itself; no clock cut it.
    """

    episodes: Episodes
    total: Tensor
    broken: Tensor
    queries: Tensor
    gradients: Tensor
    counts: Counts
    reasons: dict[int, str]
    rewards: Tensor | None = None
    ended: Tensor | None = None


Show = Callable[[int, Tensor, Tensor, Tensor, Tensor], Tensor]
"""`(step, rows, observations, remembering rows, answers) -> what the policy is shown`, all but `step` of the rows still playing and none
to be altered; NaN where the policy answered NaN to what it might have been shown, which loses the episode."""


def run_episodes(policy: PolicyTarget, x: Episodes, show: Show | None = None) -> Played:
    """Play episodes to their ends, in lockstep.

    Args:
        policy: that plays.
        x: seeds.
        show: decides what the policy is shown; what the environment says if not given.
    """
    game, count = x.game, len(x)
    assert game.horizon is not None
    now, total, length = np.zeros((count, game.size), np.float32), np.zeros(count), np.zeros(count, np.int64)
    broken, over = np.zeros(count, bool), np.zeros(count, bool)
    changed, memory = torch.zeros_like(x.seed), torch.zeros(count, policy.memory)
    columns: dict[str, list[Tensor]] = {"seen": [], "true": [], "acts": [], "rewards": []}
    reasons: dict[int, str] = {}
    with game.instances(count) as envs, policy.held():

        def lose(row: int, error: Exception | None = None) -> None:
            broken[row] = True
            if error is not None:
                reasons[row] = one_line(error)
                envs[row] = None

        for row, env in enumerate(envs):
            try:
                now[row] = observed(env.reset(seed=int(x.seed[row]))[0], game)
            except Exception as error:
                lose(row, error)
        playing = torch.from_numpy(~broken).nonzero()[:, 0]
        for step in range(game.horizon):
            if not len(playing):
                break
            here = torch.from_numpy(now[playing.numpy()])
            rows = torch.cat([here, memory[playing]], 1)
            answer, after = asked(policy, rows, game)
            own = act = policy.acts(answer, game)
            shown = here if show is None else show(step, playing, here, rows, answer)
            sound = torch.isfinite(shown).all(1)
            shown = torch.where(sound.unsqueeze(1), shown, here)
            touched = (shown != here).any(1).nonzero()[:, 0]
            if len(touched):
                told = asked(policy, torch.cat([shown, memory[playing]], 1)[touched], game)
                answer, after = answer.index_copy(0, touched, told[0]), after.index_copy(0, touched, told[1])
                act = policy.acts(answer, game)
                changed[playing] += torch.from_numpy((act != own).reshape(len(act), -1).any(1))
            sound &= torch.isfinite(answer).all(1)
            memory[playing] = after.to(memory)
            rewards, going = np.zeros(count), []
            for at, (row, fine) in enumerate(zip(playing.tolist(), sound.tolist(), strict=True)):
                if not fine:
                    lose(row)
                    continue
                try:
                    said, reward, ended, cut, _ = envs[row].step(act[at])
                    now[row], rewards[row] = observed(said, game), paid(reward)
                except Exception as error:
                    lose(row, error)
                    continue
                length[row] += 1
                over[row] = bool(ended)
                if not (ended or cut):
                    going.append(row)
            total += rewards
            did = torch.from_numpy(np.asarray(act, dtype=np.float64).reshape(len(act), -1))
            for name, values in ("seen", shown), ("true", here), ("acts", did):
                columns[name].append(values.new_zeros(count, values.shape[1]).index_copy_(0, playing, values))
            columns["rewards"].append(torch.from_numpy(rewards))
            playing = torch.tensor(going, dtype=torch.int64)
    width = columns["acts"][0].shape[1] if columns["acts"] else 1
    nothing = {"seen": (game.size,), "true": (game.size,), "acts": (width,), "rewards": ()}
    seen, true, acts, given = (
        torch.stack(column, 1) if column else torch.zeros(count, 0, *nothing[name]) for name, column in columns.items()
    )
    episodes = Episodes(
        x.seed, seen, true, torch.from_numpy(length), acts.double(), changed, x.calm, x.calm_length, x.taught, game
    )
    zero = torch.zeros_like(x.seed)
    return Played(
        episodes, torch.from_numpy(total), torch.from_numpy(broken), zero, zero.clone(), Counts(), reasons,
        given.double(), torch.from_numpy(over),
    )  # fmt: skip


def asked(policy: PolicyTarget, rows: Tensor, game: Game) -> tuple[Tensor, Tensor]:
    """The policy's answer to rows, and what it remembers after them."""
    with torch.no_grad(), policy.held():
        return policy.remembering(shaped(rows, game, policy))


def clean(policy: PolicyTarget, x: Episodes) -> Played:
    """The episodes when nothing is touched."""
    return run_episodes(policy, x)


def replay(policy: PolicyTarget, x: Episodes, space: ObsSpace | None = None) -> Tensor:
    """(A,) float64 returns when the policy is shown what `x` holds, and what the environment says after that; NaN of broken episodes.

    What was rounded can bring about another action, and from there on the environment says something else than when it was
    recorded: a step whose observation can't be turned into what `x` holds is left as it is.

    Args:
        policy: that plays.
        x: what it is shown.
        space: what may be made of an observation; anything if not given.
    """
    spent = torch.zeros_like(x.seed)

    def show(step: int, playing: Tensor, here: Tensor, rows: Tensor, answer: Tensor) -> Tensor:
        if step >= x.seen.shape[1]:
            return here
        wanted = torch.where((step < x.length[playing]).unsqueeze(1), x.seen[playing, step], here)
        if space is None:
            return wanted
        touched = (wanted != here).any(1)
        touched &= allowed(space.turns, spent[playing], step, answer, x.game) & space.around(here).feasible(wanted)
        spent[playing] += touched
        return torch.where(touched.unsqueeze(1), wanted, here)

    played = run_episodes(policy, x, show)
    return torch.where(played.broken, float("nan"), played.total)


def allowed(turns: Turns, spent: Tensor, step: int | Tensor, answer: Tensor, game: Game) -> Tensor:
    """(A,) bool: where the attacker may act, having acted `spent` times, by the policy's answers to what the environment says."""
    may = turns.open(spent, step)
    return may if turns.gap is None else may & (preference(answer, game) > turns.gap)


GRADIENT_SIGNS = ("gradient_rows", "zero_gradients", "broken_gradients", "first_steps", "fallen")
"""Signals of single observations that count for their episode."""


def attacked(policy: PolicyTarget, x: Episodes, problem: Problem, attack: Attack, **options: Any) -> Played:
    """Play episodes whose observations an attack touches, wherever the attacker has a turn.

    Args:
        policy: that plays.
        x: the episodes.
        problem: with the threat model of a single observation: its budget is that of one.
        attack: on observations.
        **options: of `mmadv.solve`.
    """
    game = x.game
    space: ObsSpace = problem.threat.space  # type: ignore[assignment]
    single = space.remembering(policy.memory)
    aim = getattr(attack, "objective", None)
    goal = Steered(None if aim is None else done(aim(game.actions is None), game))
    threat = ThreatModel(single, problem.threat.access, goal, problem.threat.budget)
    spent = torch.zeros_like(x.seed)
    queries, gradients = torch.zeros_like(x.seed), torch.zeros_like(x.seed)
    signals = Signals.none(torch.device("cpu"))
    chooses = getattr(attack, "chooses", None)
    facts_of = getattr(attack, "known", None)
    leads = getattr(attack, "leads", None)

    def show(step: int, playing: Tensor, here: Tensor, rows: Tensor, answer: Tensor) -> Tensor:
        may = allowed(space.turns, spent[playing], step, answer, game)
        if chooses is not None:
            may &= chooses(answer, spent[playing], game)
        index = may.nonzero()[:, 0]
        if not len(index):
            return here
        at = playing[index]
        part, own = rows[index], answer[index]
        y = own.argmax(1) if game.actions is not None else torch.zeros(len(index), dtype=torch.int64)
        given = shaped(part, game, policy)
        towards = None
        if leads is not None:
            towards = leads(step, at)
        elif facts_of is not None:
            towards = facts_of(given, within(own, game), game.actions is None)
        one = Problem(
            policy, threat, given, y, problem.ids[at], towards=towards, seed=seed_of(problem.seed, step),
            deterministic=problem.deterministic,
        )  # fmt: skip
        ledger = solve(one, attack, **options)
        spent[at] += 1
        queries[at] += ledger.queries
        gradients[at] += ledger.gradients
        assert ledger.signals is not None
        for name in GRADIENT_SIGNS:
            setattr(signals, name, getattr(signals, name) + getattr(ledger.signals, name))
        shown = here.clone()
        adv = ledger.adv.flatten(1)[:, : game.size]
        shown[index] = torch.where(ledger.broken.unsqueeze(1), float("nan"), adv)
        return shown

    played = run_episodes(policy, x, show)
    played.queries, played.gradients = queries, gradients
    played.counts = Counts(**{name: int(getattr(signals, name)) for name in GRADIENT_SIGNS})
    return played


def run(problem: Problem, attack: Attack, **options: Any) -> tuple[Ledger, Counts]:
    """Solve a problem whose inputs are episodes: each has the worst return of any member of the attack.

    Args:
        problem: its target a `Player`.
        attack: on observations, or a suite of several.
        **options: of `mmadv.solve`.

    Raises:
        ParameterError: a minimum-norm attack, or passes over chance, which single episodes don't have; what a member refuses.
        AccessError: a member needs more than is granted.
        InputError: a member has to learn from episodes, and none could be played.
    """
    player: Player = problem.target  # type: ignore[assignment]
    if attack.keeps != "hit":
        raise ParameterError(
            "a minimum-norm attack has no use in an episode",
            where=type(attack).__name__,
            fix="give eps, and another attack",
        )
    if problem.eot != 1:
        raise ParameterError("eot is given, and policies act deterministically", where="eot", fix="leave eot out")
    x: Episodes = problem.x
    options = {name: value for name, value in options.items() if name != "observe"}
    members = getattr(attack, "members", None)
    everyone = (attack,) if members is None else members(player.policy, x.game, problem.threat)
    for member in everyone:  # before anything is played
        check_granted(member, problem.threat.access, player.policy)
        check = getattr(member, "check_play", None)
        if check is not None:
            check(player.policy, x.game)
    with (
        torch.inference_mode(False), torch.no_grad(), rng_preserved(player.device, problem.seed), player.held(),
    ):  # fmt: skip
        calm = clean(player.policy, x)
        lost = torch.tensor([return_of(int(label)) for label in problem.y], dtype=torch.float64)
        wrong = ~calm.broken & (calm.total < lost)
        x = replace(x, calm=calm.episodes.acts, calm_length=calm.episodes.length, taught=torch.zeros_like(x.seed))
        best = Played(
            replace(calm.episodes, calm=x.calm, calm_length=x.calm_length, taught=x.taught),
            calm.total.clone(), calm.broken.clone(), calm.queries, calm.gradients, Counts(), dict(calm.reasons),
        )  # fmt: skip
        rows_ = (~wrong & ~calm.broken).nonzero()[:, 0]
        problem.deterministic = not _randomised(player.policy, calm.episodes)
        counts = Counts(examples=len(x), random=int(not problem.deterministic)) + repeated(calm)
        notes: dict[str, Tensor] = {}
        again_queries, again_gradients = 0, 0  # that were charged to more than one episode
        for member in everyone if len(rows_) else ():
            prepare = getattr(member, "prepared", None)
            ready = member if prepare is None else prepare(player.policy, x.game, problem.threat, problem.seed)
            part = _taken(x, rows_)
            alone = _narrowed(problem, rows_)
            if members is not None and (ready.single_step or ready.iterations(2) == 1):  # no steps to be given
                alone.threat = replace(alone.threat, budget=replace(alone.threat.budget, steps=None))
            found = attacked(player.policy, part, alone, ready, **options)
            # Who wants to lose one episode has to learn for it, so each is charged the whole of it (law 4).
            learnt: Lessons = getattr(ready, "lessons", None) or Lessons()
            found.queries += learnt.queries
            found.gradients += learnt.gradients
            found.episodes.taught = torch.full_like(part.seed, learnt.steps)
            again_queries += learnt.queries * (len(rows_) - 1)
            again_gradients += learnt.gradients * (len(rows_) - 1)
            counts += found.counts
            if members is not None:
                told = torch.full_like(lost, float("nan"))
                told[rows_] = torch.where(found.broken, float("nan"), found.total)
                notes[f"return under {type(member).__name__}"] = told
            best = _worse(best, found, rows_, lost, first=member is attack)
        lost_at = {row: reason for row, reason in best.reasons.items() if bool(best.broken[row])}
        counts += Counts(errors=int(best.broken.sum()) - len(lost_at), lost=len(lost_at))
    region = problem.threat.space.around(problem.x)
    feasible = region.feasible(best.episodes)
    score = torch.where(best.broken, float("nan"), lost - best.total)  # what was paid until it broke is no return
    figures = problem.threat.space.measures(problem.x, best.episodes) | known(player.policy, problem, calm.episodes)
    notes |= {name: torch.where(wrong | best.broken, float("nan"), values.double()) for name, values in figures.items()}
    ledger = Ledger(
        adv=best.episodes, score=score, clean_score=lost - calm.total,
        distance=torch.where(wrong, 0.0, region.distance(best.episodes).double()),
        fooled=~wrong & ~best.broken & feasible & (score > 0), wrong=wrong, broken=best.broken,
        strayed=~wrong & ~feasible, done=torch.ones_like(wrong), queries=best.queries, gradients=best.gradients,
        recalled=torch.zeros_like(best.queries), forwards=int(best.queries.sum()) - again_queries,
        backwards=int(best.gradients.sum()) - again_gradients,
        signals=Signals.none(torch.device("cpu")), notes=notes,
    )  # fmt: skip
    # Notes are figures: why an episode broke off is their name, and when their value.
    for row, reason in lost_at.items():
        ledger.notes.setdefault(f"lost: {reason}", torch.full_like(lost, float("nan")))[row] = best.episodes.length[row]
    return ledger, counts


def repeated(played: Played) -> Counts:
    """The first episodes once more by the actions that were recorded, no policy asked: an environment that does not follow from its
    seed and from what is done says otherwise, and with it nothing can be laid to an attack (law 9)."""
    x, unlike = played.episodes, 0
    assert played.rewards is not None
    whole = (~played.broken & (x.length > 0)).nonzero()[:PROBE_ROWS, 0].tolist()
    for row in whole:
        with x.game.instances(1) as envs:
            try:
                unlike += not _alike(envs[0], x, row, played.rewards[row])
            except Exception:
                unlike, envs[0] = unlike + 1, None
    return Counts(repeated=len(whole), unrepeated=unlike)


def _alike(env: Any, x: Episodes, row: int, rewards: Tensor) -> bool:
    """Whether an environment says and pays what was recorded, but for rounding."""
    reach = x.game.reach
    said = env.reset(seed=int(x.seed[row]))[0]
    for step in range(int(x.length[row])):
        if not np.allclose(observed(said, x.game), x.true[row, step].numpy(), rtol=1e-3, atol=1e-6):
            return False
        act = x.acts[row, step].numpy()
        said, reward, *_ = env.step(
            int(act[0]) if reach is None else act.astype(reach[0].dtype).reshape(reach[0].shape)
        )
        if not np.isclose(paid(reward), float(rewards[step]), rtol=1e-3, atol=1e-6):
            return False
    return True


def _randomised(policy: PolicyTarget, calm: Episodes) -> bool:
    """Whether the policy answers first observations differently from call to call (law 9)."""
    first = calm.true[:, 0] if calm.true.shape[1] else calm.true.flatten(1)[:0]
    first = torch.cat([first, first.new_zeros(len(first), policy.memory)], 1)
    return randomised(policy, shaped(first, calm.game, policy))


def _worse(best: Played, found: Played, index: Tensor, lost: Tensor, *, first: bool) -> Played:
    """The worse episode for each row, in whatever order members come; what one member spent adds to what others did.

    A return below the one asked for counts before an episode that broke, and that before one which held.
    """
    was_broken, before = best.broken[index], best.total[index]
    fell, had_fallen = ~found.broken & (found.total < lost[index]), ~was_broken & (before < lost[index])
    worse = torch.where(was_broken, fell, found.total < before)
    keep = torch.where(found.broken, ~had_fallen, worse) | torch.tensor(first)
    parts = [_taken(best.episodes, slice(row, row + 1)) for row in range(len(best.total))]
    total, broken = best.total.clone(), best.broken.clone()
    queries, gradients = best.queries.clone(), best.gradients.clone()
    queries[index] += found.queries
    gradients[index] += found.gradients
    for at, row in enumerate(index.tolist()):
        if bool(keep[at]):
            parts[row] = _taken(found.episodes, slice(at, at + 1))
            total[row], broken[row] = found.total[at], found.broken[at]
    reasons = best.reasons | {int(index[at]): why for at, why in found.reasons.items()}
    return Played(Episodes.joined(parts), total, broken, queries, gradients, best.counts + found.counts, reasons)


def _taken(x: Episodes, index: Any) -> Episodes:
    from mmadv import rows

    return rows.take(x, index)


def _narrowed(problem: Problem, index: Tensor) -> Problem:
    """The problem of some rows; only its threat model, ids and seed are asked for while playing."""
    return Problem(
        problem.target, problem.threat, problem.x, problem.y[index], problem.ids[index], seed=problem.seed,
        deterministic=problem.deterministic,
    )  # fmt: skip


def observed(said: Any, game: Game) -> np.ndarray:
    """(size,) float32, what an environment says.

    Raises:
        ValueError: it is no observation of the game, or lies outside of its box.
        TypeError: likewise.
    """
    found = np.array(said, dtype=np.float32)
    if found.shape != game.shape:
        raise ValueError(f"the environment gave an observation of shape {found.shape}, where {game.shape} was said")
    flat, (low, high) = found.reshape(-1), (end.numpy() for end in game.box)
    finite = np.isfinite(flat)
    if not (finite & (flat >= low) & (flat <= high)).all():
        wrong = "outside of its own box" if finite.all() else "with NaN or inf"
        raise ValueError(f"the environment gave an observation {wrong}")
    return flat


def paid(reward: Any) -> float:
    """A reward as a number.

    Raises:
        ValueError: it is none.
        TypeError: likewise.
    """
    if type(reward) is float and math.isfinite(reward):
        return reward
    found = np.asarray(reward, dtype=np.float64)
    if found.size != 1 or not np.isfinite(found).all():
        raise ValueError(f"the environment gave the reward {reward!r}")
    return float(found.reshape(()))


def within(answer: Tensor, game: Game) -> Tensor:
    """Answers (…, L) with the means of continuous actions inside their bounds, as the environment is told them."""
    if game.reach is None:
        return answer
    low, high = (torch.as_tensor(end.reshape(-1)).to(answer) for end in game.reach)
    means = answer[..., : len(low)].clamp(low, high)
    return torch.cat([means, answer[..., len(low) :]], -1)


def done(aim: Loss, game: Game) -> Loss:
    """An objective of what is done in the end: what a bound takes back is worth nothing, though its gradient may lead on."""
    return lambda output, y, facts: aim(within(output, game), y, facts)


def seed_of(seed: int, step: int) -> int:
    """A seed for each step, so that no two draw the same noise."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}".encode()).digest()[:7], "little")

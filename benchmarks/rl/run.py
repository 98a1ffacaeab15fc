"""The RL plugin against a plain loop that attacks one environment at a time, and agents' returns: `python benchmarks/run.py rl`.

It runs in the project's own environment: no peer attacks Stable-Baselines3 policies. What the papers report of agents that
their authors trained stands beside what becomes of ours, which the demo's seeded recipes train (Hopper's in about ten minutes).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).resolve().parent.parent / "results"
UNIT = (0.732, 1.063, 0.122, 0.439)
STEPS = 5
LEVELS = (0.1, 0.2, 0.3, 0.4)
ATTACKS = (
    "rl.random", "rl.fgsm", "rl.pgd", "rl.mad", "rl.waves", "rl.critic", "rl.robust_sarsa", "rl.director",
    "rl.learned",
)  # fmt: skip
TASKS: dict[str, dict[str, Any]] = {
    "InvertedPendulum-v5": {
        "eps": (0.3, 0.5, 1.0), "training": 100_000,
        "published": {
            "victim": "DDPG, InvertedPendulum-v2", "eps": "0.3 standard deviations",
            "natural": 1000.0, "strongest of five": 92.0, "source": "arXiv 2003.08938",
        },
    },
    "Hopper-v5": {
        "eps": (0.075,), "training": 300_000,
        "published": {
            "victim": "PPO, Hopper-v2, the median of at least 15 agents", "eps": "0.075 in the normalised space",
            "natural": 3167.6, "strongest of five": 733.0, "learned adversary": 636.0,
            "source": "arXiv 2003.08938 and its repository huanzhang12/SA_PPO; learned adversary: arXiv 2101.08452",
        },
    },
}  # fmt: skip
"""Radii are Linf, in the unit of the victim's own normaliser, as in SA-PPO."""
CONTINUOUS = (
    "rl.random", "rl.fgsm", "rl.pgd", "rl.mad", "rl.waves", "rl.critic", "rl.robust_sarsa", "rl.learned", "rl.suite",
)  # fmt: skip
SPEEDS = {
    "lockstep": "all in lockstep",
    "one by one": "one by one",
    "the same attack": "plain loop, the same attack",
    "last iterate": "plain loop, last iterate",
}
NEVER_LOST = -1e9
"""Below any return: an episode that counts as lost from the start would not be attacked."""


def rl(args: argparse.Namespace) -> None:
    """Lockstep against one episode at a time and against a bare loop; returns after each attack at each radius."""
    torch.set_num_threads(1)
    parts: dict[str, Callable[[int], dict[str, Any]]] = {"speed": speed, "returns": curve, "published": published}
    path = RESULTS / ("rl-partial.json" if args.quick else "rl.json")
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for name in args.parts or parts:
        found[name] = parts[name]({"speed": 4}.get(name, 3) if args.quick else {"speed": 16}.get(name, 20))
        print(name, json.dumps(found[name], indent=1), flush=True)
        found["about"] = {"python": platform.python_version(), "torch": torch.__version__, "threads": 1}
        RESULTS.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
        path.with_suffix(".md").write_text(tables(found))


def attacked(policy: Any, x: Any, y: Any, attack: str, eps: float, **words: Any) -> Any:
    import mmadv

    return mmadv.attack(policy, x, y, attack, eps=eps, unit=UNIT, **words)


def speed(count: int) -> dict[str, Any]:
    """PGD on `count` episodes in lockstep, one by one, and by loops without an engine: the same attack, and the least there is.

    All in turns, since a machine is not as fast at all times: lockstep's time is the median of one for every fourth episode.
    """
    from mmadv import rows
    from mmadv_rl import demo
    from mmadv_rl.episodes import returns

    policy, source = demo.agent("CartPole-v1"), demo.episodes("CartPole-v1", count)
    given = source.take(0, count)
    ids = torch.arange(count)

    def engine(part: slice) -> Any:
        x, y, own = rows.take((given.x, given.y, ids), part)
        return attacked(policy, x, y, "rl.pgd", 0.3, ids=own, steps=STEPS)

    found: dict[str, Any] = {
        name: {"s": 0.0, "steps": 0, "equal returns": 0} for name in ("one by one", "the same attack", "last iterate")
    }
    engine(slice(0, 1))  # what is imported at the first call is no part of it
    together, took = [], []
    for row in range(count):
        if row % 4 == 0:
            began = time.perf_counter()
            together.append(engine(slice(None)))
            took.append(time.perf_counter() - began)
        wanted, seed = float((returns(given.y) - together[0].score)[row]), int(given.x.seed[row])
        for name, play in (
            ("one by one", lambda row=row: only(engine(slice(row, row + 1)))),
            ("the same attack", lambda row=row, seed=seed: plain(policy, source.game, seed, int(ids[row]))),
            ("last iterate", lambda seed=seed: bare(policy, source.game, seed)),
        ):
            began = time.perf_counter()
            total, steps = play()
            found[name]["s"] += time.perf_counter() - began
            found[name]["steps"] += steps
            found[name]["equal returns"] += total == wanted
    del found["last iterate"]["equal returns"]  # it is another attack
    lockstep = {"s": statistics.median(took), "steps": int(together[0].adv.length.sum())}
    return {"episodes": count, "lockstep": lockstep} | found


def only(result: Any) -> tuple[float, int]:
    """The return and the steps of a single episode."""
    from mmadv_rl.episodes import returns

    return float((returns(result.y) - result.score)[0]), int(result.adv.length[0])


def plain(policy: Any, game: Any, seed: int, number: int) -> tuple[float, int]:
    """The return and the steps of one episode under the plugin's PGD, written out for one environment: no counts, no checks."""
    from mmadv.noise import Noise
    from mmadv_rl.play import seed_of

    total, steps = 0.0, 0
    with game.instances(1) as (env,):
        seen, over = env.reset(seed=seed)[0], False
        while not over:
            draw = Noise(seed_of(0, steps), torch.tensor([number])).uniform((4,))
            shown = moved(policy, torch.from_numpy(seen)[None], draw)
            with torch.no_grad():
                act = int(policy(shown).argmax())
            seen, reward, ended, cut, _ = env.step(act)
            total, over, steps = total + reward, ended or cut, steps + 1
    return total, steps


def moved(policy: Any, x: Any, draw: Any) -> Any:
    """The best candidate for one observation (1, 4): the end of one long step, a random start, or any of the steps from there."""
    from mmadv.losses import log_odds, margin

    reach = 0.3 * torch.tensor(UNIT)
    low, high = x - reach, x + reach
    with torch.no_grad():
        own = policy(x).argmax(1)

    def rank(answer: Any) -> float:
        return float(margin(answer, own).float())

    def climbed(adv: Any, length: float) -> tuple[float, Any]:
        leaf = adv.detach().requires_grad_()
        answer = policy(leaf)
        grad = torch.autograd.grad(log_odds(answer, own), leaf)[0]
        return rank(answer.detach()), torch.clamp(adv + length * reach * grad.sign(), low, high)

    _, leap = climbed(x, 1.0)
    with torch.no_grad():
        best, shown = rank(policy(leap)), leap
    adv = torch.clamp(x + reach * (2 * draw - 1), low, high)
    for step in range(STEPS + 1):
        if step < STEPS:
            found, further = climbed(adv, 0.5)
        else:
            with torch.no_grad():
                found, further = rank(policy(adv)), adv
        if found > best:
            best, shown = found, adv
        adv = further
    return shown


def bare(policy: Any, game: Any, seed: int) -> tuple[float, int]:
    """The return and the steps of one episode under the least that is PGD: what its last step comes to is shown."""
    unit = torch.tensor(UNIT)
    reach, total, steps = 0.3 * unit, 0.0, 0
    with game.instances(1) as (env,):
        seen, over = env.reset(seed=seed)[0], False
        while not over:
            x = torch.from_numpy(seen)[None]
            with torch.no_grad():
                own = policy(x).argmax(1)
            adv = x + reach * (2 * torch.rand(x.shape) - 1)
            for _ in range(STEPS):
                adv = adv.detach().requires_grad_()
                grad = torch.autograd.grad(torch.nn.functional.cross_entropy(policy(adv), own), adv)[0]
                adv = torch.maximum(torch.minimum(adv + 0.5 * reach * grad.sign(), x + reach), x - reach)
            with torch.no_grad():
                act = int(policy(adv).argmax())
            seen, reward, ended, cut, _ = env.step(act)
            total, over, steps = total + reward, ended or cut, steps + 1
    return total, steps


def curve(count: int) -> dict[str, Any]:
    """Mean return of episodes after each attack at each radius, and the worst of all."""
    from mmadv_rl import demo
    from mmadv_rl.episodes import returns

    policy, source = demo.agent("CartPole-v1"), demo.episodes("CartPole-v1", count)
    given = source.take(0, count)
    found: dict[str, Any] = {"episodes": count, "steps": STEPS, "unit": UNIT, "fingerprint": policy.fingerprint()}
    lost = returns(given.y)
    carried = torch.full((count,), float("inf"), dtype=torch.float64)
    for eps in LEVELS:
        row = {}
        for attack in ATTACKS:
            words = {} if attack in ("rl.random", "rl.fgsm", "rl.learned") else {"steps": STEPS + 1}
            result = attacked(policy, given.x, given.y, attack, eps, **words)
            total = lost - result.score
            carried = torch.minimum(carried, total)
            row[attack] = float(total.mean())
        row["worst of all"] = float(carried.mean())
        print(eps, row, flush=True)
        found[str(eps)] = row
    return found


def published(count: int) -> dict[str, Any]:
    """Returns of our victims, untouched and after each attack at the literature's radius, beside the literature's."""
    import mmadv
    from mmadv_rl import demo
    from mmadv_rl.episodes import Game
    from mmadv_rl.play import run_episodes

    found: dict[str, Any] = {}
    for env, task in TASKS.items():
        began = time.perf_counter()
        policy, game = demo.agent(env), Game(env, below=NEVER_LOST)
        x, y = game.episodes(count, seed=10_000)
        natural = run_episodes(policy, x)
        found[env] = {
            "victim": policy.name, "fingerprint": policy.fingerprint(), "recipe": demo.RECIPES[env], "unit": "policy",
            "training of the adversary": task["training"], "episodes": count,
            "training or reading the victim, s": time.perf_counter() - began,
            "one unit, raw": policy.units("policy", game).tolist(), "natural": figures(natural.total, natural.episodes.length),
            "published": task["published"],
        }  # fmt: skip
        print(env, found[env], flush=True)
        for eps in task["eps"]:
            rows: dict[str, Any] = {}
            least, longest = torch.full((count,), float("inf"), dtype=torch.float64), torch.zeros(count)
            for attack in CONTINUOUS:
                if attack == "rl.suite" and eps != task["eps"][-1]:
                    continue  # it is all the others again: once is enough to see that it is
                words = {"training": task["training"]} if attack in ("rl.learned", "rl.suite") else {}
                began = time.perf_counter()
                result = mmadv.attack(policy, x, y, attack, eps=eps, unit="policy", **words)
                total = NEVER_LOST - result.score
                longest = torch.where(total < least, result.adv.length, longest)
                least = torch.minimum(least, total)
                rows[attack] = figures(total, result.adv.length) | {
                    "largest raw change": float((result.adv.seen - result.adv.true).abs().max()),
                    "queries an episode": float(result.queries.double().mean()),
                    "s": time.perf_counter() - began,
                }
                print(env, eps, attack, rows[attack], flush=True)
            found[env][str(eps)] = rows | {"worst of all": figures(least, longest)}
    return found


def figures(total: torch.Tensor, steps: torch.Tensor) -> dict[str, Any]:
    """Mean, spread, 95 % bootstrap interval and worst of episodes' returns, and how long they are."""
    from mmadv_rl.section import spread

    mean, low, high = spread(total.tolist())
    return {
        "mean": mean, "std": float(total.std()), "interval": [low, high], "worst": float(total.min()),
        "steps": float(steps.double().mean()),
    }  # fmt: skip


def tables(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    text = ""
    if "speed" in found:
        one = found["speed"]
        text += (
            f"{one['episodes']} episodes of CartPole under PGD, {STEPS} steps each time. The plain loops attack one environment at "
            "a time, without an engine: by the attack written out, and by the least that is PGD.\n\n"
            "| played | s | environment steps a second | lockstep's share of the time | equal returns |\n|---|--:|--:|--:|--:|\n"
        )
        for name, label in SPEEDS.items():
            row = one[name]
            text += (
                f"| {label} | {row['s']:.2f} | {row['steps'] / row['s']:.0f} | {one['lockstep']['s'] / row['s']:.3f} "
                f"| {row.get('equal returns', '')} |\n"
            )
        text += "\n"
    if "returns" in found:
        part = found["returns"]
        labels = [*ATTACKS, "worst of all"]
        text += (
            f"CartPole-v1, mean return of {part['episodes']} episodes (untouched: 500); ε in SA-DQN's unit. "
            f"Victim {part['fingerprint'][:8]}: trained on another machine it rounds otherwise, and falls at other radii.\n\n"
        )
        text += f"| ε | {' | '.join(labels)} |\n|--:{'|--:' * len(labels)}|\n"
        for eps in LEVELS:
            text += f"| {eps} | {' | '.join(f'{part[str(eps)][label]:.0f}' for label in labels)} |\n"
        text += "\n"
    for env, part in found.get("published", {}).items():
        theirs, own = part["published"], part["natural"]
        text += f"{env}, {part['victim']} ({part['fingerprint'][:8]}): mean return of {part['episodes']} episodes [95 % interval], worst.\n\n"
        text += "| ε | attack | return | steps | s |\n|--:|---|---|--:|--:|\n"
        text += f"| 0 | none | {_told(own)} | {own['steps']:.0f} | |\n"
        for eps in TASKS[env]["eps"]:
            for attack, one in part[str(eps)].items():
                text += f"| {eps} | {attack} | {_told(one)} | {one['steps']:.0f} | {one.get('s', 0):.0f} |\n"
        shape = ", ".join(f"{name} {value:g}" for name, value in theirs.items() if isinstance(value, float))
        text += f"\nPublished ({theirs['source']}; {theirs['victim']}; ε {theirs['eps']}): {shape}.\n\n"
    return text.rstrip() + "\n"


def _told(one: dict[str, Any]) -> str:
    low, high = one["interval"]
    return f"{one['mean']:.0f} [{low:.0f}, {high:.0f}], {one['worst']:.0f}"


def add_to(commands: Any) -> None:
    sub = commands.add_parser("rl", help=rl.__doc__)
    sub.set_defaults(run=rl)
    sub.add_argument("--quick", action="store_true", help="few episodes: does everything still run?")
    sub.add_argument("--parts", nargs="+", choices=["speed", "returns", "published"])

"""The RL plugin against a plain loop that attacks one environment at a time: `python benchmarks/run.py rl`.

It runs in the project's own environment: no peer attacks Stable-Baselines3 policies.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).resolve().parent.parent / "results"
UNIT = (0.732, 1.063, 0.122, 0.439)
STEPS = 5
LEVELS = (0.1, 0.2, 0.3, 0.4)
ATTACKS = ("rl.random", "rl.fgsm", "rl.pgd", "rl.mad", "rl.critic", "rl.robust_sarsa", "rl.director")


def rl(args: argparse.Namespace) -> None:
    """Lockstep against one episode at a time and against a bare loop; returns after each attack at each radius."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {"about": {"python": platform.python_version(), "torch": torch.__version__, "threads": 1}}
    found["speed"] = speed(4 if args.quick else 16)
    print(json.dumps(found["speed"], indent=1), flush=True)
    found["returns"] = curve(3 if args.quick else 20)
    RESULTS.mkdir(exist_ok=True)
    name = "rl-partial.json" if args.quick else "rl.json"
    (RESULTS / name).write_text(json.dumps(found, indent=1) + "\n")


def attacked(policy: Any, x: Any, y: Any, attack: str, eps: float, **words: Any) -> Any:
    import mmadv

    return mmadv.attack(policy, x, y, attack, eps=eps, unit=UNIT, **words)


def speed(count: int) -> dict[str, Any]:
    """PGD on `count` episodes in lockstep, one by one, and by a loop without an engine."""
    from mmadv import rows
    from mmadv_rl import demo

    policy, source = demo.agent("CartPole-v1"), demo.episodes("CartPole-v1", count)
    given = source.take(0, count)
    ids = torch.arange(count)
    words = {"steps": STEPS, "eps": 0.3, "attack": "rl.pgd"}
    began = time.perf_counter()
    together = attacked(policy, given.x, given.y, ids=ids, **words)
    lockstep = time.perf_counter() - began
    began = time.perf_counter()
    single = []
    for row in range(count):
        part = slice(row, row + 1)
        single.append(attacked(policy, rows.take(given.x, part), given.y[part], ids=ids[part], **words))
    alone = time.perf_counter() - began
    equal = sum(float(one.score[0]) == float(together.score[row]) for row, one in enumerate(single))
    began = time.perf_counter()
    steps = sum(bare(policy, source.game, int(seed)) for seed in given.x.seed)
    plain = time.perf_counter() - began
    return {
        "episodes": count, "steps": int(together.adv.length.sum()), "lockstep, s": lockstep, "one by one, s": alone,
        "lockstep over one by one": lockstep / alone, "equal returns": equal, "bare loop, s": plain, "bare steps": steps,
    }  # fmt: skip


def bare(policy: Any, game: Any, seed: int) -> int:
    """One episode under PGD without an engine: no counts, no checks, no best iterate."""
    unit = torch.tensor(UNIT)
    reach, steps = 0.3 * unit, 0
    with game.instances(1) as (env,):
        seen, over = env.reset(seed=seed)[0], False
        while not over:
            x = torch.from_numpy(seen)[None]
            own = policy(x).argmax(1)
            adv = x + reach * (2 * torch.rand(x.shape) - 1)
            for _ in range(STEPS):
                adv = adv.detach().requires_grad_()
                grad = torch.autograd.grad(torch.nn.functional.cross_entropy(policy(adv), own), adv)[0]
                adv = torch.maximum(torch.minimum(adv + 0.5 * reach * grad.sign(), x + reach), x - reach)
            seen, _, ended, cut, _ = env.step(int(policy(adv.detach()).argmax()))
            over, steps = ended or cut, steps + 1
    return steps


def curve(count: int) -> dict[str, Any]:
    """Mean return of episodes after each attack at each radius, and the worst of all."""
    from mmadv_rl import demo
    from mmadv_rl.episodes import returns

    policy, source = demo.agent("CartPole-v1"), demo.episodes("CartPole-v1", count)
    given = source.take(0, count)
    found: dict[str, Any] = {"episodes": count, "steps": STEPS, "unit": UNIT}
    lost = returns(given.y)
    carried = torch.full((count,), float("inf"), dtype=torch.float64)
    for eps in LEVELS:
        row = {}
        for attack in ATTACKS:
            words = {} if attack in ("rl.random", "rl.fgsm") else {"steps": STEPS + 1}
            result = attacked(policy, given.x, given.y, attack, eps, **words)
            total = lost - result.score
            carried = torch.minimum(carried, total)
            row[attack] = float(total.mean())
        row["worst of all"] = float(carried.mean())
        print(eps, row, flush=True)
        found[str(eps)] = row
    return found


def add_to(commands: Any) -> None:
    sub = commands.add_parser("rl", help=rl.__doc__)
    sub.set_defaults(run=rl)
    sub.add_argument("--quick", action="store_true", help="few episodes: does everything still run?")

"""The engine: one `solve` for every attack of every modality."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from mmadv.errors import ParameterError
from mmadv.ledger import Ledger
from mmadv.oracle import Exhausted, Oracle
from mmadv.protocol import Attack
from mmadv.rows import take
from mmadv.target import rng_preserved
from mmadv.threat import Problem

Observer = Callable[[int, int], None]
"""Called with (step, rows still standing) whenever the engine looks at the device."""


def solve(
    problem: Problem,
    attack: Attack,
    *,
    early_stop: bool = True,
    compact_every: int | None = None,
    observe: Observer | None = None,
) -> Ledger:
    """Run an attack on a batch of examples.

    Args:
        problem: the batch and its threat model.
        attack: what to run.
        early_stop: drop finished rows; False keeps passing them, for measuring what a step costs.
        compact_every: steps between looks at which rows are finished, each a host sync on an accelerator: 8 there
            and 1 on the CPU by default. It changes no result.
        observe: told about progress at each look.

    Returns:
        The ledger, in the order of the examples.

    Raises:
        MmadvError: the threat model doesn't grant what the attack needs, or the victim doesn't answer as declared.

    Example:
        >>> from mmadv import BallSpace, ModuleTarget, Problem, ThreatModel
        >>> from mmadv.testing import linear_victim
        >>> victim, x, y = linear_victim(rows=4, features=6, classes=3)
        >>> from mmadv.search.fgsm import FGSM
        >>> problem = Problem(ModuleTarget(victim), ThreatModel(BallSpace("linf", 0.5)), x, y, torch.arange(4))
        >>> len(solve(problem, FGSM()).status)
        4
    """
    wanted = problem.threat.budget.steps
    if attack.single_step and wanted is not None:
        raise ParameterError(
            "steps is given, and this attack makes exactly one", where=type(attack).__name__, fix="leave steps out"
        )
    steps = wanted or attack.steps
    target = problem.target
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        rng_preserved(target.device, problem.seed),
        target.held(),
        _settled_heap(),
    ):
        oracle = Oracle(problem, attack, steps, early_stop)
        if hasattr(target, "check"):
            for labels in (oracle.y, oracle.towards):
                if labels is not None and len(labels):
                    target.check(oracle.region.x, labels)
        attack.check(oracle)
        if not len(problem.y):
            return oracle.close()
        every = compact_every or (1 if target.device.type == "cpu" else 8)
        try:
            state = attack.init(oracle)
            if attack.pending(state) is not oracle.region.x:  # else the first step asks about the clean inputs anyway
                oracle.open()
            for step in range(attack.iterations(steps)):
                if early_stop and step % every == 0:
                    oracle, state = _standing(oracle, state)
                    if observe is not None:
                        observe(step, len(oracle.y))
                    if not len(oracle.y):
                        return oracle.close()
                state = attack.step(state, oracle)
            oracle, state = _standing(oracle, state)  # the closing pass is for rows that it can still change
            last = attack.pending(state)
            if last is not None and len(oracle.y):
                oracle.evaluate(last)
        except Exhausted:
            pass
        return oracle.close()


def _standing(oracle: Oracle, state: Any) -> tuple[Oracle, Any]:
    """The oracle and the state without finished rows; a host sync on an accelerator."""
    done = oracle.ledger.done
    alive = (~done).nonzero()[:, 0]
    return (oracle, state) if len(alive) == len(done) else (oracle.take(alive), take(state, alive))


@contextmanager
def _settled_heap() -> Iterator[None]:
    """Let the garbage collector look at what the run makes, and not again and again at all that stood before it.

    On thousands of short texts its walks over torch's own modules took as long as the search.
    """
    if gc.get_freeze_count():  # somebody's own, which isn't ours to thaw
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()

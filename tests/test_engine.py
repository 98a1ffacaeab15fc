"""One loop for every attack: it opens, steps, drops what is finished, and closes with the last iterate scored."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import mmadv
from mmadv import Attack, BallSpace, Budget, ModuleTarget, Problem, Status, ThreatModel, losses, solve
from mmadv.errors import ParameterError
from mmadv.testing.victims import Counting, duel, linear_victim

STAGE = duel("linf", rows=6)


@dataclass(frozen=True, kw_only=True)
class Walk(Attack):
    """Walks a share of ε along the gradient each step."""

    share: float = 0.2
    steps: ClassVar[int] = 5

    def init(self, oracle):
        return oracle.region.x

    def step(self, adv, oracle):
        return oracle.region.climb_(adv, oracle.evaluate(adv, loss=losses.margin, grad=True).grad, self.share)

    def pending(self, adv):
        return adv


@dataclass(frozen=True, kw_only=True)
class Forgetful(Walk):
    """Does not hand its last iterate over."""

    def pending(self, adv):
        return None


@dataclass(frozen=True, kw_only=True)
class Once(Walk):
    """Makes one step."""

    steps: ClassVar[int] = 1
    single_step: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class Rounds(Walk):
    """Runs twice."""

    def iterations(self, steps):
        return 2 * steps


def problem(factor=1.2, victim=STAGE.victim, **limits):
    threat = ThreatModel(BallSpace("linf", factor * STAGE.radius), budget=Budget(**limits))
    return Problem(ModuleTarget(victim), threat, STAGE.x, STAGE.y, torch.arange(6))


def test_the_last_iterate_is_scored():
    # 1.2 · 5 steps of 0.2 reach the boundary with the last step only.
    assert solve(problem(1.1), Walk()).status == [Status.FOOLED] * 6
    assert solve(problem(1.1), Forgetful()).status == [Status.ROBUST] * 6


def test_steps_are_the_budgets_or_the_attacks():
    assert solve(problem(0.5), Walk()).queries.tolist() == [6] * 6
    assert solve(problem(0.5, steps=3), Walk()).queries.tolist() == [4] * 6
    assert solve(problem(0.5, steps=3), Rounds()).queries.tolist() == [7] * 6
    assert solve(problem(0.5), Once()).queries.tolist() == [2] * 6
    with pytest.raises(ParameterError, match="this attack makes exactly one"):
        solve(problem(0.5, steps=3), Once())


@pytest.mark.parametrize("every", [1, 2, 3, 100])
def test_finished_rows_are_dropped_at_any_cadence_with_the_same_result(every):
    y = torch.where(torch.arange(6) < 2, 1 - STAGE.y, STAGE.y)
    counting = Counting(STAGE.victim)
    mixed = problem(2.0, counting, steps=20)
    mixed.y = y
    ledger = solve(mixed, Walk(), compact_every=every)
    assert ledger.status == [Status.ALREADY_WRONG] * 2 + [Status.FOOLED] * 4
    assert ledger.queries.tolist() == [1, 1, 4, 4, 4, 4]
    assert counting.forwards == ledger.forwards
    assert counting.backwards == ledger.backwards
    assert ledger.forwards == {1: 18, 2: 20}.get(every, ledger.forwards)


def test_without_early_stop_the_result_is_the_same_and_costs_all_steps():
    quick, slow = (solve(problem(2.0), Walk(), early_stop=stop) for stop in (True, False))
    assert torch.equal(quick.adv, slow.adv)
    assert torch.equal(quick.queries, slow.queries)
    assert quick.forwards < slow.forwards == 5 * 6


def test_progress_is_told():
    seen = []
    solve(problem(2.0), Walk(), observe=lambda step, alive: seen.append((step, alive)))
    assert seen == [(0, 6), (1, 6), (2, 6), (3, 6), (4, 0)]
    seen.clear()
    solve(problem(0.5), Walk(), observe=lambda step, alive: seen.append((step, alive)), compact_every=2)
    assert seen == [(0, 6), (2, 6), (4, 6)]


def test_nothing_is_asked_for_an_empty_batch():
    counting = Counting(STAGE.victim)
    empty = problem(1.0, counting)
    empty.x, empty.y, empty.ids = STAGE.x[:0], STAGE.y[:0], torch.arange(0)
    assert solve(empty, Walk()).status == []
    assert counting.forwards == 0


def test_checks_come_before_the_first_query():
    counting = Counting(STAGE.victim)

    class Picky(Walk):
        def check(self, oracle):
            raise ParameterError("not today", where="here", fix="tomorrow")

    with pytest.raises(ParameterError, match="not today"):
        solve(problem(1.0, counting), Picky())
    assert counting.forwards == 0


@dataclass(frozen=True, kw_only=True)
class Stops(Walk):
    """Notes how much of the heap is at rest, and fails."""

    def step(self, adv, oracle):
        raise RuntimeError(f"{gc.get_freeze_count() > 0}")


def test_the_heap_is_at_rest_during_a_run_and_thawed_however_it_ends_unless_it_was_frozen_before():
    with pytest.raises(RuntimeError, match="True"):
        solve(problem(), Stops())
    assert gc.get_freeze_count() == 0
    gc.freeze()
    try:
        solve(problem(), Walk())
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_an_exhausted_budget_closes_the_run_with_the_best_seen():
    ledger = solve(problem(1.0, queries=3), Walk())
    assert ledger.queries.tolist() == [3] * 6
    assert torch.allclose(ledger.distance, torch.tensor(0.4 * STAGE.radius), rtol=1e-3)
    assert ledger.status == [Status.ROBUST] * 6


@pytest.mark.parametrize(("steps", "alarmed"), [(4, True), (200, False)])
def test_a_minimum_norm_search_that_was_cut_off_is_reported(steps, alarmed):
    victim, x, y = linear_victim(rows=16, shape=(1, 4, 4))
    result = mmadv.attack(victim, x, y, "image.ddn", norm="l2", steps=steps, initial_radius=0.5)
    assert ("unfinished_search" in [alarm.code for alarm in result.alarms]) == alarmed
    assert result.success.all()

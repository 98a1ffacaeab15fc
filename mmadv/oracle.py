"""The oracle: the only path from an attack to the victim. It grants, counts, verifies and keeps the best seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from mmadv import rows
from mmadv.access import Access, Output
from mmadv.errors import AccessError, AttackError, InputError, ParameterError, TargetError
from mmadv.goals import decision, judged, right
from mmadv.ledger import Ledger, Signals
from mmadv.losses import Loss, by_name
from mmadv.memo import Memo
from mmadv.noise import Noise, streams
from mmadv.target import CALL, drawing, out_of_memory

if TYPE_CHECKING:
    from mmadv.protocol import Attack
    from mmadv.target import Target
    from mmadv.threat import Problem

IMPROBABLE = 0.02
"""How far probabilities may be from a sum of 1: twice what rounding in bfloat16 makes of them."""


class Exhausted(Exception):
    """No row can afford another query; the engine closes the run."""


@dataclass(frozen=True)
class Evaluation:
    """What the victim answered, as far as the threat model lets the attack see it.

    Args:
        output: (A, L) or (A, K, L) logits, whatever the victim returns; (A,) or (A, K) labels where only decisions are granted.
        score: (A,) or (A, K), −inf for candidates that were not sent.
        hit: (A,) or (A, K) bool.
        loss: (A,) or (A, K), if a loss was asked for.
        grad: of the summed loss, shaped as the candidates, if it was asked for; 0 where it was not finite.
    """

    output: Tensor
    score: Tensor
    hit: Tensor
    loss: Any = None
    grad: Any = None


def check_granted(attack: Attack, access: Access, target: Target) -> None:
    """See that an attack needs no more of a target than is granted.

    Raises:
        AccessError: it does.
    """
    if attack.access > access:
        raise AccessError(
            f"{type(attack).__name__} needs {attack.access.name.lower()} access and the threat model grants {access.name.lower()}",
            where=target.name,
            fix=f"grant access={attack.access.name.lower()!r}, or choose an attack that needs less",
        )


class Oracle:
    """A batch of examples under one threat model, as an attack sees it.

    Attributes:
        region: the feasible region around each row; `region.x` is the clean input.
        y: (A,) what is right.
        towards: (A,) what a targeted goal is to reach, or None.
        noise: draws keyed by example.
        steps: how many the engine will make.
        early_stop: whether finished rows are dropped.
        ledger: of the rows still here.
    """

    def __init__(self, problem: Problem, attack: Attack, steps: int, early_stop: bool = True) -> None:
        self.problem, self.steps, self.early_stop = problem, steps, early_stop
        target, threat = problem.target, problem.threat
        if threat.access > target.access:
            raise AccessError(
                f"the threat model grants {threat.access.name.lower()} access and the target gives {target.access.name.lower()}",
                where=target.name,
                fix=f"use access={target.access.name.lower()!r}, or a target that gives more",
            )
        check_granted(attack, threat.access, target)
        self._nearest = attack.keeps == "nearest"
        space = threat.space.relaxed() if self._nearest else threat.space
        x = rows.detached(problem.x, target.device)
        self.region: Any = space.around(x)  # of the modality's own kind, which its attacks know
        # A minimum-norm search is judged by the threat model's own radius when it closes.
        self._region = threat.space.around(x) if self._nearest else self.region
        self.y = problem.y.to(target.device)
        self.towards = None if problem.towards is None else problem.towards.to(target.device)
        self.noise = Noise(problem.seed, problem.ids.to(target.device))
        leaf = next(rows.leaves(self.region.x))
        self._axes = leaf.dim()
        self.ledger = Ledger.blank(
            rows.copied(self.region.x), len(leaf), leaf.device, torch.promote_types(leaf.dtype, torch.float32)
        )
        if hasattr(self._region, "terms"):
            self.ledger.terms = self._region.terms()
        self._whole, self._place = self.ledger, torch.arange(len(leaf), device=leaf.device)
        self.signals = Signals.none(leaf.device)
        self.forwards = self.backwards = self._calls = 0
        # Discrete candidates come up again and again; what was answered once isn't asked again.
        self._memo = Memo() if hasattr(self.region, "keys") and self.deterministic else None
        self._opened = False
        self._classes: int | None = None
        # How far sums of probabilities were from 1.
        self._improbable = torch.zeros((), dtype=torch.float64, device=leaf.device)
        self._climbed: Tensor | None = None  # (A,) or (A, K) the loss where the newest gradient was taken
        self._started: Tensor | None = None  # that where an ascent began
        self._owned = False  # whether the ledger's adversarials are in memory of their own
        # Upper bounds on what any one row has spent: as long as they fit, no row needs to be asked.
        self._most_queries = self._most_gradients = 0

    # --- what an attack calls --------------------------------------------------------------------

    @property
    def deterministic(self) -> bool:
        """Whether the same input gets the same answer each time, so that a repeated iterate proves that no more can come."""
        return self.problem.deterministic and self.problem.eot == 1

    def evaluate(
        self,
        adv: Any,
        *,
        valid: Tensor | None = None,
        loss: Loss | None = None,
        towards: Tensor | None = None,
        grad: bool = False,
        probe: bool = False,
        novel: bool = False,
        merit: Tensor | None = None,
        value: Callable[[Any], tuple[Any, Tensor]] | None = None,
    ) -> Evaluation:
        """Ask the victim about one or K candidates a row.

        Args:
            adv: (A, …) or (A, K, …), never altered afterwards.
            valid: (A, K) bool, which candidates to send; all if not given.
            loss: `(output, label) -> (…,)`, seen from the goal (`Goal.loss`).
            towards: (A,) classes, or rows of what else the loss compares with, handed to `loss` as a third argument, the goal
                left out.
            grad: also give the gradient of `loss`.
            probe: only to learn from the answers: counted like any other, and never kept as an adversarial.
            novel: none of these comes up twice, so that their answers needn't be remembered.
            merit: (A,) or (A, K) how good the attack holds them to be, for a goal that leaves it to the attack.
            value: asks the victim in place of a plain call, `inputs (B, …) -> (answer, (B,))`: beside the answer it gives what is
                climbed in place of a loss, such as a critic's value, of the same pass; it is the merit too.

        Returns:
            An `Evaluation` shaped like the candidates.

        Raises:
            AccessError: gradients or a loss that the threat model does not grant.
            Exhausted: no row can afford it; the engine handles this.
        """
        granted = self.problem.threat.access
        scored = loss is not None or value is not None
        if (grad and granted < Access.GRADIENT) or (scored and granted < Access.SCORE):
            raise AccessError(
                f"the attack asked for {'gradients' if grad else 'a loss of scores'} and is granted {granted.name.lower()} access",
                where=self.problem.target.name,
                fix="grant more access, or choose an attack that needs less",
            )
        if grad and not scored:
            raise AttackError("a gradient was asked for without a loss", where="Oracle.evaluate", fix="pass loss=")
        if adv is not self.region.x:
            self.open()
        leaf = next(rows.leaves(adv))
        candidates = leaf.shape[1] if leaf.dim() > self._axes else None
        sent: Tensor | None
        if self._memo is not None and not grad and not novel and value is None:
            valid, sent, output = self._recall(self._memo, adv, valid, candidates)
            losses, gradient = self._loss(loss, output, towards, candidates), None
        else:
            valid = sent = self._affordable(valid, candidates, grad)
            output, losses, gradient = self._ask(adv, valid, loss, towards, grad, value)
        merit = losses if value is not None else merit
        return self._judge(adv, candidates, valid, sent, output, losses, gradient, probe, merit)

    def loss(self, name: str) -> Loss:
        """The loss called `name`, for an attack to check and to pass to `evaluate`.

        Raises:
            ParameterError: no such loss, or another one than `ce` for a target that has a loss of its own.
        """
        function = by_name(name)
        if name != "ce" and hasattr(self.problem.target, "likelihood"):
            raise ParameterError(
                f"loss is {name!r}, and {self.problem.target.name} answers no scores that it could be taken of",
                where="loss",
                fix="leave it out: what is climbed is the target's own likelihood",
            )
        return function

    def retire(self, mask: Tensor) -> None:
        """End the rows of `mask` (A,): the attack knows that it can't find more for them."""
        self.open()
        self.ledger.done |= mask

    def ascended(self, step: int) -> None:
        """Told by ascents at each of their steps: the first one should raise the loss, and for a sound victim nearly always does."""
        if step == 0:
            self._started = self._climbed
        elif step == 1 and self._started is not None and self._climbed is not None:
            change = self._climbed - self._started
            moved = torch.isfinite(change) & (change != 0)  # where there is no gradient, another sign says so
            self.signals.first_steps += moved.sum()
            self.signals.fallen += (moved & (change < 0)).sum()

    def note(self, name: str, values: Tensor) -> None:
        """Keep what the attack itself says of each row, such as a wrapped library's own verdict, for records. It decides nothing.

        Args:
            name: of the figure.
            values: (A,); NaN where there is nothing to say.
        """
        whole = self._whole.notes.setdefault(
            name, torch.full((len(self._whole.done),), float("nan"), dtype=torch.float64, device=self._place.device)
        )
        whole[self._place] = values.to(whole)

    # --- what the engine calls -------------------------------------------------------------------

    def open(self) -> None:
        """Ask about the clean inputs, unless that was the first thing the attack did."""
        if not self._opened:
            self.evaluate(self.region.x)

    def take(self, alive: Tensor) -> Self:
        """Go on with the rows at `alive` only; the others are settled in the ledger."""
        if self._whole is self.ledger and not self._owned:  # from here on it is written to
            self.ledger.adv = rows.copied(self.ledger.adv)
        self._settle()
        self._place = self._place[alive]
        self.ledger = rows.take(self.ledger, alive)
        self._owned = True
        self.region = rows.take(self.region, alive)
        self.y, self.towards, self.noise = rows.take((self.y, self.towards, self.noise), alive)
        self._climbed, self._started = rows.take((self._climbed, self._started), alive)
        return self

    def close(self) -> Ledger:
        """Settle every row, judging once more the best iterate of those that were never fooled."""
        if len(self.y):
            self.open()
        if float(self._improbable) > IMPROBABLE:
            raise self._no_probabilities(f"are up to {float(self._improbable):.4g} off a sum of 1")
        self._settle()
        ledger, region = self._whole, self._region
        if self._nearest:
            # Found without a limit on distance; here the threat model's own is applied.
            ledger.distance = torch.where(ledger.wrong, 0.0, ledger.distance)
            self.signals.nearest_found = ledger.fooled.sum()
            ledger.fooled = ledger.fooled & region.feasible(ledger.adv)
        elif (index := rows.affected(~ledger.fooled)) is not None:
            part, adv = rows.take((region.judging(), ledger.adv), index)
            fooled, score, clean = rows.take((ledger.fooled, ledger.score, ledger.clean_score), index)
            back = ~fooled & ~part.feasible(adv)
            distance = torch.where(fooled, rows.take(ledger.distance, index), part.distance(adv))
            ledger.adv = rows.written(rows.copied(ledger.adv), index, rows.where(back, part.x, adv))
            ledger.score = rows.written(ledger.score, index, torch.where(back, clean, score))
            ledger.distance = rows.written(ledger.distance, index, torch.where(back, 0.0, distance))
        ledger.forwards, ledger.backwards, ledger.signals = self.forwards, self.backwards, self.signals
        ledger.classes = self._classes or 0
        return ledger

    def _settle(self) -> None:
        """Write what is known of the rows still here into the ledger of all rows."""
        if self._whole is not self.ledger:
            rows.put_(self._whole, self._place, self.ledger)

    # --- asking ----------------------------------------------------------------------------------

    def _affordable(self, valid: Tensor | None, candidates: int | None, grad: bool) -> Tensor | None:
        """Which candidates may be sent; rows that can't afford one are ended."""
        budget, eot = self.problem.threat.budget, self.problem.eot
        each = eot * (1 if candidates is None else candidates)
        self._most_queries += each
        self._most_gradients += each * grad
        fits = self._most_queries <= (budget.queries or math.inf)
        if grad and budget.gradients is not None:
            fits = fits and self._most_gradients <= budget.gradients
        if fits:
            return valid
        ledger = self.ledger
        left = torch.full_like(ledger.queries, torch.iinfo(torch.int64).max)
        if budget.queries is not None:
            left = budget.queries - ledger.queries
        if grad and budget.gradients is not None:
            left = torch.minimum(left, budget.gradients - ledger.gradients)
        wanted = valid if valid is not None else ledger.done.new_ones((len(left), candidates or 1))
        sent = wanted & (wanted.cumsum(1) * eot <= left.unsqueeze(1)) & ~ledger.done.unsqueeze(1)
        ledger.done |= wanted.any(1) & ~sent.any(1)
        if bool(ledger.done.all()):
            raise Exhausted
        self._most_queries = int(ledger.queries.max()) + each
        self._most_gradients = int(ledger.gradients.max()) + each * grad
        return sent

    def _recall(
        self, memo: Memo, adv: Any, valid: Tensor | None, candidates: int | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Ask only about what has not been answered before.

        Returns:
            (A, K) bool: which candidates are answered, (A, K) bool: which of them were sent, and the answers.
        """
        keys = self.region.keys(adv)
        flat = keys.reshape(len(keys), -1)
        wanted = (~self.ledger.done).unsqueeze(1).expand_as(flat)
        if valid is not None:
            wanted = wanted & valid
        sent = self._affordable(memo.fresh(flat, wanted), candidates, False)
        assert sent is not None
        if not self._opened or bool(sent.any()):
            fresh = self._ask(adv, sent, None, None, False)[0]
            memo.add(flat[sent], fresh.reshape(*flat.shape, *fresh.shape[keys.dim() :])[sent])
            if torch.equal(sent, wanted):  # nothing has to be looked up
                return sent, sent, fresh
        answered, output = memo.answers(flat, wanted)
        return answered, sent, output.reshape(*keys.shape, *output.shape[2:])

    def _loss(self, loss: Loss | None, output: Tensor, towards: Tensor | None, candidates: int | None) -> Any:
        """`loss` of answers that were given without it, (A,) or (A, K)."""
        if loss is None:
            return None
        y, goal_towards, other = rows.repeated((self.y, self.towards, towards), candidates or 1)
        flat = output.reshape(-1, output.shape[-1])
        goal = self.problem.threat.goal
        values = goal.loss(loss, flat, y, goal_towards) if other is None else loss(flat, y, other)
        return values.reshape(output.shape[:-1])

    def _ask(
        self, adv: Any, valid: Tensor | None, loss: Loss | None, towards: Tensor | None, grad: bool, value: Any = None
    ) -> tuple[Tensor, Any, Any]:
        """Forward (and backward) passes over the rows that are sent, in the candidates' own shape."""
        leaf = next(rows.leaves(adv))
        shape = leaf.shape[:2] if leaf.dim() > self._axes else leaf.shape[:1]
        per_row = (self.y, self.towards, towards)
        streams_of = self.noise.ids
        self._calls += 1
        if len(shape) == 2:
            adv = rows.fold(adv)
            per_row = rows.repeated(per_row, shape[1])
            streams_of = streams(streams_of, shape[1])
        sent = None if valid is None else valid.reshape(-1).nonzero()[:, 0]
        if sent is not None:
            adv, per_row, streams_of = rows.take((adv, per_row, streams_of), sent)
        parts: list[tuple[Tensor, Any, Any]] = []
        start, total = 0, rows.count(adv)
        while start < total or not parts:
            size = self.problem.target.batch_size or max(total * self.problem.eot, 1)
            part = slice(start, start + max(1, size // self.problem.eot))
            try:
                # Tensors of its own: a victim may do what it likes to them, such as asking for gradients.
                x = rows.take(adv, part)
                whole = part.stop >= total and not parts
                given, ids = (per_row, streams_of) if whole else rows.take((per_row, streams_of), part)
                noise = Noise(~self.problem.seed, streams(ids, self.problem.eot), self._calls * CALL)
                with drawing(self.problem.target, noise):
                    parts.append(self._pass(x, given, loss, grad, value))
            except (RuntimeError, MemoryError) as error:
                if part.stop - part.start == 1 or not out_of_memory(error):
                    raise
                self.problem.target.batch_size = max(1, min(size, total * self.problem.eot) // 2)
                continue
            start = part.stop
        answer: list[Any] = [
            column[0] if len(column) == 1 or column[0] is None else torch.cat(column)
            for column in zip(*parts, strict=True)
        ]
        self.forwards += total * self.problem.eot
        self.backwards += total * self.problem.eot * grad
        if sent is not None:
            fills = float("nan") if answer[0].is_floating_point() else -1, float("-inf"), 0.0
            answer = [
                None if part is None else _spread(part, sent, math.prod(shape), fill)
                for part, fill in zip(answer, fills, strict=True)
            ]
        if len(shape) == 2:
            answer = [None if part is None else part.reshape(*shape, *part.shape[1:]) for part in answer]
        return answer[0], answer[1], answer[2]

    def _pass(
        self, x: Any, per_row: tuple[Tensor, Tensor | None, Tensor | None], loss: Loss | None, grad: bool, value: Any
    ) -> tuple[Tensor, Any, Any]:
        x = rows.expanded(x)
        y, goal_towards, towards = per_row
        goal, target, eot = self.problem.threat.goal, self.problem.target, self.problem.eot
        with torch.set_grad_enabled(grad):
            leaf: Any = None
            back: Any = None
            likelihood: Any = None
            values: Any = None
            if grad and value is None and hasattr(target, "traced"):
                answer, leaf, back = target.traced(rows.repeated(x, eot))
            else:
                if grad:
                    x, leaf = _with_leaf(x)
                x = rows.repeated(x, eot)
                if value is not None:
                    answer, values = value(x)
                    values = values.reshape(len(y), eot).mean(1)
                elif loss is not None and hasattr(target, "likelihood"):
                    answer, likelihood = target.likelihood(x)
                    loss = _averaged(likelihood, eot)
                else:
                    answer = target(x)
            output = self._alike(answered(target, answer, len(y) * eot))
            if eot > 1:
                output = expected(output, len(y), eot)
            if loss is not None:
                values = goal.loss(loss, output, y, goal_towards) if towards is None else loss(output, y, towards)
            if values is not None and values.shape != (len(y),):
                raise AttackError(
                    f"a loss of {len(y)} rows has shape {tuple(values.shape)}",
                    where="Oracle.evaluate",
                    fix="give one value for each row: no mean or sum over the batch",
                )
            if not grad:
                return output, values, None
            if not values.requires_grad:
                raise TargetError(
                    f"{target.name} declares gradient access, and its output does not depend on its input differentiably",
                    where="the victim's forward pass",
                    fix="use access='score', or make the forward pass differentiable (no detach, no no_grad, no argmax)",
                )
            gradients = torch.autograd.grad(values.sum(), leaf)
        if back is None:
            return output.detach(), values.detach(), gradients[0]
        gradient = back(gradients)  # of every pass; a row's is their sum
        return output.detach(), values.detach(), gradient.reshape(len(y), eot, *gradient.shape[1:]).sum(1)

    def _alike(self, output: Tensor) -> Tensor:
        """A victim's answer, seen to have the classes of its first one; how far probabilities stray is told when the run closes.

        Raises:
            TargetError: other classes.
        """
        declared = self.problem.target.output
        if not output.is_floating_point() or declared is Output.VALUES:
            return output
        if self._classes is None:
            self._classes = output.shape[1]
            self._refuse_labels(output.shape[1])  # before a loss looks them up
        if output.shape[1] != self._classes:
            raise TargetError(
                f"the victim answers {output.shape[1]} classes, and first it answered {self._classes}",
                where=self.problem.target.name,
                fix="return the same classes for every batch",
            )
        if declared in (Output.PROBABILITIES, Output.LOG_PROBABILITIES) and len(output):
            off = (output.detach().logsumexp(1).exp() - 1).abs()
            off = torch.where(torch.isfinite(off), off, 0.0).amax()  # NaN is an error of its own, for its row alone
            self._improbable = torch.maximum(self._improbable, off.to(self._improbable))
        return output

    def _refuse_labels(self, classes: int) -> None:
        """See that labels and targets are classes of the victim.

        Raises:
            InputError: a label that is none.
            ParameterError: a target that is none.
        """
        outside = (self.y < 0) | (self.y >= classes)
        if bool(outside.any()):
            row = int(outside.nonzero()[0, 0])
            raise InputError(
                f"label {int(self.y[row])} is out of range",
                where=f"y, row {row}",
                fix=f"the victim has classes 0 to {classes - 1}",
            )
        towards = self.towards if self.problem.threat.goal.needs_target else None
        if towards is not None and bool(((towards < 0) | (towards >= classes)).any()):
            raise ParameterError(
                "a target class is out of range",
                where="targets",
                fix=f"give a wrong class of 0 to {classes - 1} for each example",
            )

    def _no_probabilities(self, what: str) -> TargetError:
        words = self.problem.target.output.value.replace("_", " ")
        return TargetError(
            f"the victim's {words} {what}",
            where=self.problem.target.name,
            fix=f"return {words} that sum to 1, or declare output='logits'",
        )

    # --- judging ---------------------------------------------------------------------------------

    def _judge(
        self,
        adv: Any,
        candidates: int | None,
        valid: Tensor | None,
        sent: Tensor | None,
        output: Tensor,
        loss: Tensor | None,
        grad: Tensor | None,
        probe: bool,
        merit: Tensor | None,
    ) -> Evaluation:
        """Count, verify what would be kept, and keep it."""
        ledger, goal, eot = self.ledger, self.problem.threat.goal, self.problem.eot
        if not self._opened:
            self._check_first(output)
        finite = None  # where all is, nothing has to be masked
        if output.is_floating_point():
            finite = None if rows.all_finite(output) else torch.isfinite(output).all(-1)
        elif loss is not None:
            finite = torch.isfinite(loss)
        values = self.problem.target.output is Output.VALUES
        if self.problem.threat.access is Access.DECISION and not values:
            output = decision(output)
        y: Any = self.y
        towards: Any = self.towards
        if candidates is not None:
            y, towards = (
                None if part is None else part.unsqueeze(1).expand(-1, candidates, *part.shape[1:])
                for part in (y, towards)
            )
        told = output
        if (
            valid is not None and not output.is_floating_point()
        ):  # what was not sent has no label that a goal could know
            told = torch.where(rows.like(valid.reshape(y.shape), output), output, rows.like(y, output))
        score, hit = judged(goal, told, y, towards)
        steered = getattr(goal, "steered", False)
        score = (merit if steered and merit is not None else score).to(ledger.score.dtype)
        live = ~ledger.done
        spent: int | Tensor = eot * (candidates or 1)
        if valid is not None and sent is not None:
            spent = eot * sent.sum(1)
            ledger.recalled += live * (eot * valid.sum(1) - spent)
            valid = valid.reshape(hit.shape)
            score, hit = score.masked_fill(~valid, float("-inf")), hit & valid
        ledger.queries += live * spent
        if grad is not None:
            ledger.gradients += live * spent
            # A gradient taken where the attack has arrived already says nothing of masking.
            asked = ~hit & (live if candidates is None else live.unsqueeze(1))
            grad = self._sound(grad, asked if valid is None else asked & valid)
            self._climbed = loss
        if finite is not None:
            broken = ~finite if valid is None else ~finite & valid
            hit, score = hit & finite, score.masked_fill(~finite, float("-inf"))
            ledger.broken |= live & (broken if candidates is None else broken.any(1))
            ledger.done |= ledger.broken
        if self._opened and not probe:
            self._keep(adv, candidates, score, hit, live & ~ledger.broken)
        elif not self._opened:
            ledger.clean_score, ledger.score = score.clone(), score.clone()
            if steered:
                ledger.score.fill_(float("-inf"))
            ledger.wrong = ~right(goal, output, self.y) & ~ledger.broken
            ledger.done |= ledger.wrong
            self._opened = True
        return Evaluation(agreed(output, y), score, hit, loss, grad)

    def _keep(self, adv: Any, candidates: int | None, score: Tensor, hit: Tensor, live: Tensor) -> None:
        """Keep feasible hits (the first, or the nearest), and the best score of rows not fooled yet."""
        ledger = self.ledger
        self.signals.still_shrinking = torch.zeros_like(self.signals.still_shrinking)  # of the newest evaluation alone
        hitting = live & (hit if candidates is None else hit.any(1))
        best, pick = (score, None) if candidates is None else score.max(1)
        kept = live & ~ledger.fooled & ~hitting & (best > ledger.score)
        ledger.score = torch.where(kept, best, ledger.score)
        index = rows.affected(hitting)
        if index is not None:
            kept, pick = self._keep_hits(index, adv, score, hit, hitting, kept, pick)
        index = rows.affected(kept)
        if index is not None:
            self._store(index, kept, rows.expanded(adv if pick is None else rows.chosen(adv, pick)))

    def _keep_hits(
        self, index: Tensor | slice, adv: Any, score: Tensor, hit: Tensor, hitting: Tensor, kept: Tensor, pick: Any
    ) -> tuple[Tensor, Any]:
        """Judge the rows at `index`, some of whose candidates hit; say which rows to keep, and which candidate of each."""
        ledger = self.ledger
        region, adv, score, hit, hitting = rows.take((self.region.judging(), adv, score, hit, hitting), index)
        score_before, distance_before = rows.take((ledger.score, ledger.distance), index)
        feasible, outside, distance = _judged(region, adv, hit, score.dtype)
        found, strayed = hit & feasible, hit & outside
        score, distance = score.masked_fill(~found, float("-inf")), distance.masked_fill(~found, float("inf"))
        if pick is not None:
            best = distance.argmin(1) if self._nearest else score.argmax(1)
            score, distance = rows.chosen((score, distance), best)
            found, strayed = found.any(1), strayed.any(1)
            pick = rows.written(pick, index, best)
        won = hitting & found & (distance < distance_before if self._nearest else True)
        ledger.strayed = ledger.strayed | rows.written(torch.zeros_like(kept), index, hitting & strayed)
        ledger.score = rows.written(ledger.score, index, torch.where(won, score, score_before))
        ledger.distance = rows.written(ledger.distance, index, torch.where(won, distance, distance_before))
        if self._nearest:
            self.signals.still_shrinking = (
                won & (distance < 0.99 * distance_before) & torch.isfinite(distance_before)
            ).sum()
        won = rows.written(torch.zeros_like(kept), index, won)
        ledger.fooled = ledger.fooled | won
        if not self._nearest:
            ledger.done |= ledger.fooled
        return kept | won, pick

    def _store(self, index: Tensor | slice, kept: Tensor, adv: Any) -> None:
        """Keep `adv` for the rows of `kept`, which stand at `index`; where those are all, no row is copied."""
        ledger = self.ledger
        if isinstance(index, slice) and kept.device.type == "cpu":
            ledger.adv, self._owned = adv, False  # attacks never alter what they have handed over
            return
        if not self._owned:
            ledger.adv, self._owned = rows.copied(ledger.adv), True
        if isinstance(index, slice):
            rows.put_where_(ledger.adv, kept, adv)
        else:
            rows.put_(ledger.adv, index, rows.take(adv, index))

    def _check_first(self, output: Tensor) -> None:
        """What the first answers tell: whether targets are wrong classes, and whether answers are logits or probabilities as declared."""
        self.signals.opened += len(output)
        goal = self.problem.threat.goal
        if goal.needs_target and self.towards is not None and bool((self.towards == self.y).any()):
            raise ParameterError(
                "a target class is the right class", where="targets", fix="give a wrong class for each example"
            )
        if not output.is_floating_point() or not len(output) or self.problem.target.output is Output.VALUES:
            return
        declared = self.problem.target.output
        if declared in (Output.PROBABILITIES, Output.LOG_PROBABILITIES):
            sums = output.logsumexp(1).exp()
            off = (sums - 1).abs() > IMPROBABLE  # NaN is an error of its own, for its row alone
            if bool(off.any()):
                row = int(off.nonzero()[0, 0])
                raise self._no_probabilities(f"sum to {float(sums[row]):.4g} in row {row}")
        if declared is Output.LOGITS:
            sums = (output.sum(1) - 1).abs() < 1e-3
            self.signals.looks_like_probabilities += (sums & (output >= 0).all(1)).sum()

    def _sound(self, grad: Tensor, mask: Tensor) -> Tensor:
        """Count gradients of `mask` (A,) or (A, K) that are zero or not finite, and put 0 where they are not finite."""
        self.signals.gradient_rows += mask.sum()
        size = torch.linalg.vector_norm(
            grad.flatten(mask.dim()), dim=-1
        )  # one cheap pass over all, a second over the odd
        fine = (size > 0) & (size < float("inf"))
        if rows.settled(fine):
            return grad
        index = rows.affected(~fine.reshape(len(mask), -1).all(1))
        if index is None:
            return grad
        odd, mask = rows.take((grad, mask), index)
        peak = odd.abs().flatten(mask.dim()).amax(-1)
        self.signals.zero_gradients += ((peak == 0) & mask).sum()
        self.signals.broken_gradients += (~torch.isfinite(peak) & mask).sum()
        return rows.written(grad, index, torch.where(torch.isfinite(odd), odd, 0.0))


def answered(target: Target, answer: Any, length: int) -> Tensor:
    """A victim's answer to `length` inputs as logits (B, L), or as labels (B,) where it gives no more.

    Raises:
        TargetError: it is not what the target declares.
    """
    labels = target.output is Output.LABEL
    if not isinstance(answer, Tensor) or answer.dim() != (1 if labels else 2) or len(answer) != length:
        found = f"shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
        raise TargetError(
            f"the victim answered {found} to {length} inputs, where {'(B,) labels' if labels else '(B, L) ' + target.output} were declared",
            where=target.name,
            fix="return one row of class scores for each input, or say output='label' where it answers class numbers",
        )
    if labels:
        return answer.to(torch.int64)
    if target.output is Output.VALUES:
        return answer.to(torch.promote_types(answer.dtype, torch.float32))
    if answer.shape[1] < 2:
        raise TargetError(
            f"the victim has {answer.shape[1]} class",
            where=target.name,
            fix="a binary victim with one logit z becomes two: stack [0, z]",
        )
    answer = answer.to(torch.promote_types(answer.dtype, torch.float32))
    if target.output is Output.PROBABILITIES:
        return answer.clamp_min(torch.finfo(answer.dtype).tiny).log()
    if target.output is Output.LOG_PROBABILITIES:
        return answer.clamp_min(-1e30)  # −inf is an honest log-probability of 0
    return answer


def _judged(region: Any, adv: Any, hit: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Whether candidates are feasible, whether they break what the search could have known, and their distance.

    Of candidates that have to be written out, only hits are judged. Where a constraint is too costly to be asked about
    each candidate, a region has `outside`: a hit that it alone refuses is none, and no sign of an attack gone astray.
    """
    if not hasattr(adv, "expanded"):
        feasible = region.feasible(adv)
        outside = region.outside(adv) if hasattr(region, "outside") else ~feasible
        return feasible, outside, region.distance(adv).to(dtype)
    feasible, outside = torch.zeros_like(hit), torch.zeros_like(hit)
    distance = torch.full(hit.shape, float("inf"), dtype=dtype, device=hit.device)
    row, candidate = hit.nonzero().unbind(1)
    around = rows.take(region, row)
    one = rows.expanded(rows.take(rows.fold(adv), row * hit.shape[1] + candidate))
    feasible[row, candidate], outside[row, candidate], kept = _judged(around, one, hit[row, candidate], dtype)
    distance[row, candidate] = kept
    return feasible, outside, distance


def _with_leaf(x: Any) -> tuple[Any, Tensor]:
    """Rows whose floating tensor gradients can be taken of, and that tensor."""
    leaf = next(one for one in rows.leaves(x) if one.is_floating_point()).detach().requires_grad_()
    if isinstance(x, Tensor):
        return leaf, leaf
    return rows.replaced(x, leaf), leaf


def _averaged(likelihood: Any, eot: int) -> Loss:
    """A target's own loss of a label, as one of outputs; over `eot` passes of each row its mean."""

    def loss(_: Tensor, label: Tensor, *others: Tensor) -> Tensor:
        values: Tensor = likelihood(rows.repeated(label, eot))
        return values.reshape(-1, eot).mean(1) if eot > 1 else values

    return loss


def _spread(values: Tensor, sent: Tensor, size: int, fill: float) -> Tensor:
    """Answers to the candidates that were sent, at their places among all (size, …)."""
    return values.new_full((size, *values.shape[1:]), fill).index_copy_(0, sent, values)


def expected(output: Tensor, length: int, eot: int) -> Tensor:
    """The victim's expected answer over `eot` passes: log of the mean probability (length, L), or the labels of all (length, eot)."""
    passes = output.reshape(length, eot, *output.shape[1:])
    if not output.is_floating_point():
        return passes
    return torch.logsumexp(torch.log_softmax(passes, -1), 1) - math.log(eot)


def agreed(output: Tensor, y: Tensor) -> Tensor:
    """Outputs, or of the labels (…, P) of several passes those that come most often; to be shown, never to be judged by."""
    return output if output.is_floating_point() or output.dim() == y.dim() else output.mode(-1).values

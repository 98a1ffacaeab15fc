"""How a blocking call of foolbox becomes queries of mmadv's oracle.

foolbox drives: an attack is one call that asks its model whenever it likes. mmadv drives too: it asks for many rows at
once, counts, and stops what has spent its budget. The two meet by giving each example a run of foolbox in a thread of its
own, of which only one moves at any time. A run stops where it asks its model; the questions of all runs go to the oracle
as one batch; each run goes on with its own answer. So

* every forward and backward pass is the oracle's, counted where all others are;
* a run is ended, by an exception in its question, once the oracle holds its row to be finished or out of budget;
* a row never sees its neighbours: what foolbox computes over a batch (early stops, norms) is over one example, and its
  random numbers are keyed by (seed, example id, question).

A gradient costs one forward and one backward pass, as it does in foolbox: the run computes its own loss from the outputs
while the oracle's pass is still open, and hands back ∂loss/∂outputs, from which the oracle makes the input's gradient.

What foolbox computes itself stays on the CPU, where a backward pass runs in the thread that asked for it.
"""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from eagerpy.astensor import astensor, astensor_
from torch import Tensor

from mmadv.errors import AttackError
from mmadv_foolbox.library import foolbox as fb


class Ended(BaseException):
    """Raised in foolbox's own thread at its question: its row is finished, out of budget, or beyond saving.

    No `Exception`, so that nothing in between takes it for a failure of the model.
    """


@dataclass(frozen=True)
class Question:
    """What a run waits for.

    Args:
        values: (m, …) inputs to ask about; for a backward pass (1, L), the gradient of foolbox's loss by the outputs.
        kind: `outputs`, `outputs_then_gradient`, or `gradient` for what follows the latter.
    """

    values: Tensor
    kind: str = "outputs"


@dataclass(frozen=True)
class Said:
    """foolbox's own answer to one example, taken from its call as anybody gets it.

    Args:
        adv: (…) what it returned.
        success: whether it calls that adversarial.
        distance: in its own norm.
    """

    adv: Tensor
    success: bool
    distance: float


class Run:
    """foolbox's attack on one example, one question at a time.

    Args:
        attack: of foolbox.
        x: (1, …) clean, on the CPU.
        criterion: of foolbox.
        bounds: (low, high) of the inputs.
        eps: of the ball; None for a minimum-norm search.
        entropy: what its random numbers are keyed by.

    Attributes:
        question: what it waits for; None before it began and once it has ended.
        said: foolbox's own answer, once it gave one.
    """

    def __init__(
        self,
        attack: fb.attacks.base.AttackWithDistance,
        x: Tensor,
        criterion: fb.criteria.Criterion,
        bounds: tuple[float, float],
        eps: float | None,
        entropy: tuple[int, int],
    ) -> None:
        self._attack, self._x, self._criterion, self._eps = attack, x, criterion, eps
        self._model = _Model(self, bounds)
        self._entropy, self._turn = entropy, 0
        self._answers: queue.SimpleQueue[Tensor | None] = queue.SimpleQueue()
        self._turns: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._began = self._over = False
        self.question: Question | None = None
        self.said: Said | None = None
        self._thread = threading.Thread(target=self._work, name="foolbox", daemon=True)

    # --- called by the engine's thread -----------------------------------------------------------

    def begin(self) -> None:
        """Start it, and let it go on to its first question."""
        self._began = True
        self._seed()
        self._thread.start()
        self._wait()

    def answer(self, values: Tensor) -> None:
        """Let it go on to its next question, or to its end."""
        self._seed()
        self._answers.put(values)
        self._wait()

    def end(self) -> None:
        """Stop it where it stands; nothing of it is left."""
        if self._began and not self._over:
            self._answers.put(None)
            self._turns.get()
        if self._began:
            self._thread.join()
        self.question = None

    def _wait(self) -> None:
        self._turns.get()
        if self._error is not None:
            error, self._error = self._error, None
            raise AttackError(
                f"foolbox raised {type(error).__name__}: {error}",
                where=f"{type(self._attack).__name__} of foolbox {fb.__version__}",
                fix="check the attack's parameters against foolbox's documentation, or choose another attack",
            ) from error

    def _seed(self) -> None:
        """Set the global generators, which foolbox draws from; the engine gives them back as they were."""
        words = np.random.SeedSequence([*self._entropy, self._turn]).generate_state(3)
        self._turn += 1
        torch.default_generator.manual_seed(int(words[0]))
        np.random.seed(words[1])
        random.seed(int(words[2]))

    # --- called by foolbox's thread --------------------------------------------------------------

    def ask(self, question: Question) -> Tensor:
        """Wait for an answer.

        Raises:
            Ended: there will be none.
        """
        if not bool(torch.isfinite(question.values).all()):
            raise Ended  # foolbox divided by zero; no victim is asked about that
        self.question = question
        self._turns.put(None)
        answer = self._answers.get()
        if answer is None:
            raise Ended
        return answer

    def _work(self) -> None:
        try:
            _, adv, success = self._attack(self._model, self._x, self._criterion, epsilons=self._eps)
            distance = self._attack.distance(self._x, adv)
            self.said = Said(adv[0].detach(), bool(success[0]), float(distance[0]))
        except Ended:
            pass
        except BaseException as error:
            # An attack that begins at an adversarial gives up on an example where it finds none.
            if not (isinstance(error, ValueError) and str(error).startswith("init_attack failed")):
                self._error = error
        finally:
            self.question, self._over = None, True
            self._turns.put(None)


class _Query(torch.autograd.Function):
    """The victim as a node of foolbox's own graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, run: Run) -> Tensor:
        ctx.run = run
        return run.ask(Question(x.detach(), "outputs_then_gradient")).clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.run.ask(Question(grads[0].detach(), "gradient")).clone(), None


class _Model(fb.models.Model):  # type: ignore[misc, name-defined]
    """What foolbox takes for its model."""

    data_format = "channels_first"

    def __init__(self, run: Run, bounds: tuple[float, float]) -> None:
        self._run, self._bounds = run, fb.types.Bounds(*bounds)

    @property
    def bounds(self) -> fb.types.Bounds:
        return self._bounds

    def __call__(self, inputs: Any) -> Any:
        x, restore = astensor_(inputs)
        raw: Tensor = x.raw
        if not raw.requires_grad:
            return restore(astensor(self._run.ask(Question(raw.detach()))))
        if len(raw) != 1:
            raise ValueError(f"a gradient at {len(raw)} points at once is asked for")
        return restore(astensor(_Query.apply(raw, self._run)))  # type: ignore[no-untyped-call]


def rendezvous(runs: dict[int, Run]) -> tuple[Callable[[Tensor, Tensor, Tensor], Tensor], dict[int, Tensor]]:
    """A loss for `Oracle.evaluate` that each run computes itself.

    Args:
        runs: by the number that stands for them in `towards`.

    Returns:
        The loss `(outputs, y, numbers) -> (…,)`, whose gradient is that of each run's own, and what the runs gave for it.
    """
    given: dict[int, Tensor] = {}

    def loss(output: Tensor, y: Tensor, numbers: Tensor) -> Tensor:
        if not len(numbers):  # nobody could afford it
            return output.sum(-1)
        outputs = output.detach().cpu()
        for at, number in enumerate(numbers.tolist()):
            if number in given:  # the pass is made again in smaller parts, because memory ran out
                continue
            run = runs[number]
            finite = bool(torch.isfinite(outputs[at]).all())
            if finite:
                run.answer(outputs[at : at + 1])
            following = run.question
            asks = finite and following is not None and following.kind == "gradient"
            given[number] = following.values[0] if asks and following is not None else torch.zeros_like(outputs[at])
        weights = torch.stack([given[number] for number in numbers.tolist()]).to(output)
        return (output * weights).sum(-1)

    return loss, given

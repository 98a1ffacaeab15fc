"""A system of victims one after another, as one victim: what a stage writes, the next one reads.

Where the first stage is a recogniser with gradients, so has the system: those of how likely it is to write anything else
than what it writes now, as long as the end of the system is still right. They say where the system's answer may change, not
in which direction; the score, and so what is kept, is the last stage's own. It is a surrogate, and its queries and
gradients are counted like any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pkgutil import resolve_name
from typing import Any

import torch
from torch import Tensor

from mmadv import Access, Modality, Noise, Target
from mmadv.catalog import Catalog
from mmadv.errors import MmadvError, ParameterError, TargetError
from mmadv.host import default_host
from mmadv.target import drawing


class Chain:
    """Victims of texts and other modalities in a row.

    Args:
        stages: (modality, target) of each. All but the last write: they have `texts(x)`, a list of strings, one for each row.
            For gradients the first has `transcribed(x)` besides: texts, and a function of none to how unlikely each is (B,),
            differentiable in the rows.
        name: for records; those of the stages if not given.
        batch_size: inputs in one pass; the first stage's own if not given.

    Raises:
        ParameterError: fewer than two stages.
        TargetError: a stage that can't read what the one before it writes.

    Example:
        >>> from mmadv_audio import Waves
        >>> from mmadv_audio.target import FunctionTarget
        >>> from mmadv_text.target import StringsTarget as Reader
        >>> def hears(waves): return ["good" if wave.mean() > 0 else "bad" for wave in waves]
        >>> def judges(texts): return [[0.0, 1.0] if "good" in text else [1.0, 0.0] for text in texts]
        >>> class Recogniser(FunctionTarget):
        ...     def texts(self, x): return self.function(list(x))
        >>> system = Chain([("audio", Recogniser(hears, output="label")), ("text", Reader(judges))])
        >>> system(Waves.of([torch.ones(4), -torch.ones(4)], rate=16_000))
        tensor([[0., 1.],
                [1., 0.]])
    """

    def __init__(self, stages: Sequence[tuple[str, Target]], *, name: str = "", batch_size: int | None = None) -> None:
        if len(stages) < 2:
            raise ParameterError(f"the system has {len(stages)} stages", where="stages", fix="give at least two")
        catalog = Catalog(default_host())
        self.kinds: list[Modality] = [catalog.modality(kind).resolve()() for kind, _ in stages]
        self.stages = [target for _, target in stages]
        names = [target.name for target in self.stages]
        self.name = name or " → ".join(names)
        for (kind, writer), (other, reader) in pairwise(stages):
            if not hasattr(writer, "texts") or other != "text":
                raise TargetError(
                    f"{writer.name}, a {type(writer).__name__} of {kind}, and {reader.name}, a {type(reader).__name__} of "
                    f"{other}, don't fit: what stands before writes texts, and what follows reads them",
                    where=self.name,
                    fix="put a recogniser, or any target with texts(x), before a target of the text modality",
                )
        first, last = self.stages[0], self.stages[-1]
        self.output, self.device = last.output, first.device
        self.batch_size = first.batch_size if batch_size is None else batch_size
        self.access = min(last.access, Access.SCORE)
        if hasattr(first, "transcribed") and first.access is Access.GRADIENT and last.access > Access.DECISION:
            self.access = Access.GRADIENT
            self.likelihood = self._likelihood

    def __call__(self, x: Any) -> Tensor:
        writer: Any = self.stages[0]
        return self.rest(writer.texts(x))

    def rest(self, texts: list[str]) -> Tensor:
        """What the system makes of what its first stage wrote."""
        for kind, target in zip(self.kinds[1:-1], self.stages[1:-1], strict=True):
            writer: Any = target
            texts = writer.texts(kind.inputs(texts))
        with torch.no_grad():
            return self.stages[-1](self.kinds[-1].inputs(texts)).to(self.device)

    def _likelihood(self, x: Any) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The system's answer, and how unlikely each label is by what the first stage writes now.

        Args:
            x: B rows.

        Returns:
            (B, L), and a function from labels (B,) to (B,), differentiable in the rows: how unlikely the present text is
            where it leads to that label, and how likely where it doesn't.
        """
        writer: Any = self.stages[0]
        texts, surprise = writer.transcribed(x)
        output = self.rest(texts)
        there = output.detach().argmax(-1)

        def unlikely(labels: Tensor) -> Tensor:
            value: Tensor = surprise()
            return torch.where(labels.to(there.device) == there, value, -value)

        return output, unlikely

    def check(self, x: Any, labels: Tensor) -> None:
        """Refuse, before the first query, rows that the first stage can't take; labels are the last one's.

        Raises:
            InputError: rows that it can't take.
            TargetError: rows of another kind than it was made for.
        """
        if (fitting := getattr(self.stages[0], "fitting", None)) is not None:
            fitting(x)

    @contextmanager
    def drawing(self, noise: Noise) -> Iterator[None]:
        """While open, the first stage's chance is drawn from `noise`; texts of other stages are none of its rows."""
        with drawing(self.stages[0], noise):
            yield

    @contextmanager
    def held(self) -> Iterator[None]:
        with ExitStack() as stack:
            for target in self.stages:
                stack.enter_context(target.held())
            yield

    def fingerprint(self) -> str:
        told = "|".join(target.fingerprint() for target in self.stages)
        return hashlib.sha256(f"chain|{told}".encode()).hexdigest()


def chain(*, stages: Sequence[Mapping[str, Any]], name: str = "") -> Chain:
    """The system that a spec describes.

    Args:
        stages: of each `modality`, `factory` (trusted, `package.module:function`) or `model`, `args` of the factory, and
            words of the target, as in a campaign's `target`.
        name: for records.

    Raises:
        ParameterError: a stage without modality, or without exactly one of factory and model.
        TargetError: stages that don't fit.

    Example:
        >>> chain(stages=[{"modality": "audio"}, {"modality": "text"}])
        Traceback (most recent call last):
        mmadv.errors.ParameterError: stage 1 has not exactly one of factory and model
          where: stages
          fix:   give one of them
    """
    found = []
    for number, entry in enumerate(stages, 1):
        words = dict(entry)
        kind, factory, model, args = (words.pop(word, None) for word in ("modality", "factory", "model", "args"))
        if kind is None:
            raise ParameterError(f"stage {number} has no modality", where="stages", fix="add modality:, such as audio")
        found.append((kind, stage(kind, number, factory, model, args or {}, words)))
    return Chain(found, name=name)


def stage(
    kind: str, number: int, factory: str | None, model: str | None, args: Mapping[str, Any], words: dict[str, Any]
) -> Target:
    """One stage of a system, as a campaign's target is made."""
    from mmadv import api

    if (factory is None) == (model is None):
        raise ParameterError(
            f"stage {number} has not exactly one of factory and model", where="stages", fix="give one of them"
        )
    try:
        victim = model if factory is None else resolve_name(factory)(**args)
        catalog = Catalog(default_host())
        catalog.modality(kind)  # one that there is not is no fault of the victim
        adapt = api.adapter(catalog, victim, kind)
        return adapt(**api.sorted_out(words, {"target": adapt}, where="stages")["target"])
    except MmadvError as error:
        error.where = f"stage {number}" + (f", {error.where}" if error.where else "")
        raise

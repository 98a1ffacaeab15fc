"""Audio victims with a few classes: `transformers` classifiers, speaker verification, detectors of speech and keywords."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmadv.errors import ParameterError, TargetError
from mmadv_audio.target import WavesTarget, padding_of, wav2vec2


class ClassifierTarget(WavesTarget):
    """A `transformers` audio classifier on waveforms, of the wav2vec2 kind: HuBERT, WavLM, UniSpeech and the like.

    Args:
        model: with an output that has `logits`.
        extractor: its feature extractor; waveforms are standardised if not given.
        played: a module from `Waves` to `Waves` before all else.
        **options: of `mmadv.ModuleTarget`.

    Raises:
        TargetError: a model on other features than samples.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        extractor: Any = None,
        played: nn.Module | None = None,
        name: str = "",
        device: str | torch.device | None = None,
        autocast: str | torch.dtype | None = None,
        compile: bool = False,
        batch_size: int | str | None = None,
    ) -> None:
        super().__init__(
            model, played=played, **wav2vec2(model, extractor),
            name=name, device=device, autocast=autocast, compile=compile, batch_size=batch_size,
        )  # fmt: skip

    def read(self, answer: Any) -> Tensor:
        return _logits(answer, self.name)


class SpeakerTarget(WavesTarget):
    """Speaker verification: class 1 is acceptance, a cosine of at least `threshold` to the enrolled speaker.

    Answers [−v, v] · scale with v = cosine − threshold.

    Args:
        embed: from samples (B, T) to embeddings (B, D), or to an output that has `embeddings`, as those of `transformers`'
            models for x-vectors, which take standardised waveforms (`standardise=True`).
        enrolled: the speaker's embedding (D,), or several (N, D), whose directions are averaged.
        threshold: a cosine.
        scale: of the logits.
        wants_lengths: as of `AudioTarget`, and so shortest and standardise.
        played: a module from `Waves` to `Waves` before all else.
        **options: of `mmadv.ModuleTarget`.

    Raises:
        ParameterError: no such threshold, scale or embeddings.

    Example:
        >>> from mmadv_audio.waves import Waves
        >>> target = SpeakerTarget(nn.Identity().eval(), enrolled=torch.tensor([1.0, 0.0]), threshold=0.5)
        >>> target(Waves.of([torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])], rate=16_000)).argmax(1)
        tensor([1, 0])
    """

    def __init__(
        self,
        embed: nn.Module,
        *,
        enrolled: Tensor,
        threshold: float,
        scale: float = 10.0,
        rate: int = 16_000,
        wants_lengths: bool | None = None,
        shortest: int = 1,
        standardise: bool = False,
        played: nn.Module | None = None,
        name: str = "",
        device: str | torch.device | None = None,
        autocast: str | torch.dtype | None = None,
        compile: bool = False,
        batch_size: int | str | None = None,
    ) -> None:
        if not -1 < threshold < 1 or not scale > 0:
            raise ParameterError(
                f"threshold is {threshold} and scale {scale}",
                where="threshold, scale",
                fix="give a cosine between -1 and 1, and a scale above 0",
            )
        embeddings = torch.as_tensor(enrolled).detach()
        if not embeddings.numel() or not embeddings.is_floating_point():
            raise ParameterError(
                f"enrolled has shape {tuple(embeddings.shape)} and dtype {embeddings.dtype}",
                where="enrolled",
                fix="give the embedding of speech (D,), or several (N, D)",
            )
        directions = nn.functional.normalize(embeddings.reshape(-1, embeddings.shape[-1]), dim=1)
        if not bool(directions.isfinite().all()) or not bool(directions.mean(0).any()):
            raise ParameterError(
                "the enrolled embedding is zero or not finite", where="enrolled", fix="give the embedding of speech"
            )
        super().__init__(
            embed, rate=rate, padding=padding_of(embed, wants_lengths), shortest=shortest, standardise=standardise,
            played=played,
            name=name, device=device, autocast=autocast, compile=compile, batch_size=batch_size,
        )  # fmt: skip
        self.enrolled = nn.functional.normalize(directions.mean(0), dim=0).to(self.device)
        self.threshold, self.scale = threshold, scale

    def read(self, answer: Any) -> Tensor:
        answer = getattr(answer, "embeddings", answer)
        if not isinstance(answer, Tensor) or answer.numel() != len(answer) * len(self.enrolled):
            raise TargetError(
                f"the module does not answer embeddings of the enrolled one's {len(self.enrolled)} values",
                where=self.name,
                fix="return (B, D), and enrol with the same module",
            )
        embedded = nn.functional.normalize(answer.reshape(len(answer), -1), dim=1)
        cosine = embedded @ self.enrolled.to(embedded)
        return self.scale * _sides(cosine - self.threshold, cosine >= self.threshold)

    def settings(self) -> str:
        return f"{super().settings()}|{self.enrolled.tolist()}|{self.threshold}|{self.scale}"


class DetectorTarget(WavesTarget):
    """A detector of speech or of a keyword: class 1 is a probability of at least `threshold` in any frame.

    Answers [−v, v] / 2 with v = max z − z(threshold), z = log(p / (1 − p)). The value and with it the decision are
    exact; the gradient is that of the smooth maximum t · log Σ exp(z / t), so that frames just below the highest are
    pushed too.

    Args:
        module: from samples (B, T) to probabilities (B, frames) or (B,).
        threshold: a probability.
        smoothness: t above; towards 0 the gradient is that of the highest frame alone.
        wants_lengths: as of `AudioTarget`, and so shortest; such a module must answer 0 in frames after a row's end.
        played: a module from `Waves` to `Waves` before all else.
        **options: of `mmadv.ModuleTarget`.

    Raises:
        ParameterError: no probability, or a smoothness not above 0.

    Example:
        >>> from mmadv_audio.waves import Waves
        >>> target = DetectorTarget(nn.Identity().eval(), threshold=0.5)
        >>> target(Waves.of([torch.tensor([0.1, 0.5]), torch.tensor([0.2])], rate=16_000)).argmax(1)
        tensor([1, 0])
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        threshold: float = 0.5,
        smoothness: float = 1.0,
        rate: int = 16_000,
        wants_lengths: bool | None = None,
        shortest: int = 1,
        played: nn.Module | None = None,
        name: str = "",
        device: str | torch.device | None = None,
        autocast: str | torch.dtype | None = None,
        compile: bool = False,
        batch_size: int | str | None = None,
    ) -> None:
        if not 0 < threshold < 1 or not smoothness > 0:
            raise ParameterError(
                f"threshold is {threshold} and smoothness {smoothness}",
                where="threshold, smoothness",
                fix="give a probability between 0 and 1, and a smoothness above 0",
            )
        super().__init__(
            module, rate=rate, padding=padding_of(module, wants_lengths), shortest=shortest, played=played,
            name=name, device=device, autocast=autocast, compile=compile, batch_size=batch_size,
        )  # fmt: skip
        self.threshold, self.smoothness, self._seen = threshold, smoothness, False

    def read(self, answer: Any) -> Tensor:
        floats = isinstance(answer, Tensor) and answer.is_floating_point() and answer.numel()
        if not floats or answer.squeeze(-1).dim() > 2:
            raise TargetError(
                "the module answers no probabilities", where=self.name, fix="return floats (B, frames) or (B,)"
            )
        frames = answer.reshape(len(answer), -1)
        if not self._seen and frames.shape[1] == 2 and bool(((frames.sum(1) - 1).abs() < 1e-3).all()):
            raise TargetError(
                "the module answers two probabilities that sum to 1, those of two classes and not of two frames",
                where=self.name,
                fix="return the probability of speech alone, or leave the classes to mmadv_audio.target.AudioTarget",
            )
        if not self._seen and bool(((answer < 0) | (answer > 1)).any()):  # once: asking is a host sync
            raise TargetError(
                f"the module answers values from {float(answer.min()):g} to {float(answer.max()):g}, no probabilities",
                where=self.name,
                fix="end it with a sigmoid, or with the softmax and its class of speech",
            )
        self._seen = True
        frames = frames.to(torch.promote_types(frames.dtype, torch.float32))
        margin = torch.finfo(frames.dtype).eps
        level = frames.clamp(margin, 1 - margin).logit()
        smooth = self.smoothness * torch.logsumexp(level / self.smoothness, 1)
        highest = smooth + (level.amax(1) - smooth).detach()
        bound = torch.tensor(self.threshold, dtype=frames.dtype, device=frames.device)
        return _sides(highest - bound.logit(), frames.amax(1) >= bound) / 2

    def settings(self) -> str:
        return f"{super().settings()}|{self.threshold}|{self.smoothness}"


def _logits(answer: Any, name: str) -> Tensor:
    if not hasattr(answer, "logits"):
        raise TargetError(
            f"the model answers a {type(answer).__name__} without logits",
            where=name,
            fix="use a model with a classification head",
        )
    return answer.logits


def _sides(value: Tensor, hit: Tensor) -> Tensor:
    """(B, 2) scores [−v, v] of values (B,), class 1 exactly where `hit` (B,) even if rounding says otherwise."""
    least = torch.full_like(value, torch.finfo(value.dtype).eps)
    exact = torch.where(hit, torch.maximum(value, least), torch.minimum(value, -least)).detach()
    value = torch.where(value.isnan(), value, value + (exact - value).detach())
    return torch.stack([-value, value], 1)

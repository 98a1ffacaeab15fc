"""Audio victims: any module or function on waveforms, and how a user's victim is found its adapter."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mmadv import Access, CallableTarget, ModuleTarget, Noise, Output, Target, TargetClaim
from mmadv.errors import InputError, ParameterError, TargetError
from mmadv.target import UNREADABLE, drawing, pretrained, refuse_pickles
from mmadv_audio.features import Standardised
from mmadv_audio.transcripts import labels_of
from mmadv_audio.waves import Waves

TOO_SHORT = "Kernel size can't be greater than", "Padding size should be less than", "is smaller than kernel size"
"""How torch's convolutions, paddings and poolings say that an input has not enough samples."""


class WavesTarget(ModuleTarget):
    """A module on waveforms: what all victims of this plugin have in common.

    Padding never decides an answer. A module that takes no lengths and no mask is asked about rows of equal length
    only, group by group.

    Args:
        module: in eval mode, on float samples (B, T).
        rate: samples a second that it was trained with.
        padding: how it is told of the rows' ends: `lengths` as second argument (B,) int64, `mask` as `attention_mask`,
            or not at all.
        shortest: samples that it needs at least.
        standardise: give it waveforms of mean 0 and variance 1.
        played: a module from `Waves` to `Waves` before all else, such as `mmadv_audio.transforms.Played`.
        **options: of `mmadv.ModuleTarget`.
    """

    usual_batch: ClassVar[int | None] = 8

    def __init__(
        self,
        module: nn.Module,
        *,
        rate: int = 16_000,
        padding: str = "",
        shortest: int = 1,
        standardise: bool = False,
        played: nn.Module | None = None,
        **options: Any,
    ) -> None:
        super().__init__(module, **options)
        self.rate, self.padding, self.shortest, self.played = rate, padding, shortest, played
        self.standardised = Standardised() if standardise else None
        self._blank: Tensor | None = None
        # The backward pass of cuDNN's recurrent layers refuses eval mode; torch's own doesn't.
        self._recurrent = self.device.type == "cuda" and any(isinstance(part, nn.RNNBase) for part in module.modules())

    def __call__(self, x: Waves) -> Tensor:  # type: ignore[override]
        return self.run(self.heard(x))

    def fitting(self, x: Waves) -> Waves:
        """Rows that the victim can take.

        Raises:
            TargetError: another sample rate.
            InputError: no waveforms, or one that is too short for it.
        """
        if not isinstance(x, Waves):
            raise InputError(
                f"{self.name} was given a {type(x).__name__}",
                where="x",
                fix="give waveforms: Waves.of([…], rate=16000)",
            )
        if x.rate != self.rate:
            raise TargetError(
                f"the waveforms have {x.rate} samples a second, and the victim takes {self.rate}",
                where=self.name,
                fix=f"resample them to {self.rate} Hz first, or give rate={x.rate} if the victim was trained with that",
            )
        if len(x) and self.shortest > 1 and bool((x.length < self.shortest).any()):
            row = int((x.length < self.shortest).nonzero()[0, 0])
            raise InputError(
                f"a waveform has {int(x.length[row])} samples, and the victim needs {self.shortest}",
                where=f"x, row {row}",
                fix="leave it out, or pad it with silence",
            )
        return x

    def heard(self, x: Waves) -> Waves:
        """Rows as they reach the module."""
        x = self.fitting(x)
        if self.played is not None:
            x = self.played(x)
        return x if self.standardised is None else self.standardised(x)

    def drawing(self, noise: Noise) -> AbstractContextManager[None]:
        """While open, chance on the way to the module is drawn from `noise`, a stream for each row."""
        return drawing(self.played, noise)

    @contextmanager
    def _lowered(self) -> Iterator[None]:
        """Around a forward pass: the lower dtype that was asked for, and no cuDNN where its backward would fail."""
        plain: AbstractContextManager[Any] = torch.backends.cudnn.flags(enabled=False)
        with (
            torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None),
            plain if self._recurrent else nullcontext(),
        ):
            yield

    def run(self, x: Waves) -> Tensor:
        """The module's answers (B, …); along a second axis of different lengths, padded with zeros.

        Raises:
            InputError: a waveform that is shorter than the module's windows.
        """
        if not len(x) and self._blank is not None:
            return self._blank
        with self._lowered():
            try:
                answer = self._asked(x)
            except RuntimeError as error:
                if not len(x) or not any(sign in str(error) for sign in TOO_SHORT):
                    raise
                row = int(x.length.argmin())
                raise InputError(
                    f"a waveform of {int(x.length[row])} samples is too short for the victim: {error}",
                    where=f"x, row {row}",
                    fix="leave it out, or pad it with silence; shortest=… says so beforehand",
                ) from error
        self._blank = answer[:0].detach()
        return answer

    def _asked(self, x: Waves) -> Tensor:
        samples = x.samples if self.dtype is None else x.samples.to(self.dtype)
        sizes = x.length.unique().tolist()
        samples = samples[:, : max(sizes, default=0)]
        if self.padding == "lengths":
            return self.read(self._call(samples, x.length))
        if self.padding == "mask":
            return self.read(self._call(samples, attention_mask=x.valid[:, : samples.shape[1]].long()))
        if len(sizes) <= 1:
            return self._alike(samples)
        groups = [(x.length == size).nonzero()[:, 0] for size in sizes]
        parts = [self._alike(samples[rows, :size]) for rows, size in zip(groups, sizes, strict=True)]
        if parts[0].dim() > 2:
            longest = max(part.shape[1] for part in parts)
            parts = [
                nn.functional.pad(part, (0, 0) * (part.dim() - 2) + (0, longest - part.shape[1])) for part in parts
            ]
        return torch.cat(parts)[torch.cat(groups).argsort()]

    def _alike(self, samples: Tensor) -> Tensor:
        """The answer to rows of one length (B, T), of a module that is told of no other."""
        return self.read(self._call(samples))

    def settings(self) -> str:
        """All that decides its answers besides the module."""
        played = (
            ""
            if self.played is None
            else f"{self.played}|{ModuleTarget(self.played, allow_training=True).fingerprint()}"
        )
        return f"{self.rate}|{self.padding}|{self.standardised}|{played}"

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{super().fingerprint()}|{self.settings()}".encode()).hexdigest()


class AudioTarget(WavesTarget):
    """Any module from samples (B, T), or samples and lengths (B,), to (B, L) or labels (B,).

    Args:
        module: in eval mode.
        rate: samples a second that it was trained with.
        wants_lengths: whether its second argument is the rows' lengths in samples; by its name if not given.
        shortest: samples that it needs at least.
        standardise: give it waveforms of mean 0 and variance 1.
        played: a module from `Waves` to `Waves` before all else.
        **options: of `mmadv.ModuleTarget`.

    Example:
        >>> class Loudness(nn.Module):
        ...     def forward(self, samples: Tensor) -> Tensor:
        ...         return torch.stack([samples.square().mean(1), samples.new_full((len(samples),), 0.1)], 1)
        >>> AudioTarget(Loudness().eval())(Waves.of([torch.ones(3), torch.zeros(5)], rate=16_000))
        tensor([[1.0000, 0.1000],
                [0.0000, 0.1000]])
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        rate: int = 16_000,
        wants_lengths: bool | None = None,
        shortest: int = 1,
        standardise: bool = False,
        played: nn.Module | None = None,
        name: str = "",
        output: str | Output = Output.LOGITS,
        access: str | Access | None = None,
        device: str | torch.device | None = None,
        autocast: str | torch.dtype | None = None,
        compile: bool = False,
        batch_size: int | str | None = None,
        allow_training: bool = False,
    ) -> None:
        super().__init__(
            module, rate=rate, padding=padding_of(module, wants_lengths), shortest=shortest, standardise=standardise,
            played=played,
            name=name, output=output, access=access, device=device, autocast=autocast, compile=compile,
            batch_size=batch_size, allow_training=allow_training,
        )  # fmt: skip


class FunctionTarget(CallableTarget):
    """Any function of a list of waveforms, without gradients.

    Args:
        function: given 1-D float32 arrays; returns (B, L) scores, labels, or a string for each, its transcript.
        rate: samples a second that it takes; any if not given.
        output: what it returns: `logits`, `log_probabilities`, `probabilities`, or `label` for labels and transcripts.
        **options: of `mmadv.CallableTarget`.

    Example:
        >>> target = FunctionTarget(lambda waves: ["hello" for wave in waves], output="label")
        >>> from mmadv_audio.transcripts import text_of
        >>> text_of(int(target(Waves.of([torch.zeros(9)], rate=16_000))))
        'hello'
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        rate: int | None = None,
        name: str = "",
        output: str | Output = Output.LOGITS,
        access: str | Access | None = None,
        batch_size: int | str | None = None,
    ) -> None:
        super().__init__(function, name=name, output=output, access=access, batch_size=batch_size)
        self.rate = rate

    def texts(self, x: Waves) -> list[str]:
        """What is heard in each row.

        Raises:
            TargetError: the function returns no transcripts.
        """
        answer = self._asked(x)
        if len(x) and (not isinstance(answer, (list, tuple)) or not all(isinstance(one, str) for one in answer)):
            raise TargetError(
                "the victim returns no transcripts", where=self.name, fix="return a string for each waveform"
            )
        return list(answer)

    def _asked(self, x: Waves) -> Any:
        if self.rate is not None and x.rate != self.rate:
            raise TargetError(
                f"the waveforms have {x.rate} samples a second, and the victim takes {self.rate}",
                where=self.name,
                fix=f"resample them to {self.rate} Hz first",
            )
        return self.function([wave.detach().cpu().float().numpy() for wave in x])

    def __call__(self, x: Waves) -> Tensor:
        answer = self._asked(x)
        if isinstance(answer, np.ndarray) and answer.dtype.kind in "OU":  # of strings
            answer = answer.tolist()
        if isinstance(answer, str) or answer is None:
            raise TargetError(
                f"the victim returns {'one string' if answer else 'nothing'} for {len(x)} waveforms",
                where=self.name,
                fix="return a list with one answer for each waveform",
            )
        if not isinstance(answer, (list, tuple)) or not answer or not all(isinstance(one, str) for one in answer):
            try:
                return torch.as_tensor(answer, device=self.device)
            except (TypeError, ValueError, RuntimeError) as error:
                raise TargetError(
                    f"the victim's answer is neither scores nor labels nor transcripts: {error}",
                    where=self.name,
                    fix="return (B, L) scores, or a label or a transcript for each waveform",
                ) from error
        if self.output is not Output.LABEL:
            raise TargetError(
                f"the victim returns transcripts, and {self.output} were declared",
                where=self.name,
                fix='give output="label"',
            )
        return labels_of(list(answer))

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{super().fingerprint()}|{self.rate}".encode()).hexdigest()


def load_folder(
    folder: str | Path,
    *,
    seconds: float | None = None,
    language: str = "",
    most: int | None = None,
    first: float | None = None,
    played: nn.Module | None = None,
    name: str = "",
    device: str | None = None,
    dtype: str | None = None,
    autocast: str | None = None,
    batch_size: int | str | None = None,
) -> WavesTarget:
    """A `transformers` recogniser or classifier of samples, as wav2vec2 is, from a folder in the hub's format or the hub by name.

    Weights are read from safetensors only; nothing is unpickled.

    Args:
        folder: what `from_pretrained` takes.
        seconds: of `WhisperTarget`, as language, most and first.
        device: to load it to; `auto` for the first of CUDA, MPS and CPU that is there.
        dtype: of its weights, as they are saved if not given.
        **options: of the target.

    Raises:
        TargetError: no such model, one of another kind, or one whose weights would have to be unpickled.
        ParameterError: words of `WhisperTarget` for a model of another kind.
    """
    import transformers as hub

    from mmadv_audio.classifiers import ClassifierTarget
    from mmadv_audio.recognisers import CTCTarget
    from mmadv_audio.whisper import WhisperTarget

    path = Path(folder)
    refuse_pickles(folder)

    def load(kind: Any) -> Any:
        return pretrained(kind, folder, device=device, dtype=dtype)

    common: dict[str, Any] = {
        "played": played, "name": name or path.name, "device": device, "autocast": autocast, "batch_size": batch_size,
    }  # fmt: skip
    words: dict[str, Any] = {"seconds": seconds, "language": language or None, "most": most, "first": first}
    speech = {word: value for word, value in words.items() if value is not None}
    try:
        config = hub.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        kind = next(iter(getattr(config, "architectures", None) or ()), "")
        if kind == "WhisperForConditionalGeneration":
            model: Any = load(hub.WhisperForConditionalGeneration)
            tokenizer: Any = hub.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            return WhisperTarget(model, tokenizer=tokenizer, **speech, **common)
        if speech:
            raise ParameterError(
                f"{', '.join(speech)} is of Whisper's models, and this is a {kind or 'model of no stated kind'}",
                where="target",
                fix="leave it out",
            )
        if not kind.endswith(("ForCTC", "ForSequenceClassification")):
            raise ValueError(f"its architecture is {kind or 'not stated'}")
        extractor: Any = hub.AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)  # type: ignore[no-untyped-call]
        if kind.endswith("ForCTC"):
            model = load(hub.AutoModelForCTC)
            tokenizer = hub.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            return CTCTarget(model, tokenizer=tokenizer, extractor=extractor, **common)
        model = load(hub.AutoModelForAudioClassification)
        return ClassifierTarget(model, extractor=extractor, **common)
    except UNREADABLE as error:
        raise TargetError(
            f"no audio model could be loaded: {(str(error) or type(error).__name__).splitlines()[0]}",
            where=str(folder),
            fix="give a folder written by save_pretrained of Whisper, or of a CTC model or classifier on samples, with its tokenizer "
            "and preprocessor_config.json; a model on spectrograms as a torch.nn.Module that computes them",
        ) from error


def claim(victim: object, modality: str) -> TargetClaim | None:
    """The audio plugin's offer to adapt a victim."""
    from mmadv_audio.classifiers import ClassifierTarget
    from mmadv_audio.recognisers import CTCTarget
    from mmadv_audio.whisper import WhisperTarget

    if modality != "audio":
        return None
    factory: Callable[..., Target] | None = None
    if isinstance(victim, nn.Module):
        kind = type(victim).__name__ if of_transformers(victim) else ""
        if kind.startswith("Whisper"):
            factory = functools.partial(WhisperTarget, victim)
        elif kind.endswith("ForCTC"):
            factory = functools.partial(CTCTarget, victim)
        else:
            factory = functools.partial(ClassifierTarget if kind else AudioTarget, victim)
    elif isinstance(victim, (str, Path)):
        factory = functools.partial(load_folder, victim)
    elif callable(victim):
        factory = functools.partial(FunctionTarget, victim)
    return None if factory is None else TargetClaim("audio", factory)


def of_transformers(module: nn.Module) -> bool:
    """Whether it is one of `transformers`' models."""
    return hasattr(module, "config") and type(module).__module__.startswith("transformers.")


def described(tokenizer: Any) -> str:
    """What tells a `transformers` tokenizer from others."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    whole = backend.to_str() if backend is not None else str(sorted(tokenizer.get_vocab().items()))
    return f"{type(tokenizer).__qualname__}|{hashlib.sha256(whole.encode()).hexdigest()}"


def padding_of(module: nn.Module, wants_lengths: bool | None) -> str:
    """Whether a module is told of lengths: as it was said, or as its second argument is called."""
    if wants_lengths is None:
        try:
            names = list(inspect.signature(module.forward).parameters)
        except (TypeError, ValueError):
            names = []
        wants_lengths = len(names) > 1 and names[1] in ("length", "lengths")
    return "lengths" if wants_lengths else ""


def wav2vec2(model: Any, extractor: Any) -> dict[str, Any]:
    """The options of `WavesTarget` for a `transformers` model on samples.

    Raises:
        TargetError: it works on other features.
    """
    norm = getattr(getattr(model, "config", None), "feat_extract_norm", None)
    odd = extractor is not None and not hasattr(extractor, "do_normalize")
    if norm is None or odd or not hasattr(model, "_get_feat_extract_output_lengths"):
        raise TargetError(
            f"{type(extractor if odd else model).__name__} does not work on samples as wav2vec2 does",
            where=type(model).__name__,
            fix="pass a torch.nn.Module from samples (B, T) to logits (B, L) that computes the features differentiably",
        )
    shortest = 1
    for kernel, stride in reversed(list(zip(model.config.conv_kernel, model.config.conv_stride, strict=True))):
        shortest = (shortest - 1) * stride + kernel
    return {
        "rate": getattr(extractor, "sampling_rate", 16_000),
        "padding": "mask" if norm == "layer" else "",
        "shortest": shortest,
        "standardise": getattr(extractor, "do_normalize", True),
    }


def needed(tokenizer: Any, name: str) -> Any:
    """The tokenizer.

    Raises:
        TargetError: there is none.
    """
    if tokenizer is None:
        raise TargetError(
            "no tokenizer is given",
            where=name,
            fix="pass tokenizer=AutoTokenizer.from_pretrained(…), or the model's folder in place of the model",
        )
    return tokenizer

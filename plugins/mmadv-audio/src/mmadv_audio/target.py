"""Audio victims: modules on waveforms, speech recognisers, classifiers, speaker verification and detectors."""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import itertools
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmadv import Access, CallableTarget, ModuleTarget, Output, Target, TargetClaim
from mmadv.errors import InputError, ParameterError, TargetError
from mmadv.target import refuse_pickles
from mmadv_audio.features import LogMel, Standardised, refuse_longer
from mmadv_audio.transcripts import labels_of, text_of
from mmadv_audio.waves import Waves


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
        """The module's answers (B, …); along a second axis of different lengths, padded with zeros."""
        if not len(x) and self._blank is not None:
            return self._blank
        with self._lowered():
            answer = self._asked(x)
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
            return self.read(self._call(samples))
        groups = [(x.length == size).nonzero()[:, 0] for size in sizes]
        parts = [self.read(self._call(samples[rows, :size])) for rows, size in zip(groups, sizes, strict=True)]
        if parts[0].dim() > 2:
            longest = max(part.shape[1] for part in parts)
            parts = [
                nn.functional.pad(part, (0, 0) * (part.dim() - 2) + (0, longest - part.shape[1])) for part in parts
            ]
        return torch.cat(parts)[torch.cat(groups).argsort()]

    def settings(self) -> str:
        """All that decides its answers besides the module."""
        return f"{self.rate}|{self.padding}|{self.standardised}|{self.played}"

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
        batch_size: int | None = None,
        allow_training: bool = False,
    ) -> None:
        super().__init__(
            module, rate=rate, padding=_padding(module, wants_lengths), shortest=shortest, standardise=standardise,
            played=played,
            name=name, output=output, access=access, device=device, autocast=autocast, compile=compile,
            batch_size=batch_size, allow_training=allow_training,
        )  # fmt: skip


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
        batch_size: int | None = None,
    ) -> None:
        super().__init__(
            model, played=played, **_wav2vec2(model, extractor),
            name=name, device=device, autocast=autocast, compile=compile, batch_size=batch_size,
        )  # fmt: skip

    def read(self, answer: Any) -> Tensor:
        return _logits(answer, self.name)


class SpeakerTarget(WavesTarget):
    """Speaker verification: class 1 is acceptance, a cosine of at least `threshold` to the enrolled speaker.

    Answers [−v, v] · scale with v = cosine − threshold.

    Args:
        embed: from samples (B, T) to embeddings (B, D).
        enrolled: the speaker's embedding (D,), or several (N, D), whose directions are averaged.
        threshold: a cosine.
        scale: of the logits.
        wants_lengths: as of `AudioTarget`, and so shortest and standardise.
        played: a module from `Waves` to `Waves` before all else.
        **options: of `mmadv.ModuleTarget`.

    Raises:
        ParameterError: no such threshold, scale or embeddings.

    Example:
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
        batch_size: int | None = None,
    ) -> None:
        if not -1 < threshold < 1 or not scale > 0:
            raise ParameterError(
                f"threshold is {threshold} and scale {scale}",
                where="threshold, scale",
                fix="give a cosine between -1 and 1, and a scale above 0",
            )
        directions = nn.functional.normalize(torch.as_tensor(enrolled).detach().reshape(-1, enrolled.shape[-1]), dim=1)
        if not bool(directions.isfinite().all()) or not bool(directions.mean(0).any()):
            raise ParameterError(
                "the enrolled embedding is zero or not finite", where="enrolled", fix="give the embedding of speech"
            )
        super().__init__(
            embed, rate=rate, padding=_padding(embed, wants_lengths), shortest=shortest, standardise=standardise,
            played=played,
            name=name, device=device, autocast=autocast, compile=compile, batch_size=batch_size,
        )  # fmt: skip
        self.enrolled = nn.functional.normalize(directions.mean(0), dim=0).to(self.device)
        self.threshold, self.scale = threshold, scale

    def read(self, answer: Any) -> Tensor:
        if not isinstance(answer, Tensor) or answer.shape[-1] != len(self.enrolled):
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
        batch_size: int | None = None,
    ) -> None:
        if not 0 < threshold < 1 or not smoothness > 0:
            raise ParameterError(
                f"threshold is {threshold} and smoothness {smoothness}",
                where="threshold, smoothness",
                fix="give a probability between 0 and 1, and a smoothness above 0",
            )
        super().__init__(
            module, rate=rate, padding=_padding(module, wants_lengths), shortest=shortest, played=played,
            name=name, device=device, autocast=autocast, compile=compile, batch_size=batch_size,
        )  # fmt: skip
        self.threshold, self.smoothness = threshold, smoothness

    def read(self, answer: Any) -> Tensor:
        if not isinstance(answer, Tensor) or not answer.is_floating_point() or not answer.numel():
            raise TargetError(
                "the module answers no probabilities", where=self.name, fix="return floats (B, frames) or (B,)"
            )
        frames = answer.reshape(len(answer), -1)
        frames = frames.to(torch.promote_types(frames.dtype, torch.float32))
        margin = torch.finfo(frames.dtype).eps
        level = frames.clamp(margin, 1 - margin).logit()
        smooth = self.smoothness * torch.logsumexp(level / self.smoothness, 1)
        highest = smooth + (level.amax(1) - smooth).detach()
        bound = torch.tensor(self.threshold, dtype=frames.dtype, device=frames.device)
        return _sides(highest - bound.logit(), frames.amax(1) >= bound) / 2

    def settings(self) -> str:
        return f"{super().settings()}|{self.threshold}|{self.smoothness}"


class SpeechTarget(WavesTarget):
    """A speech recogniser: answers are the labels of free-running transcripts, losses the likelihood of any."""

    def __init__(self, module: nn.Module, *, access: str | Access | None = None, **options: Any) -> None:
        super().__init__(module, output=Output.LABEL, **options)
        # Answers are labels, and yet there are gradients: those of `likelihood`.
        self.access = Access.GRADIENT if access is None else Access.of(access)
        self._tokens: dict[int, list[int]] = {}

    @abstractmethod
    def encoded(self, x: Waves) -> Any:
        """What is said is read from this, differentiable in the samples."""

    @abstractmethod
    def decoded(self, state: Any) -> list[list[int]]:
        """Each row's own tokens, in free running."""

    @abstractmethod
    def spoken(self, tokens: list[int]) -> str:
        """The text of tokens."""

    @abstractmethod
    def spelled(self, label: int) -> list[int]:
        """The tokens of a transcript.

        Raises:
            InputError: the victim can never emit it.
        """

    @abstractmethod
    def surprise(self, state: Any, tokens: list[list[int]]) -> Tensor:
        """(B,) negative log-likelihood of each row's tokens."""

    def tokens(self, label: int) -> list[int]:
        """As `spelled`, remembered."""
        if label not in self._tokens:
            self._tokens[label] = self.spelled(label)
        return self._tokens[label]

    def texts(self, x: Waves) -> list[str]:
        """What is heard in each row, as the victim writes it."""
        with torch.no_grad():
            return [self.spoken(tokens) for tokens in self.decoded(self.encoded(x))] if len(x) else []

    def __call__(self, x: Waves) -> Tensor:  # type: ignore[override]
        return labels_of(self.texts(x)).to(self.device)

    def likelihood(self, x: Waves) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """What is heard, and how unlikely any other transcript is, of one pass through the encoder.

        Args:
            x: B rows.

        Returns:
            (B,) labels of the transcripts, and a function from labels (B,) to their negative log-likelihood (B,),
            differentiable in the rows' samples.
        """
        if not len(x):
            return labels_of([]).to(self.device), lambda _: x.samples.sum(-1)
        state = self.encoded(x)
        with torch.no_grad():
            own = self.decoded(state)
        heard = labels_of([self.spoken(tokens) for tokens in own])

        def surprise(labels: Tensor) -> Tensor:
            rows = zip(labels.tolist(), heard.tolist(), own, strict=True)
            return self.surprise(state, [self.chosen(label, mine, tokens) for label, mine, tokens in rows])

        return heard.to(self.device), surprise

    def chosen(self, label: int, mine: int, own: list[int]) -> list[int]:
        """The tokens that stand for a transcript in a row that was heard as `mine`, in the tokens `own`."""
        return self.tokens(label)

    def check(self, x: Waves, labels: Tensor) -> None:
        """See, before the first step, that the victim can take these rows and emit these transcripts.

        Args:
            x: B rows.
            labels: (B,) of transcripts.

        Raises:
            InputError: an impossible transcript, a waveform too long or too short.
            TargetError: another sample rate.
        """
        self.fitting(x)
        for row, label in enumerate(labels.tolist()):
            try:
                self.tokens(label)
            except InputError as error:
                raise InputError(error.what, where=f"{error.where}, row {row}", fix=error.fix) from None

    def _refuse_nan(self, finite: Tensor) -> None:
        """A transcript would hide it.

        Raises:
            TargetError: a row of `finite` (B,) is false.
        """
        if not bool(finite.all()):
            row = int((~finite).nonzero()[0, 0])
            raise TargetError(
                "the victim's output is not finite",
                where=f"{self.name}, row {row} of the batch",
                fix="look for NaN in its weights and inputs, or run it in a wider dtype",
            )


def sentence(text: str) -> str:
    """A normalised transcript as Whisper writes sentences: a capital first, a full stop last, "I" a capital.

    Example:
        >>> sentence("open the door i'm here")
        "Open the door I'm here."
    """
    return re.sub(r"\bi\b", "I", text[:1].upper() + text[1:]) + "." * bool(text)


class WhisperTarget(SpeechTarget):
    """A Whisper-type recogniser of `transformers`: log-mel, encoder, greedy decoding, and transcripts' likelihoods.

    The likelihood of a transcript is that of one spelling: where it is what the row is heard as, the tokens heard; else
    those of `spell(normalised text)`. So it depends on the row alone, never on what other rows were heard as. It is the
    sum over the transcript's tokens and its end, the prompt given, plus `first` times that of the first token, which
    decides which way free running goes.

    Args:
        model: a `WhisperForConditionalGeneration` in eval mode.
        tokenizer: its own.
        seconds: the window, a multiple of 0.02; the model's own (30) if not given. A shorter one costs less, and the
            victim is then another: one that hears nothing but these seconds. The model itself is not altered.
        prompt: ids that decoding starts from; of the generation config if not given.
        language: of the prompt, for multilingual models, such as `en`.
        most: new tokens at most, the end included.
        first: weight of the first token, besides its own 1.
        begin_suppress: ids that can't come first; of the generation config if not given. It holds the end itself for
            most models, which then never stay silent: give () to attack for silence.
        spell: from a normalised transcript to how the model would write it.
        played: a module from `Waves` to `Waves` before all else.
        **options: of `mmadv.ModuleTarget`.

    Raises:
        ParameterError: a window or a number of tokens that the model does not have, an unknown language.
        TargetError: no Whisper, or a multilingual one without a language.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        tokenizer: Any = None,
        seconds: float | None = None,
        prompt: Sequence[int] | None = None,
        language: str = "",
        most: int = 64,
        first: float = 1.0,
        begin_suppress: Sequence[int] | None = None,
        spell: Callable[[str], str] = sentence,
        played: nn.Module | None = None,
        name: str = "",
        access: str | Access | None = None,
        device: str | torch.device | None = None,
        autocast: str | torch.dtype | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(
            model, access=access, rate=16_000, played=played,
            name=name, device=device, autocast=autocast, batch_size=batch_size,
        )  # fmt: skip
        config: Any = getattr(model, "config", None)
        if getattr(config, "model_type", "") != "whisper" or not hasattr(model, "generation_config"):
            raise TargetError(
                "the model is no WhisperForConditionalGeneration",
                where=self.name,
                fix="use CTCTarget for CTC models; wrap any other recogniser in a function of a list of waveforms",
            )
        self.tokenizer = _needed(tokenizer, self.name)
        rules: Any = model.generation_config
        self.end: int = _single(rules.eos_token_id if rules.eos_token_id is not None else config.eos_token_id)
        self.prompt = list(prompt) if prompt is not None else _prompt(model, tokenizer, language)
        self.most, self.first, self.spell = most, first, spell
        self.features = LogMel(config.max_source_positions / 50 if seconds is None else seconds, config.num_mel_bins)
        positions = self.features.frames // 2
        if self.features.frames % 2 or positions > config.max_source_positions:
            raise ParameterError(
                f"seconds is {self.features.seconds:g}, and the model hears {config.max_source_positions / 50:g} s",
                where="seconds",
                fix="give a multiple of 0.02 s, at most the model's own",
            )
        if not 1 <= most <= config.max_target_positions - len(self.prompt):
            raise ParameterError(
                f"most is {most}, and of {config.max_target_positions} tokens the prompt takes {len(self.prompt)}",
                where="most",
                fix="give at least 1, and at most what is left",
            )
        self.encoder = _windowed(model.get_submodule("model.encoder"), positions)
        extra = [number for number in self.tokenizer.get_added_vocab().values() if number != self.end]
        size = config.vocab_size
        never = [*(rules.suppress_tokens or ()), *extra, *range(len(self.tokenizer), size)]
        self.never = _members(never, size, self.device)
        begin = rules.begin_suppress_tokens if begin_suppress is None else begin_suppress
        self.begin = _members(begin or (), size, self.device)

    def fitting(self, x: Waves) -> Waves:
        x = super().fitting(x)
        refuse_longer(x, self.features.frames * self.features.hop)
        return x

    def encoded(self, x: Waves) -> Tensor:
        features = self.features(self.heard(x))
        with self._lowered():
            return self.encoder(features.to(self.dtype)).last_hidden_state

    def decoded(self, state: Tensor) -> list[list[int]]:
        tokens = torch.full((len(state), self.most), self.end, device=state.device)
        rows = torch.arange(len(state), device=state.device)
        ended = torch.zeros_like(rows, dtype=torch.bool)
        ids = torch.tensor(self.prompt, device=state.device).expand(len(state), -1)
        past: Any = None
        with self._lowered():
            for step in range(self.most):
                answer = self.module(
                    encoder_outputs=(state,), decoder_input_ids=ids, past_key_values=past, use_cache=True
                )
                past, logits = answer.past_key_values, answer.logits[:, -1]
                if step == 0:
                    self._refuse_nan(torch.isfinite(logits).all(1))
                    logits = logits.masked_fill(self.begin, float("-inf"))
                chosen = logits.masked_fill(self.never, float("-inf")).argmax(-1).masked_fill(ended, self.end)
                tokens[rows, step] = chosen
                ended = ended | (chosen == self.end)
                left = (~ended).nonzero()[:, 0]
                if not len(left):
                    break
                ids = chosen.unsqueeze(1)
                if 4 * len(left) <= 3 * len(ended):  # copying the caches costs as much as a few steps
                    past.batch_select_indices(left)
                    rows, ended, ids, state = rows[left], ended[left], ids[left], state[left]
        return [row[: row.index(self.end)] if self.end in row else row for row in tokens.tolist()]

    def spoken(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True).strip()

    def spelled(self, label: int) -> list[int]:
        text = text_of(label)
        tokens = self.tokenizer(f" {self.spell(text)}" if text else "", add_special_tokens=False)["input_ids"]
        if not tokens and bool(self.begin[self.end]):
            raise InputError(
                "the victim never stays silent: its end token can't come first",
                where="transcript ''",
                fix="leave the example out, or lift that rule with begin_suppress=()",
            )
        if len(tokens) + 1 > self.most:
            raise InputError(
                f"a transcript has {len(tokens)} tokens and its end, and the victim writes {self.most} at most",
                where=f"transcript {text[:60]!r}",
                fix=f"shorten it, or give most={len(tokens) + 1}",
            )
        return list(tokens)

    def chosen(self, label: int, mine: int, own: list[int]) -> list[int]:
        return own if label == mine else self.tokens(label)

    def surprise(self, state: Tensor, tokens: list[list[int]]) -> Tensor:
        device, longest = state.device, max(map(len, tokens)) + 1
        ended = [[*row, self.end] + [-100] * (longest - len(row) - 1) for row in tokens]
        wanted = torch.tensor(ended, device=device)
        given = torch.tensor(self.prompt, device=device).expand(len(wanted), -1)
        ids = torch.cat([given, wanted[:, :-1].masked_fill(wanted[:, :-1] < 0, self.end)], 1)
        with self._lowered():
            answer = self.module(encoder_outputs=(state,), decoder_input_ids=ids, use_cache=False)
        logits = answer.logits[:, len(self.prompt) - 1 :]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).transpose(1, 2)
        each = nn.functional.cross_entropy(logits, wanted, ignore_index=-100, reduction="none")
        return each.sum(1) + self.first * each[:, 0]

    def settings(self) -> str:
        spell = getattr(self.spell, "__qualname__", type(self.spell).__qualname__)
        suppressed = [mask.nonzero()[:, 0].tolist() for mask in (self.never, self.begin)]
        own = self.features, self.prompt, self.end, self.most, self.first, spell, suppressed
        return f"{super().settings()}|{own}"


class CTCTarget(SpeechTarget):
    """A CTC recogniser of characters: a `transformers` model of the wav2vec2 kind, or any module with (B, frames, V).

    Of `transformers` models, those with layer norm in their feature encoder get an attention mask. Those with group
    norm were trained without, so that padding would change their answers; they are asked about rows of equal length.

    Args:
        model: in eval mode.
        tokenizer: of a `transformers` model.
        vocabulary: V symbols in place of a tokenizer; "" for those that are never written, "|" or " " between words.
        blank: the blank's number; of the tokenizer's padding token if not given, or else 0.
        extractor: the model's feature extractor; `transformers` models get standardised waveforms if not given.
        frames: from lengths (B,) in samples to frames (B,); found by asking a plain module about silence if not given.
        rate: samples a second that a plain module was trained with.
        wants_lengths: as of `AudioTarget`, and so shortest and standardise, for plain modules.
        played: a module from `Waves` to `Waves` before all else.
        **options: of `mmadv.ModuleTarget`.

    Raises:
        TargetError: no vocabulary, or one that doesn't fit.

    Example:
        >>> target = CTCTarget(nn.Unflatten(1, (-1, 3)).eval(), vocabulary=["", "a", "b"])
        >>> x = Waves.of([torch.tensor([0.0, 9, 0, 9, 0, 0, 0, 0, 9, 0, 0, 9])], rate=16_000)
        >>> target.texts(x)
        ['ab']
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        tokenizer: Any = None,
        vocabulary: Sequence[str] | None = None,
        blank: int | None = None,
        extractor: Any = None,
        frames: Callable[[Tensor], Tensor] | None = None,
        rate: int = 16_000,
        wants_lengths: bool | None = None,
        shortest: int = 1,
        standardise: bool = False,
        played: nn.Module | None = None,
        name: str = "",
        access: str | Access | None = None,
        device: str | torch.device | None = None,
        autocast: str | torch.dtype | None = None,
        compile: bool = False,
        batch_size: int | None = None,
    ) -> None:
        if _of_transformers(model):
            known: Any = model
            options = _wav2vec2(model, extractor)
            frames = frames or known._get_feat_extract_output_lengths
            blank = known.config.pad_token_id if blank is None else blank
        else:
            padding = _padding(model, wants_lengths)
            options = {"rate": rate, "padding": padding, "shortest": shortest, "standardise": standardise}
        super().__init__(
            model, access=access, played=played, **options,
            name=name, device=device, autocast=autocast, compile=compile, batch_size=batch_size,
        )  # fmt: skip
        self.symbols = list(vocabulary) if vocabulary is not None else _symbols(_needed(tokenizer, self.name))
        self.blank = blank if blank is not None else getattr(tokenizer, "pad_token_id", None) or 0
        if not 0 <= self.blank < len(self.symbols) or (self.padding == "lengths" and frames is None):
            raise TargetError(
                f"the blank {self.blank} is none of {len(self.symbols)} symbols, or frames is missing",
                where=self.name,
                fix="give the blank's number, and frames= for a module that takes lengths",
            )
        self.symbols[self.blank] = ""
        self.numbers = {
            symbol.replace("|", " ").lower(): number
            for number, symbol in reversed(list(enumerate(self.symbols)))
            if len(symbol) == 1
        }
        self._frames = frames
        self._probed: dict[int, int] = {}

    def read(self, answer: Any) -> Tensor:
        scores = getattr(answer, "logits", answer)
        if not isinstance(scores, Tensor) or scores.dim() != 3 or scores.shape[2] < len(self.symbols):
            found = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
            raise TargetError(
                f"the model answers {found}, and the vocabulary has {len(self.symbols)} symbols",
                where=self.name,
                fix="return scores (B, frames, V), with one for each symbol",
            )
        return scores

    def frames(self, length: Tensor) -> Tensor:
        """(B,) how many frames come of lengths (B,) in samples."""
        if self._frames is not None:
            return torch.as_tensor(self._frames(length), device=length.device).long()
        with torch.no_grad():
            for size in set(length.tolist()) - self._probed.keys():
                silence = torch.zeros(1, size, dtype=self.dtype or torch.float32, device=self.device)
                self._probed[size] = self.read(self._call(silence)).shape[1]
        return torch.tensor([self._probed[size] for size in length.tolist()], device=length.device)

    def encoded(self, x: Waves) -> tuple[Tensor, Tensor]:
        scores = self.run(self.heard(x))
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32)).log_softmax(-1)
        frames = self.frames(x.length)
        if int(frames.max()) > scores.shape[1]:
            raise TargetError(
                f"the model answers {scores.shape[1]} frames where {int(frames.max())} were expected",
                where=self.name,
                fix="give frames= that says how many frames come of so many samples",
            )
        inside = torch.arange(scores.shape[1], device=frames.device) < frames.unsqueeze(1)
        self._refuse_nan((scores.detach().isnan().any(2) & inside).any(1).logical_not())
        return scores, frames

    def decoded(self, state: tuple[Tensor, Tensor]) -> list[list[int]]:
        scores, frames = state
        best = scores.argmax(-1)
        kept = torch.arange(best.shape[1], device=best.device) < frames.unsqueeze(1)
        kept &= best != self.blank
        kept[:, 1:] &= best[:, 1:] != best[:, :-1]
        return [list(part) for part in _split(best[kept].tolist(), kept.sum(1).tolist())]

    def spoken(self, tokens: list[int]) -> str:
        symbols = [self.symbols[token] if token < len(self.symbols) else "" for token in tokens]
        return " ".join("".join(symbols).replace("|", " ").split())

    def spelled(self, label: int) -> list[int]:
        text = text_of(label)
        if unknown := sorted(set(text) - self.numbers.keys()):
            raise InputError(
                f"the victim has no {', '.join(map(repr, unknown))} in its vocabulary",
                where=f"transcript {text[:60]!r}",
                fix="write it with the victim's characters, numbers as words if it has no digits",
            )
        return [self.numbers[character] for character in text]

    def check(self, x: Waves, labels: Tensor) -> None:
        super().check(x, labels)
        for row, (label, frames) in enumerate(zip(labels.tolist(), self.frames(x.length).tolist(), strict=True)):
            tokens = self.tokens(label)
            needed = len(tokens) + sum(left == right for left, right in itertools.pairwise(tokens))
            if needed > frames:
                raise InputError(
                    f"a transcript needs {needed} frames, and the waveform has {frames}",
                    where=f"transcript {text_of(label)[:60]!r}, row {row}",
                    fix="give a shorter transcript, or a longer waveform",
                )

    def surprise(self, state: tuple[Tensor, Tensor], tokens: list[list[int]]) -> Tensor:
        scores, frames = state
        sizes = torch.tensor([len(row) for row in tokens], device=scores.device)
        wanted = torch.tensor([token for row in tokens for token in row], dtype=torch.int64, device=scores.device)
        return nn.functional.ctc_loss(scores.transpose(0, 1), wanted, frames, sizes, blank=self.blank, reduction="none")

    def settings(self) -> str:
        return f"{super().settings()}|{self.symbols}|{self.blank}"


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
        batch_size: int | None = None,
    ) -> None:
        super().__init__(function, name=name, output=output, access=access, batch_size=batch_size)
        self.rate = rate

    def __call__(self, x: Waves) -> Tensor:
        if self.rate is not None and x.rate != self.rate:
            raise TargetError(
                f"the waveforms have {x.rate} samples a second, and the victim takes {self.rate}",
                where=self.name,
                fix=f"resample them to {self.rate} Hz first",
            )
        answer = self.function([wave.detach().cpu().float().numpy() for wave in x])
        if not isinstance(answer, (list, tuple)) or not answer or not all(isinstance(one, str) for one in answer):
            return torch.as_tensor(answer, device=self.device)
        if self.output is not Output.LABEL:
            raise TargetError(
                f"the victim returns transcripts, and {self.output} were declared",
                where=self.name,
                fix='give output="label"',
            )
        return labels_of(list(answer))


def load_folder(
    folder: str | Path,
    *,
    seconds: float | None = None,
    language: str = "",
    most: int = 64,
    first: float = 1.0,
    played: nn.Module | None = None,
    name: str = "",
    device: str | None = None,
    autocast: str | None = None,
    batch_size: int | None = None,
) -> WavesTarget:
    """A `transformers` recogniser or audio classifier from a folder in the hub's format, or from the hub by name.

    Weights are read from safetensors only; nothing is unpickled.

    Args:
        folder: what `from_pretrained` takes.
        seconds: of `WhisperTarget`, as language, most and first.
        **options: of the target.

    Raises:
        TargetError: no such model, one of another kind, or one whose weights would have to be unpickled.
    """
    import transformers as hub

    path = Path(folder)
    refuse_pickles(path)
    common: dict[str, Any] = {
        "played": played, "name": name or path.name, "device": device, "autocast": autocast, "batch_size": batch_size,
    }  # fmt: skip
    try:
        config = hub.AutoConfig.from_pretrained(folder)
        kind = next(iter(getattr(config, "architectures", None) or ()), "")
        if kind == "WhisperForConditionalGeneration":
            model: Any = hub.WhisperForConditionalGeneration.from_pretrained(folder, use_safetensors=True)
            tokenizer: Any = hub.AutoTokenizer.from_pretrained(folder)
            speech: dict[str, Any] = {"seconds": seconds, "language": language, "most": most, "first": first}
            return WhisperTarget(model.eval(), tokenizer=tokenizer, **speech, **common)
        if not kind.endswith(("ForCTC", "ForSequenceClassification", "ForAudioClassification")):
            raise ValueError(f"its architecture is {kind or 'not stated'}")
        extractor: Any = hub.AutoFeatureExtractor.from_pretrained(folder)  # type: ignore[no-untyped-call]
        if kind.endswith("ForCTC"):
            model = hub.AutoModelForCTC.from_pretrained(folder, use_safetensors=True)
            tokenizer = hub.AutoTokenizer.from_pretrained(folder)
            return CTCTarget(model.eval(), tokenizer=tokenizer, extractor=extractor, **common)
        model = hub.AutoModelForAudioClassification.from_pretrained(folder, use_safetensors=True)
        return ClassifierTarget(model.eval(), extractor=extractor, **common)
    except (OSError, ValueError) as error:
        raise TargetError(
            f"no audio model could be loaded: {str(error).splitlines()[0]}",
            where=str(folder),
            fix="give a folder written by save_pretrained of a Whisper, CTC or audio classification model, "
            "with its tokenizer and preprocessor_config.json",
        ) from error


def claim(victim: object, modality: str) -> TargetClaim | None:
    """The audio plugin's offer to adapt a victim."""
    if modality != "audio":
        return None
    factory: Callable[..., Target] | None = None
    if isinstance(victim, nn.Module):
        kind = type(victim).__name__ if _of_transformers(victim) else ""
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


def _of_transformers(module: nn.Module) -> bool:
    return hasattr(module, "config") and type(module).__module__.startswith("transformers.")


def _padding(module: nn.Module, wants_lengths: bool | None) -> str:
    """Whether a module is told of lengths: as it was said, or as its second argument is called."""
    if wants_lengths is None:
        try:
            names = list(inspect.signature(module.forward).parameters)
        except (TypeError, ValueError):
            names = []
        wants_lengths = len(names) > 1 and names[1] in ("length", "lengths")
    return "lengths" if wants_lengths else ""


def _wav2vec2(model: Any, extractor: Any) -> dict[str, Any]:
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


def _needed(tokenizer: Any, name: str) -> Any:
    if tokenizer is None:
        raise TargetError(
            "no tokenizer is given",
            where=name,
            fix="pass tokenizer=AutoTokenizer.from_pretrained(…), or the model's folder in place of the model",
        )
    return tokenizer


def _symbols(tokenizer: Any) -> list[str]:
    """What each token of a CTC tokenizer writes."""
    by_number = {number: symbol for symbol, number in tokenizer.get_vocab().items()}
    delimiter, unwritten = getattr(tokenizer, "word_delimiter_token", "|"), set(tokenizer.all_special_tokens)
    symbols = [by_number.get(number, "") for number in range(max(by_number) + 1)]
    return ["|" if symbol == delimiter else "" if symbol in unwritten else symbol for symbol in symbols]


def _split(values: list[int], sizes: list[int]) -> Iterator[list[int]]:
    start = 0
    for size in sizes:
        yield values[start : start + size]
        start += size


def _single(number: Any) -> int:
    return int(number[0] if isinstance(number, (list, tuple)) else number)


def _members(numbers: Sequence[int], size: int, device: torch.device) -> Tensor:
    """(size,) bool, which numbers are among `numbers`."""
    mask = torch.zeros(size, dtype=torch.bool, device=device)
    mask[torch.tensor([number for number in numbers if 0 <= number < size], dtype=torch.int64, device=device)] = True
    return mask


def _prompt(model: Any, tokenizer: Any, language: str) -> list[int]:
    """What Whisper's decoding starts from: start, language and task of multilingual models, no timestamps.

    Raises:
        TargetError: a multilingual model without a language.
        ParameterError: a language that it does not have.
    """
    rules, known = model.generation_config, tokenizer.get_added_vocab()
    start = (
        rules.decoder_start_token_id
        if rules.decoder_start_token_id is not None
        else model.config.decoder_start_token_id
    )
    prompt = [int(start)]
    many = getattr(rules, "is_multilingual", None)
    if many is None:  # as of fine-tuned models whose generation config is lost; the English ones have 51,864 tokens
        many = bool(getattr(rules, "lang_to_id", None)) or model.config.vocab_size >= 51_865
    if many:
        spoken = (language or getattr(rules, "language", None) or "").strip("<|>").lower()
        if not spoken:
            raise TargetError(
                "the model is multilingual, and would guess a language for each utterance anew",
                where=type(model).__name__,
                fix="give language='en', or the prompt's ids with prompt=",
            )
        languages = getattr(rules, "lang_to_id", None) or known
        if f"<|{spoken}|>" not in languages:
            raise ParameterError(f"unknown language {spoken!r}", where="language", fix="give its code, such as 'en'")
        tasks = getattr(rules, "task_to_id", None) or {"transcribe": known["<|transcribe|>"]}
        prompt += [languages[f"<|{spoken}|>"], tasks["transcribe"]]
    silent = getattr(rules, "no_timestamps_token_id", None)
    silent = known.get("<|notimestamps|>") if silent is None else silent
    return prompt if silent is None else [*prompt, int(silent)]


def _windowed(encoder: Any, positions: int) -> Any:
    """Whisper's encoder on its first positions only: another module around the same weights."""
    if positions == encoder.config.max_source_positions:
        return encoder
    short = copy.copy(encoder)
    short.config = copy.deepcopy(encoder.config)
    short.config.max_source_positions = short.max_source_positions = positions
    weight = encoder.embed_positions.weight.detach()[:positions]
    short._modules = {**encoder._modules, "embed_positions": nn.Embedding.from_pretrained(weight)}
    return short

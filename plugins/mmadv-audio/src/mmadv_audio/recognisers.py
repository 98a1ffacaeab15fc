"""Speech recognisers: what all have in common, and those trained with CTC."""

from __future__ import annotations

import bisect
import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmadv import Access, Output
from mmadv.errors import InputError, ParameterError, TargetError
from mmadv.target import told_apart
from mmadv_audio.target import WavesTarget, needed, of_transformers, padding_of, wav2vec2
from mmadv_audio.transcripts import labels_of, text_of
from mmadv_audio.waves import Waves


class SpeechTarget(WavesTarget):
    """A speech recogniser: answers are the labels of free-running transcripts, losses the likelihood of any."""

    def __init__(self, module: nn.Module, *, access: str | Access | None = None, **options: Any) -> None:
        super().__init__(module, output=Output.LABEL, **options)
        self.labels = None  # whatever its config says: transcripts are no classes with names
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
        state, own, texts = self._read(x)
        heard = labels_of(texts)

        def surprise(labels: Tensor) -> Tensor:
            rows = zip(labels.tolist(), heard.tolist(), own, strict=True)
            return self.surprise(state, [self.chosen(label, mine, tokens) for label, mine, tokens in rows])

        return heard.to(self.device), surprise

    def transcribed(self, x: Waves) -> tuple[list[str], Callable[[], Tensor]]:
        """What is heard, as the victim writes it, and how unlikely just that is, of one pass through the encoder.

        Args:
            x: B rows.

        Returns:
            B texts, and a function of nothing to their negative log-likelihood (B,), differentiable in the rows' samples.
        """
        if not len(x):
            return [], lambda: x.samples.sum(-1)
        state, own, texts = self._read(x)
        return texts, lambda: self.surprise(state, own)

    def _read(self, x: Waves) -> tuple[Any, list[list[int]], list[str]]:
        """What rows (B) are encoded as, the tokens that each is heard as, and the texts of those."""
        state = self.encoded(x)
        with torch.no_grad():
            own = self.decoded(state)
        return state, own, [self.spoken(tokens) for tokens in own]

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


class CTCTarget(SpeechTarget):
    """A CTC recogniser of characters or words: a `transformers` model of the wav2vec2 kind, or any module with (B, frames, V).

    Of `transformers` models, those with layer norm in their feature encoder get an attention mask. Those with group
    norm were trained without, so that padding would change their answers; they are asked about rows of equal length.

    Args:
        model: in eval mode.
        tokenizer: of a `transformers` model.
        vocabulary: V symbols in place of a tokenizer, or their numbers; "" for those that are never written, "|" or " "
            between words. Where each is longer than a character, they are whole words.
        blank: the blank's number; of the tokenizer's padding token if not given, or else 0.
        extractor: the model's feature extractor; `transformers` models get standardised waveforms if not given.
        frames: from lengths (B,) in samples to frames (B,); if not given, as many as a plain module answers, and more for longer
            recordings than for shorter ones. Before its first answer it is asked about silence, as long as the shortest recording.
        rate: samples a second that a plain module was trained with, 16,000 if not given.
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
        vocabulary: Sequence[str] | Mapping[str, int] | None = None,
        blank: int | None = None,
        extractor: Any = None,
        frames: Callable[[Tensor], Tensor] | None = None,
        rate: int | None = None,
        wants_lengths: bool | None = None,
        shortest: int | None = None,
        standardise: bool | None = None,
        played: nn.Module | None = None,
        name: str = "",
        access: str | Access | None = None,
        device: str | torch.device | None = None,
        autocast: str | torch.dtype | None = None,
        compile: bool = False,
        batch_size: int | str | None = None,
    ) -> None:
        own = {"rate": rate, "wants_lengths": wants_lengths, "shortest": shortest, "standardise": standardise}
        if of_transformers(model):
            if given := [word for word, value in own.items() if value is not None]:
                raise ParameterError(
                    f"{', '.join(given)} is of plain modules; the model's own configuration says it",
                    where="target",
                    fix="leave it out, or give the model's feature extractor",
                )
            known: Any = model
            options = wav2vec2(model, extractor)
            frames = frames or known._get_feat_extract_output_lengths
            blank = known.config.pad_token_id if blank is None else blank
        else:
            if extractor is not None:
                raise ParameterError(
                    "a feature extractor is given, and the model is none of transformers'",
                    where="extractor",
                    fix="leave it out, and give rate= and standardise=",
                )
            padding = padding_of(model, wants_lengths)
            options = {
                "rate": rate or 16_000, "padding": padding, "shortest": shortest or 1, "standardise": bool(standardise),
            }  # fmt: skip
        super().__init__(
            model, access=access, played=played, **options,
            name=name, device=device, autocast=autocast, compile=compile, batch_size=batch_size,
        )  # fmt: skip
        if vocabulary is not None and tokenizer is not None:
            raise ParameterError(
                "a vocabulary is given beside a tokenizer", where="vocabulary", fix="give the one or the other"
            )
        if isinstance(vocabulary, Mapping):
            vocabulary = _ordered(vocabulary)
        self._complete = vocabulary is not None
        self.symbols = list(vocabulary) if vocabulary is not None else _symbols(needed(tokenizer, self.name))
        self.blank = blank if blank is not None else getattr(tokenizer, "pad_token_id", None) or 0
        if not 0 <= self.blank < len(self.symbols) or (self.padding == "lengths" and frames is None):
            raise TargetError(
                f"the blank {self.blank} is none of {len(self.symbols)} symbols, or frames is missing",
                where=self.name,
                fix="give the blank's number, and frames= for a module that takes lengths",
            )
        self.symbols[self.blank] = ""
        self.whole_words = self._complete and any(self.symbols) and all(len(one) != 1 for one in self.symbols)
        self.numbers = {
            symbol.replace("|", " ").lower(): number
            for number, symbol in reversed(list(enumerate(self.symbols)))
            if len(symbol) == 1 or (symbol and self.whole_words)
        }
        self._frames = frames
        self._seen: dict[int, int] = {}

    def read(self, answer: Any) -> Tensor:
        scores = getattr(answer, "logits", answer)
        known = len(self.symbols)
        fits = isinstance(scores, Tensor) and scores.dim() == 3
        if not fits or scores.shape[2] < known or (self._complete and scores.shape[2] > known):
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
        for size in set(length.tolist()) - self._seen.keys():
            self._probe(size)
        return torch.tensor([self._seen[size] for size in length.tolist()], device=length.device)

    def _probe(self, size: int) -> None:
        with torch.no_grad():
            self._alike(torch.zeros(1, size, dtype=self.dtype or torch.float32, device=self.device))

    def _alike(self, samples: Tensor) -> Tensor:
        answer = super()._alike(samples)
        self._seen[samples.shape[1]] = answer.shape[1]
        return answer

    def _least_frames(self, length: Tensor) -> list[int]:
        """Frames that lengths (B,) have at least: of a plain module, those of the longest that it has answered and is no longer."""
        if self._frames is not None or not len(length):
            return self.frames(length).tolist()
        if (shortest := int(length.min())) not in self._seen and min(self._seen, default=shortest + 1) > shortest:
            self._probe(shortest)
        known = sorted(self._seen)
        return [self._seen[known[bisect.bisect_right(known, size) - 1]] for size in length.tolist()]

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
        return " ".join((" " if self.whole_words else "").join(symbols).replace("|", " ").split())

    def spelled(self, label: int) -> list[int]:
        text = text_of(label)
        parts = text.split() if self.whole_words else list(text)
        if unknown := sorted(set(parts) - self.numbers.keys()):
            raise InputError(
                f"the victim has no {', '.join(map(repr, unknown))} in its vocabulary",
                where=f"transcript {text[:60]!r}",
                fix="write it with the victim's words"
                if self.whole_words
                else "write it with the victim's characters, numbers as words if it has no digits",
            )
        return [self.numbers[part] for part in parts]

    def check(self, x: Waves, labels: Tensor) -> None:
        super().check(x, labels)
        for row, (label, frames) in enumerate(zip(labels.tolist(), self._least_frames(x.length), strict=True)):
            tokens = self.tokens(label)
            needed = len(tokens) + sum(left == right for left, right in itertools.pairwise(tokens))
            if needed > frames and needed > (frames := int(self.frames(x.length[row : row + 1]))):
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
        frames = "" if self._frames is None else told_apart(self._frames)
        return f"{super().settings()}|{self.symbols}|{self.blank}|{frames}"


def _ordered(vocabulary: Mapping[str, int]) -> list[str]:
    """Symbols by their numbers, "" for numbers without one."""
    by_number = {number: symbol for symbol, number in vocabulary.items()}
    return [by_number.get(number, "") for number in range(max(by_number, default=-1) + 1)]


def _symbols(tokenizer: Any) -> list[str]:
    """What each token of a CTC tokenizer writes."""
    delimiter, unwritten = getattr(tokenizer, "word_delimiter_token", "|"), set(tokenizer.all_special_tokens)
    symbols = _ordered(tokenizer.get_vocab())
    return ["|" if symbol == delimiter else "" if symbol in unwritten else symbol for symbol in symbols]


def _split(values: list[int], sizes: list[int]) -> Iterator[list[int]]:
    start = 0
    for size in sizes:
        yield values[start : start + size]
        start += size

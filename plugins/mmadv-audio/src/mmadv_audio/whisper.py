"""Whisper-type recognisers of `transformers`, differentiable from the waveform."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmadv import Access
from mmadv.errors import InputError, ParameterError, TargetError
from mmadv.target import told_apart
from mmadv_audio.features import LogMel, refuse_longer
from mmadv_audio.recognisers import SpeechTarget
from mmadv_audio.target import described, needed
from mmadv_audio.transcripts import text_of
from mmadv_audio.waves import Waves


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
        batch_size: int | str | None = None,
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
        self.tokenizer = needed(tokenizer, self.name)
        size = config.vocab_size
        if prompt is not None and (not prompt or not all(isinstance(one, int) and 0 <= one < size for one in prompt)):
            raise ParameterError(
                f"prompt is {list(prompt)}", where="prompt", fix=f"give at least one id, each below {size}"
            )
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float))):
            raise ParameterError(f"seconds is {seconds!r}", where="seconds", fix="give a number, such as 10")
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
        self.encoder = windowed(model.get_submodule("model.encoder"), positions)
        extra = [number for number in self.tokenizer.get_added_vocab().values() if number != self.end]
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
        if silenced := [token for token in tokens if bool(self.never[token])]:
            raise InputError(
                f"the victim never writes {self.tokenizer.decode(silenced[:1])!r}: its generation config suppresses that token",
                where=f"transcript {text[:60]!r}",
                fix="leave it out of the transcript, or spell it otherwise with spell=…",
            )
        if tokens and bool(self.begin[tokens[0]]):
            raise InputError(
                f"the victim begins nothing with {self.tokenizer.decode(tokens[:1])!r}: that token can't come first",
                where=f"transcript {text[:60]!r}",
                fix="begin otherwise, or lift that rule with begin_suppress=()",
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
        written = described(self.tokenizer), told_apart(self.spell)
        suppressed = [mask.nonzero()[:, 0].tolist() for mask in (self.never, self.begin)]
        own = self.features, self.prompt, self.end, self.most, self.first, written, suppressed
        return f"{super().settings()}|{own}"


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
    if language.strip("<|>").lower() not in ("", "en") and not many:
        raise ParameterError(
            f"language is {language!r}, and the model knows English alone", where="language", fix="leave it out"
        )
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


def windowed(encoder: Any, positions: int) -> Any:
    """Whisper's encoder on its first positions only: another module around the same weights."""
    if positions == encoder.config.max_source_positions:
        return encoder
    short = copy.copy(encoder)
    short.config = copy.deepcopy(encoder.config)
    short.config.max_source_positions = short.max_source_positions = positions
    weight = encoder.embed_positions.weight.detach()[:positions]
    short._modules = {**encoder._modules, "embed_positions": nn.Embedding.from_pretrained(weight)}
    return short

"""A masked language model: what it would write in a word's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmadv.errors import ParameterError
from mmadv_text import language, lexicon, polarity
from mmadv_text.candidates import Candidate
from mmadv_text.encoder import digest
from mmadv_text.words import Words

if TYPE_CHECKING:
    from torch.nn import Module

TOKENS = 4096
"""Tokens in one forward pass, padding included."""


@dataclass(frozen=True, eq=False)
class MaskedLM:
    """Each word masked in turn, all words of all texts in batches of one length; whole words only.

    A model fills the gap with what is likely, not with what means the same: `good` and `bad` fit the same places.
    With `checks`, only content words are replaced, by words of the same part of speech and form that are no opposites.

    Args:
        model: a transformers masked language model; its mode and the random state are left as they were.
        tokenizer: its tokenizer.
        k: words looked at for each gap.
        least_probability: theirs at least.
        checks: ask WordNet and the tagger for part of speech, form and opposites.
        name: for records.

    Raises:
        ParameterError: k or least_probability is out of range, or the tokenizer has no mask.
    """

    model: Module
    tokenizer: Any
    k: int = 8
    least_probability: float = 0.005
    checks: bool = True
    name: str = "masked"
    _whole: dict[int, str] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.k < 1 or not 0 <= self.least_probability <= 1:
            raise ParameterError(
                f"k is {self.k} and least_probability is {self.least_probability}",
                where="MaskedLM",
                fix="give k >= 1 and a probability",
            )
        if self.tokenizer.mask_token_id is None:
            raise ParameterError(
                "the tokenizer has no mask token", where="MaskedLM", fix="give a masked language model's tokenizer"
            )
        # Pieces that begin a word and are one: `##ing` of WordPiece does not, `▁word` and `Ġword` do.
        special = set(self.tokenizer.all_special_ids)
        pieces = {number: piece for piece, number in self.tokenizer.get_vocab().items() if number not in special}
        marks = [mark for mark in "▁Ġ" if sum(piece.startswith(mark) for piece in pieces.values()) > len(pieces) // 4]
        for number, piece in pieces.items():
            text = piece.removeprefix(marks[0]) if marks else piece
            if (not marks or piece != text) and text.replace("-", "").isalpha() and (len(text) > 1 or text in "aI"):
                self._whole[number] = text

    def fingerprint(self) -> str:
        checks = lexicon.fingerprint() if self.checks else "unchecked"
        return (
            f"{self.name} 2: {type(self.model).__qualname__} {digest(self.model)[:16]}, k {self.k}, "
            f"least {self.least_probability}, {checks}"
        )

    def __call__(self, texts: Sequence[Words]) -> list[list[list[Candidate]]]:
        found: list[list[list[Candidate]]] = [[[] for _ in text.words] for text in texts]
        gaps: list[tuple[int, int, str]] = []
        masked: list[tuple[str, int]] = []
        mask = self.tokenizer.mask_token
        for number, text in enumerate(texts):
            tags = language.content_tags(text) if self.checks else ("-",) * len(text.words)
            for place, tag in enumerate(tags):
                if tag:
                    gaps.append((number, place, tag))
                    # A text may hold the mask's own word; the gap comes after those before it.
                    masked.append((text.replaced({place: mask}), text.text[: text.spans[place][0]].count(mask)))
        for index, likely in self._filled(masked).items():
            number, place, tag = gaps[index]
            words = texts[number].words
            forms = dict.fromkeys(form for other in likely if (form := self._form(other, words, place, tag)))
            found[number][place] = [Candidate(form, self.name) for form in forms]
        return found

    def _form(self, other: str, words: tuple[str, ...], place: int, tag: str) -> str | None:
        word = words[place]
        if other.lower() == word.lower():
            return None
        if not self.checks:
            return language.inflected(other, "", word)
        form = language.reshaped(other, word, tag)
        if form is None or form.lower() == word.lower() or other.lower() in language.FUNCTION:
            return None
        opposite = any(
            polarity.opposed(mine, theirs, language.POS[tag])
            for mine in language.lemmas(word, tag)
            for theirs in language.lemmas(other, tag)
        )
        return None if opposite or not language.fits(words, place, tag, form) else form

    @torch.no_grad()
    def _filled(self, masked: list[tuple[str, int]]) -> dict[int, list[str]]:
        """The most likely whole words of each text's gap, most likely first.

        Args:
            masked: texts, and how many masks stand before the gap.
        """
        if not masked:
            return {}
        mask = self.tokenizer.mask_token_id
        limit = min(
            self.tokenizer.model_max_length,
            getattr(getattr(self.model, "config", None), "max_position_embeddings", None) or 1 << 30,
        )
        ids = self.tokenizer([text for text, _ in masked])["input_ids"]
        masks = [[at for at, number in enumerate(row) if number == mask] for row in ids]
        cut = [
            self._around(row, standing[before], limit)
            for row, standing, (_, before) in zip(ids, masks, masked, strict=True)
        ]
        rows, gaps = [row for row, _ in cut], [gap for _, gap in cut]
        whole = torch.tensor(sorted(self._whole))
        device = next(self.model.parameters()).device
        modes = [module.training for module in self.model.modules()]
        self.model.eval()
        answers: dict[int, list[str]] = {}
        try:
            # Rows of one length share a batch: no padding, so a text's answer doesn't depend on the others'.
            by_length: dict[int, list[int]] = {}
            for number, row in enumerate(rows):
                by_length.setdefault(len(row), []).append(number)
            for length, numbers in sorted(by_length.items()):
                size = max(TOKENS // length, 1)
                for start in range(0, len(numbers), size):
                    some = numbers[start : start + size]
                    given = torch.tensor([rows[number] for number in some], device=device)
                    logits: Tensor = self.model(input_ids=given, attention_mask=torch.ones_like(given)).logits
                    probability = (
                        logits[range(len(some)), [gaps[number] for number in some]].float().softmax(1).cpu()[:, whole]
                    )
                    order = probability.argsort(dim=1, descending=True, stable=True)[:, : self.k]
                    for number, values, places in zip(some, probability.gather(1, order), order, strict=True):
                        answers[number] = [
                            self._whole[int(whole[place])]
                            for value, place in zip(values.tolist(), places.tolist(), strict=True)
                            if value >= self.least_probability
                        ]
        finally:
            for module, training in zip(self.model.modules(), modes, strict=True):
                module.training = training
        return dict(sorted(answers.items()))

    @staticmethod
    def _around(row: list[int], gap: int, limit: int) -> tuple[list[int], int]:
        """A row cut to the model's length, with its first and last token and the gap's surroundings, and where the gap is."""
        if len(row) <= limit:
            return row, gap
        inside = limit - 2
        start = min(max(gap - inside // 2, 1), len(row) - 1 - inside)
        return [row[0], *row[start : start + inside], row[-1]], gap - start + 1

"""What the law checks need of texts: small victims over word ids whose nearest adversarial is known, and slow judgements of our own."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmadv.testing import Kit, victims
from mmadv.testing.kit import Words as SpaceWords
from mmadv.testing.victims import Stage
from mmadv_text.candidates.table import Table
from mmadv_text.target import Vocabulary
from mmadv_text.texts import Texts

GRAIN = 64.0
"""Weights are multiples of 1/64, so that sums of them are exact in any order, whatever a batch is padded to."""


class Bag(nn.Module):
    """A row-independent victim: the embeddings of all words, added up, and a head on the sum.

    Args:
        words: of the vocabulary.
        weight: (V, H) their embeddings.
        head: of (B, H).
    """

    def __init__(self, words: list[str], weight: Tensor, head: nn.Module) -> None:
        super().__init__()
        self.tokenizer = Vocabulary(words)
        fixed = torch.cat([torch.zeros(2, weight.shape[1]), (weight * GRAIN).round() / GRAIN])
        self.embedding = nn.Embedding(len(fixed), weight.shape[1], _weight=fixed)
        self.head = head
        self.eval()

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embedding(ids).sum(1))


class Balance(nn.Module):
    """Logits (s, −s, −16, −17) of a sum s: two classes compete, two are far behind."""

    def forward(self, total: Tensor) -> Tensor:
        s = total[:, 0]
        return torch.stack([s, -s, torch.full_like(s, -16), torch.full_like(s, -17)], 1)


class Leaky(nn.Module):
    """A linear head on max(h, h/4).

    Args:
        linear: the head.
    """

    def __init__(self, linear: victims.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, total: Tensor) -> Tensor:
        return self.linear(torch.maximum(total, 0.25 * total))


class Known(nn.Module):
    """A victim that answers NaN to everything but some texts.

    Args:
        victim: what answers those.
        texts: which they are.
    """

    def __init__(self, victim: nn.Module, texts: list[str]) -> None:
        super().__init__()
        self.victim = victim
        self.known = {tuple(tokens.ids) for tokens in _tokenizer(victim)(texts)}
        self.eval()

    def forward(self, ids: Tensor) -> Tensor:
        rows = [tuple(number for number in row if number) for row in ids.tolist()]
        known = torch.tensor([row in self.known for row in rows], device=ids.device)
        return torch.where(known.unsqueeze(1), self.victim(ids), float("nan"))


def _tokenizer(victim: nn.Module) -> Vocabulary:
    return next(part.tokenizer for part in victim.modules() if hasattr(part, "tokenizer"))  # type: ignore[return-value]


def _plain(x: Any) -> list[str]:
    """The attacked text of each row."""
    return [text if isinstance(text, str) else text[1] for text in x]


class Letters:
    """An encoder of sentences: 1, and how often each letter comes up."""

    name = "letters"

    def __call__(self, texts: list[str]) -> Tensor:
        return torch.tensor(
            [[1.0, *(float(text.lower().count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz")] for text in texts]
        )

    def __str__(self) -> str:
        return self.name


def _names(count: int) -> list[str]:
    letters = "bcdfghklmnprstvz"
    return ["".join(name) for name in itertools.islice(itertools.product(letters, "aeiou", letters, "aeiou"), count)]


NAMES = _names(240)
"""Made-up words. Word i < 60 may become word 60 + i, 120 + i or 180 + i."""
TABLE = Table({NAMES[i]: [NAMES[i + 60 * k] for k in (1, 2, 3)] for i in range(48)}, name="made-up")
FIXED = NAMES[48:60]
"""Words that nothing may stand in for."""


@dataclass(frozen=True)
class TextKit(Kit):
    """Victims, texts and independent judgements for words of a made-up language.

    Args:
        length: words of a text.
        needed: how many must be replaced where the nearest adversarial is known.
        rows: texts on each stage.
        paired: give each text a first part.
        further: words of the space besides, whose limits are to leave the nearest adversarial where it is.

    Example:
        >>> stage = TextKit().duel({})
        >>> len(stage.x[0].split()), stage.radius
        (24, 0.25)
    """

    length: int = 24
    needed: int = 6
    rows: int = 6
    paired: bool = False
    further: Mapping[str, Any] = field(default_factory=dict)

    def settings(self) -> list[dict[str, Any]]:
        every = {"stop_words": True, "entities": True, "digits": True, "quoted": True}
        return [{"candidates": TABLE, "preset": "none", **every, **self.further}]

    def texts(self, texts: list[str]) -> Texts:
        """Rows of these texts, in pairs if so wanted."""
        return Texts.of([(NAMES[0], text) for text in texts] if self.paired else texts)

    def radius(self, value: float) -> dict[str, Any]:
        return {"eps": min(value, 1.0)}

    def duel(self, words: SpaceWords) -> Stage:
        generator = torch.Generator().manual_seed(0)
        # Words 0–23 speak for class 0 and 24–47 for class 1; a replacement takes some of that away.
        sign = torch.where(torch.arange(60) < 24, 1.0, -1.0)
        strength = 0.5 + torch.rand(60, generator=generator)
        share = torch.tensor([1.0, 0.3, -0.2, 0.6])  # of the strength that is left
        gain = (strength.unsqueeze(0) * (1 - share.unsqueeze(1)))[1:, :48]
        weight = torch.cat([sign * strength * part for part in share])
        texts, fixed = [], []
        for row in range(self.rows):
            own = torch.arange(24)[torch.randperm(24, generator=generator)][: self.length - 1] + 24 * (row % 2)
            texts.append([NAMES[index] for index in own] + [FIXED[row]])
            top = gain[:, own].amax(0).sort(descending=True).values
            # The fixed word sets the lead to what `needed` replacements take away, and one less does not.
            lead = top[: self.needed - 1].sum() + 0.5 * top[self.needed - 1]
            fixed.append(float(lead - strength[own].sum()) * (1 - 2 * (row % 2)))
        weight = (weight * GRAIN).round() / GRAIN
        for row, value in enumerate(fixed):
            weight[48 + row] = value
        victim = Bag(NAMES, weight.unsqueeze(1), Balance())
        y = torch.arange(self.rows) % 2
        return Stage(victim, self.texts([" ".join(text) for text in texts]), y, self.needed / self.length)

    def crowd(self, words: SpaceWords) -> Stage:
        generator = torch.Generator().manual_seed(1)
        weight = torch.randn(len(NAMES), 8, generator=generator)
        head = victims.Linear(torch.randn(5, 8, generator=generator), torch.zeros(5))
        victim = Bag(NAMES, weight, Leaky(head))
        lengths = [self.length - row % 3 for row in range(self.rows + 2)]
        texts = [
            " ".join(NAMES[index] for index in torch.randint(0, 60, (length,), generator=generator))
            for length in lengths
        ]
        x = self.texts(texts)
        y = self.answers(victim, x).argmax(1)
        far = sorted(self._steepest(victim, text, int(label)) for text, label in zip(texts, y, strict=True))
        # At least a word of each: of texts that nothing may be changed of, no attack says anything.
        return Stage(victim, x, y, max(far[len(far) // 2], 1 / min(lengths)))

    def corners(self, words: SpaceWords) -> Stage:
        """Texts of a single word, whose replacement fools."""
        weight = torch.cat([torch.ones(60), -torch.ones(180)]).unsqueeze(1)
        texts = [NAMES[row].upper() if row % 2 else NAMES[row] + "!" for row in range(self.rows)]
        return Stage(Bag(NAMES, weight, Balance()), self.texts(texts), torch.zeros(self.rows, dtype=torch.int64), 1.0)

    def _steepest(self, victim: nn.Module, text: str, label: int) -> float:
        """The share of words that the plainest search replaces: always the one substitution that helps most."""
        table = {word: [NAMES[NAMES.index(word) + 60 * k] for k in (1, 2, 3)] for word in NAMES[:48]}
        now = original = text.split()
        for count in range(len(original)):
            z = self.answers(victim, [" ".join(now)])[0]
            if int(z.argmax()) != label:
                return count / len(original)
            options = [
                [*now[:place], other, *now[place + 1 :]]
                for place, word in enumerate(original)
                if now[place] == word
                for other in table.get(word, [])
            ]
            if not options:
                return float("inf")
            answers = self.answers(victim, [" ".join(option) for option in options])
            rest = answers.clone()
            rest[:, label] = float("-inf")
            now = options[int((rest.amax(1) - answers[:, label]).argmax())]
        return 1.0

    def answers(self, victim: nn.Module, x: Any) -> Tensor:
        found = [tokens.ids for tokens in _tokenizer(victim)(list(x))]
        longest = max((len(ids) for ids in found), default=1)
        with torch.no_grad():
            return victim(torch.tensor([ids + [0] * (longest - len(ids)) for ids in found]).reshape(-1, longest))

    def brittle(self, victim: nn.Module, x: Any) -> nn.Module:
        return Known(victim, list(x))

    def masked(self, victim: nn.Module) -> nn.Module:
        return victims.Altered(victim, after=lambda z: z.detach() + 0 * z)

    def differs(self, one: Any, other: Any) -> Tensor:
        return torch.tensor([a != b for a, b in zip(one, other, strict=True)], dtype=torch.bool)

    def distance(self, adv: Any, x: Any, words: SpaceWords) -> Tensor:
        shares = [
            np.mean([a != b for a, b in zip(one.split(), other.split(), strict=True)])
            for one, other in zip(_plain(adv), _plain(x), strict=True)
        ]
        return torch.tensor(np.array(shares, dtype=np.float64))

    def rounding(self, words: SpaceWords) -> float:
        return 1e-6

    def inside(self, adv: Any) -> Tensor:
        known = set(NAMES)
        return torch.tensor(
            [all(word.strip("!").lower() in known for word in text.split()) for text in _plain(adv)], dtype=torch.bool
        )

    def stored(self, adv: Any) -> Any:
        return [text.encode().decode() for text in _plain(adv)]

    def single_step(self, stage: Stage, radius: float, words: SpaceWords) -> Tensor:
        """Whether the substitutions that look best by one gradient, as many as the radius allows, fool at once."""
        fooled = []
        for text, label in zip(_plain(stage.x), stage.y.tolist(), strict=True):
            own = text.split()
            gains = []
            base = self.answers(stage.victim, [text])[0]
            weight = next(part for part in stage.victim.modules() if isinstance(part, nn.Embedding)).weight.detach()
            total = weight[[NAMES.index(word) + 2 for word in own]].sum(0).requires_grad_()
            z = stage.victim.head(total.unsqueeze(0))[0]
            rest = z.clone()
            rest[label] = float("-inf")
            (gradient,) = torch.autograd.grad(rest.amax() - z[label], total)
            assert torch.allclose(z.detach(), base, atol=1e-4)
            for place, word in enumerate(own):
                number = NAMES.index(word)
                if number < 48:
                    pulls = [
                        (float((weight[number + 60 * k + 2] - weight[number + 2]) @ gradient), k) for k in (1, 2, 3)
                    ]
                    gains.append((*max(pulls), place, number))
            for _, k, place, number in sorted(gains, reverse=True)[: int(radius * len(own) + 1e-9)]:
                own[place] = NAMES[number + 60 * k]
            fooled.append(int(self.answers(stage.victim, [" ".join(own)])[0].argmax()) != label)
        return torch.tensor(fooled)

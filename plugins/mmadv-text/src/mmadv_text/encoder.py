"""Sentence encoders from `transformers`: mean-pooled token embeddings, as sentence-transformers' models are used."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmadv.errors import AssetError
from mmadv.target import quiet, told_apart


class CutWarning(UserWarning):
    """Texts longer than a model reads."""


def digest(model: nn.Module) -> str:
    """SHA-256 of a model's weights."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def positions(model: nn.Module) -> int | None:
    """Tokens that a `transformers` model has positions for; None where it states none."""
    stated: int | None = getattr(model.config, "max_position_embeddings", None)
    # RoBERTa and its like count from the padding's id + 1.
    tables = [part for name, part in model.named_modules() if name.endswith("position_embeddings")]
    padding = next((part.padding_idx for part in tables if getattr(part, "padding_idx", None) is not None), -1)
    return None if stated is None else stated - (padding + 1)


def identity(encoder: Callable[..., Any]) -> str:
    """What an encoder says of itself for records, or what tells its function from others."""
    told = getattr(encoder, "fingerprint", None)
    return str(told()) if callable(told) else told_apart(encoder)


class SentenceEncoder:
    """Mean-pooled, normalised embeddings (arXiv 1908.10084). The model is loaded when the first text is encoded.

    Args:
        folder: what `from_pretrained` takes: a folder in the hub's format, or a hub name. Weights are read from safetensors only.
        device: to run on.
    """

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        self.folder, self.device = folder, device
        self.name = Path(folder).name
        self._told = False

    @cached_property
    def _model(self) -> tuple[Any, Any]:
        """The model and its tokenizer."""
        try:
            from transformers import AutoModel, AutoTokenizer

            with quiet():
                model = AutoModel.from_pretrained(self.folder, use_safetensors=True)
                tokenizer = AutoTokenizer.from_pretrained(self.folder)
            if tokenizer.pad_token is None:
                raise ValueError("its tokenizer has no word for padding")
            return model.eval().to(self.device), tokenizer
        except (ImportError, OSError, ValueError) as error:
            raise AssetError(
                f"the sentence encoder cannot be loaded: {str(error).splitlines()[0]}",
                where=str(self.folder),
                fix="give encoder= the folder of a sentence-transformers model, or a function of a list of strings; or leave the check out with similarity=-1",
            ) from error

    def fingerprint(self) -> str:
        """All that decides its vectors, for records."""
        model, tokenizer = self._model
        words = hashlib.sha256("\0".join(sorted(map(repr, tokenizer.get_vocab().items()))).encode()).hexdigest()
        return f"{self.name} 1: {type(model).__qualname__} {digest(model)[:16]}, vocabulary {words[:16]}, limit {self._limit}"

    @cached_property
    def _limit(self) -> int:
        """Tokens that are read at most."""
        model, tokenizer = self._model
        # Tokenizers that were given no limit state an enormous one.
        return int(min(tokenizer.model_max_length, positions(model) or 1 << 30))

    def unread(self, texts: list[str]) -> list[int]:
        """Characters of each text beyond what is read, with a warning of its own for each run that asks."""
        if not texts:
            return []
        _, tokenizer = self._model
        self._told = False
        inputs = tokenizer(texts, truncation=True, max_length=self._limit)
        found = [0] * len(texts)
        for row in self._cut(texts, inputs):
            found[row] = max(len(texts[row].rstrip()) - max(stop for _, stop in inputs.encodings[row].offsets), 0)
        return found

    def _cut(self, texts: list[str], inputs: Any) -> list[int]:
        """Which texts are longer than what is read, with a warning unless there was one."""
        cut = [row for row, one in enumerate(inputs.encodings or ()) if one.overflowing]
        if cut and not self._told:
            self._told = True
            warnings.warn(
                f"the encoder {self.name} reads {self._limit} tokens at most: {len(cut)} of {len(texts)} texts are cut off, such as "
                f"{texts[cut[0]][:40]!r}; changes of what comes later leave the similarity as it is",
                CutWarning,
                stacklevel=3,
            )
        return cut

    def __call__(self, texts: list[str]) -> Tensor:
        """(B, D) unit vectors."""
        model, tokenizer = self._model
        inputs = tokenizer(texts, padding=True, truncation=True, max_length=self._limit, return_tensors="pt")
        self._cut(texts, inputs)
        inputs = inputs.to(self.device)
        with torch.inference_mode():
            hidden = model(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"].unsqueeze(-1)
        pooled = (hidden * mask).sum(1) / mask.sum(1).clamp_min(1)
        return torch.nn.functional.normalize(pooled, dim=1).clone()

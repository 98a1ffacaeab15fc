"""Sentence encoders from `transformers`: mean-pooled token embeddings, as sentence-transformers' models are used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmadv.errors import AssetError


@contextmanager
def quiet() -> Iterator[None]:
    """`transformers` without its progress bars and load reports, which tell a user of ours nothing."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


class SentenceEncoder:
    """Mean-pooled, normalised embeddings (arXiv 1908.10084). The model is loaded when the first text is encoded.

    Args:
        folder: what `from_pretrained` takes: a folder in the hub's format, or a hub name. Weights are read from safetensors only.
        device: to run on.
    """

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        self.folder, self.device = folder, device
        self.name = Path(folder).name

    @cached_property
    def _model(self) -> tuple[Any, Any]:
        try:
            from transformers import AutoModel, AutoTokenizer

            with quiet():
                model = AutoModel.from_pretrained(self.folder, use_safetensors=True)
                return model.eval().to(self.device), AutoTokenizer.from_pretrained(self.folder)
        except (ImportError, OSError, ValueError) as error:
            raise AssetError(
                f"the sentence encoder cannot be loaded: {str(error).splitlines()[0]}",
                where=str(self.folder),
                fix="give encoder= the folder of a sentence-transformers model, or a function of a list of strings; or leave the check out with similarity=-1",
            ) from error

    def __call__(self, texts: list[str]) -> Tensor:
        """(B, D) unit vectors."""
        model, tokenizer = self._model
        inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            hidden = model(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"].unsqueeze(-1)
        pooled = (hidden * mask).sum(1) / mask.sum(1).clamp_min(1)
        return torch.nn.functional.normalize(pooled, dim=1).clone()

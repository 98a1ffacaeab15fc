"""What a victim has answered already, by a key for each input: discrete searches come back to the same candidates."""

from __future__ import annotations

import torch
from torch import Tensor


class Memo:
    """Answers by key.

    Example:
        >>> memo = Memo()
        >>> memo.fresh(torch.tensor([[7, 7, 8]]), torch.tensor([[True, True, True]]))
        tensor([[ True, False,  True]])
        >>> memo.add(torch.tensor([7]), torch.tensor([[0.5]]))
        >>> memo.answers(torch.tensor([[8, 7]]), torch.tensor([[True, True]]))[0]
        tensor([[False,  True]])
    """

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        self._answers: Tensor | None = None

    def fresh(self, keys: Tensor, wanted: Tensor) -> Tensor:
        """Which keys (A, K) of those wanted are new, each once.

        Returns:
            (A, K) bool.
        """
        seen = self._places
        new: dict[int, int] = {}
        index = wanted.reshape(-1).nonzero()[:, 0]
        asked = keys.reshape(-1)[index].tolist()
        if seen.keys().isdisjoint(asked) and len(set(asked)) == len(asked):  # the most frequent case, told quickest
            return wanted
        for place, key in zip(index.tolist(), asked, strict=True):
            if key not in seen:
                new.setdefault(key, place)
        flags = torch.zeros(keys.numel(), dtype=torch.bool, device=keys.device)
        flags[torch.tensor(list(new.values()), dtype=torch.int64, device=keys.device)] = True
        return flags.reshape(keys.shape)

    def add(self, keys: Tensor, answers: Tensor) -> None:
        """Remember the answers (B, …) to new keys (B,)."""
        start, stop = len(self._places), len(self._places) + len(keys)
        self._places.update(zip(keys.tolist(), range(start, stop), strict=True))
        if self._answers is None or stop > len(self._answers):
            grown = answers.new_empty((max(2 * stop, 1024), *answers.shape[1:]))
            if self._answers is not None:
                grown[:start] = self._answers[:start]
            self._answers = grown
        self._answers[start:stop] = answers

    def answers(self, keys: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """(A, K) bool: which keys of those wanted are known, and the answers (A, K, …), NaN or −1 elsewhere."""
        assert self._answers is not None
        index = wanted.reshape(-1).nonzero()[:, 0]
        get = self._places.get
        found = [get(key, -1) for key in keys.reshape(-1)[index].tolist()]
        places = torch.full((keys.numel(),), -1, dtype=torch.int64, device=keys.device)
        places[index] = torch.tensor(found, dtype=torch.int64, device=keys.device)
        known = places >= 0
        out = self._answers[places.clamp_min(0)]
        out[~known] = float("nan") if out.is_floating_point() else -1
        return known.reshape(keys.shape), out.reshape(*keys.shape, *out.shape[1:])

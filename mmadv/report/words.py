"""Numbers as the report writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NONE = "–"
NORMS = {"linf": "L∞", "l2": "L₂", "l1": "L₁", "l0": "L₀"}


def percent(rate: Mapping[str, Any] | None) -> str:
    """A rate's share.

    Example:
        >>> percent({"value": 0.125}), percent({"value": None}), percent(None)
        ('12.5 %', '–', '–')
    """
    return NONE if rate is None or rate["value"] is None else f"{100 * rate['value']:.1f} %"


def interval(rate: Mapping[str, Any] | None) -> str:
    """A rate's 95 % interval, in percent.

    Example:
        >>> interval({"value": 0.5, "low": 0.25, "high": 0.75})
        '[25.0, 75.0]'
    """
    return NONE if rate is None or rate["value"] is None else f"[{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"


def counted(rate: Mapping[str, Any] | None) -> str:
    """What a rate counts.

    Example:
        >>> counted({"hits": 5, "total": 10})
        '5 of 10'
    """
    return NONE if rate is None else f"{rate['hits']} of {rate['total']}"


def amount(value: float | None) -> str:
    """A radius or distance: short decimals as they are, else 255ths where it is near a quarter of one.

    Example:
        >>> [amount(value) for value in (0.05, 8 / 255, 0.25 / 255, 1.0, 0.23723255, 0.0, None)]
        ['0.05', '8/255', '0.25/255', '1', '0.2372', '0', '–']
    """
    if value is None or not math.isfinite(value):
        return NONE
    if math.isclose(float(short := f"{value:.3g}"), value, rel_tol=1e-5, abs_tol=1e-12):
        return short
    near = round(value * 255 * 4) / 4
    return f"{near:g}/255" if 0 < near <= 32 and abs(value * 255 - near) < 1e-4 * max(near, 1) else f"{value:.4g}"


def mean(value: float | None) -> str:
    """A mean count.

    Example:
        >>> mean(1.88), mean(1625.35), mean(None)
        ('1.9', '1,625', '–')
    """
    return NONE if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """A time.

    Example:
        >>> duration(0.5451), duration(83), duration(7384), duration(None)
        ('0.5 s', '1 min 23 s', '2 h 3 min', '–')
    """
    if seconds is None:
        return NONE
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def norm(name: object) -> str:
    """A norm by its usual sign; other names as they are.

    Example:
        >>> norm("linf"), norm("wasserstein")
        ('L∞', 'wasserstein')
    """
    return NORMS.get(str(name), str(name))


def listed(words: Mapping[str, Any]) -> str:
    """Parameters on one line.

    Example:
        >>> listed({"loss": "dlr", "steps": 20, "rate": 8 / 255})
        'loss dlr, steps 20, rate 8/255'
    """
    return ", ".join(f"{word} {amount(value) if isinstance(value, float) else value}" for word, value in words.items())


def clipped(text: str, most: int = 60) -> str:
    """A text on one line, with an ellipsis where it is longer than `most` characters.

    Example:
        >>> clipped("open\\nthe door", 8), clipped("door")
        ('open the…', 'door')
    """
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most].rstrip()}…"

"""The series modality: what the core asks of series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mmadv.errors import ParameterError
from mmadv_series import space
from mmadv_series.constraints import Band

if TYPE_CHECKING:
    from mmadv import MemorySource
    from mmadv_series.kit import SeriesKit
    from mmadv_series.source import SeriesSource
    from mmadv_series.space import SeriesSpace

FEW = 6
"""Channels that are told one by one."""
FORMAT = "%.6g"
"""How a value is written to a file: six significant digits, C's and most programs' own choice."""


class Series:
    """Series (B, C, T) of C channels over T steps, floating and finite.

    Example:
        >>> Series().space(norm="l2", eps=0.5, unit=[1.0, 2.0], band=0.25).unit
        (1.0, 2.0)
    """

    name: ClassVar[str] = "series"
    unit: ClassVar[str] = "unit of each channel"
    continuous: ClassVar[bool] = True

    @property
    def kit(self) -> SeriesKit:
        from mmadv_series.kit import SeriesKit

        return SeriesKit()

    def space(
        self,
        *,
        norm: str = "linf",
        eps: float = float("inf"),
        unit: float | Sequence[float] = 1.0,
        band: float | None = None,
    ) -> space.SeriesSpace:
        """The space of a user's words; see `SeriesSpace` and `Band`.

        Args:
            norm: `linf` or `l2`.
            eps: the radius in units.
            unit: of all channels, or of each; usually the training set's standard deviations, as
                `mmadv_series.space.units` gives them.
            band: share of the cosines, slowest first, that a perturbation may have.

        Raises:
            ParameterError: a unit that is neither a number nor a list of them.
        """
        try:
            several = [unit] if isinstance(unit, str) or not isinstance(unit, Sequence) else unit
            units = tuple(float(one) for one in several)
        except (TypeError, ValueError) as error:
            raise ParameterError(
                f"unit is {unit!r}", where="unit", fix="give a number, or a list of one for each channel"
            ) from error
        return space.SeriesSpace(norm, eps, units, None if band is None else Band(band))

    def inputs(self, x: Any) -> Tensor:
        return space.checked(x)

    def stored(self, rows: Tensor) -> Tensor:
        values = np.char.mod(FORMAT, rows.detach().cpu().numpy()).astype(np.float64)
        return torch.from_numpy(values).to(rows)

    def source(
        self,
        *,
        path: str | Path,
        series_column: str | None = None,
        label_column: str | None = None,
        classes: Sequence[str] | None = None,
        target: Any = None,
        limit: int | None = None,
    ) -> SeriesSource | MemorySource:
        from mmadv_series.source import source

        return source(
            path=path,
            series_column=series_column,
            label_column=label_column,
            classes=classes,
            target=target,
            limit=limit,
        )

    def write(self, row: Tensor, path: Path) -> Path:
        path = path.with_suffix(".csv")
        np.savetxt(path, row[0].detach().cpu().numpy().T, fmt=FORMAT, delimiter=",")
        return path

    def read(self, path: Path) -> Tensor:
        from mmadv_series.source import read_csv

        return read_csv(path).unsqueeze(0)

    def pack(self, row: Tensor) -> Tensor:
        return row[0].contiguous()

    def unpack(self, packed: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(packed))

    def scale(self, space: SeriesSpace, distance: float, x: Tensor) -> str:
        """A distance in the data's own units, one number for each channel where there are few.

        Example:
            >>> series, x = Series(), torch.zeros(1, 2, 3)
            >>> [series.scale(series.space(norm=norm, unit=[0.5, 4.0]), 0.1, x) for norm in ("linf", "l2")]
            ['± 0.05, 0.4 in raw units', 'L2 norm 0.05, 0.4 in raw units, if one channel moves alone']
        """
        if len(space.unit) > FEW:
            return f"{distance:.3g} × the units given{'' if space.norm == 'linf' else ', L2 norm'}"
        each = ", ".join(f"{distance * one:.3g}" for one in space.unit)
        if space.norm == "linf":
            return f"± {each} in raw units"
        return f"L2 norm {each} in raw units{', if one channel moves alone' if len(space.unit) > 1 else ''}"

    def figures(self, x: Tensor, adv: Tensor, caption: tuple[str, str]) -> str:
        from mmadv_series.figures import example

        return example(x[0], adv[0], caption)

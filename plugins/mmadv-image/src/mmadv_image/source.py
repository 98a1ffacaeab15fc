"""Labelled images from a folder with one subfolder for each class, or from a table that names or holds them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmadv import Examples
from mmadv.data import Table
from mmadv.errors import InputError, ParameterError
from mmadv_image.modality import pixels_of

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
LARGEST = 64_000_000
"""Pixels; a larger picture is refused before it is decoded."""
MODES = {"L": 1, "RGB": 3}


class ImageSource:
    """Images of a folder or a table, decoded once when it is opened, to see that they can be, and again when they are asked for.

    Args:
        path: a folder with one subfolder for each class, a folder with a `metadata` table, or a table.
        image_column: of a table: names of files relative to its folder, or the pictures themselves; a usual name if not given, as of
            all columns.
        label_column: class numbers, or names that the victim or `classes` has; of a folder its subfolders.
        size: (H, W) to resize to, by bilinear interpolation; images are taken as they are if not given.
        mode: `L` or `RGB` to convert to; as they are if not given, and `RGB` where there are both.
        classes: names of the classes in the victim's order, where it doesn't tell them itself or the data have others.
        target: the victim.
        limit: how many examples are wanted.

    Attributes:
        skipped: pictures that are left out: broken, too large, of 16 bits, not there, or outside of the folder.

    Raises:
        AssetError: no such folder or table, or nothing in it.
        InputError: a missing column, a label that is none of the classes, pictures of different sizes where no size is given.
        ParameterError: no such size or mode, classes that are no list of the victim's.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        image_column: str | None = None,
        label_column: str | None = None,
        size: Sequence[int] | None = None,
        mode: str | None = None,
        classes: Sequence[str] | None = None,
        target: Any = None,
        limit: int | None = None,
    ) -> None:
        if mode is not None and mode not in MODES:
            raise ParameterError(f"mode is {mode!r}", where="data.mode", fix="give L or RGB, or leave it out")
        self.size = None if size is None else _pair(size)
        self._table = table = Table(path, role="image", suffixes=SUFFIXES)
        self._column = table.column("image", image_column)
        table.keyed_by(self._column)
        labels, names = table.classed(label_column, classes, target)
        shapes: dict[int, tuple[int, ...]] = {}

        def check(row: int) -> None:
            if labels[row] is None:
                raise InputError("it has no label", where=table.where(row), fix="write one")
            shapes[row] = tuple(picture(table.sample(row, self._column)).shape)

        self._rows = table.sift(check, limit)
        self._channels = MODES[mode] if mode else max(shape[0] for shape in shapes.values())
        for row, (_, *sides) in shapes.items():
            first, other = tuple(shapes[self._rows[0]][1:]), tuple(sides)
            if self.size is None and other != first:
                raise InputError(
                    f"pictures differ in size: {first} and {other}",
                    where=f"{table.path}: {table.key(self._rows[0])} and {table.key(row)}",
                    fix="give size: [H, W] to resize them all",
                )
        self.name, self.skipped = table.path.name, tuple(table.skipped)
        self.labels: Sequence[str] | None = names
        self._y = torch.tensor([labels[row] for row in self._rows], dtype=torch.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, start: int, stop: int) -> Examples:
        rows = self._rows[start:stop]
        images = torch.stack([self._read(row) for row in rows])
        return Examples(images, self._y[start:stop], [self._table.key(row) for row in rows])

    def _read(self, row: int) -> Tensor:
        image = picture(self._table.sample(row, self._column), self._channels)
        return image if self.size is None else resized(image, self.size)[0]


def picture(content: Path | bytes, channels: int | None = None) -> Tensor:
    """The image (C, H, W) in [0, 1] of an 8-bit picture file.

    Args:
        content: a file, or what is in it.
        channels: 1 or 3 to convert to.

    Raises:
        InputError: it can't be read, is too large, or has more than 8 bits.
    """
    from PIL import Image

    where = str(content) if isinstance(content, Path) else "the table's own bytes"
    broken = {"where": where, "fix": "remove or replace the picture"}
    try:
        if isinstance(content, Path) and content.stat().st_size > 4 * LARGEST:
            raise InputError(f"the file has {content.stat().st_size:,} bytes", **broken)
        data = content.read_bytes() if isinstance(content, Path) else content
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is lower
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                if opened.width * opened.height > LARGEST:
                    raise InputError(
                        f"the picture has {opened.width} × {opened.height} pixels",
                        where=where,
                        fix=f"scale it below {LARGEST:,} pixels",
                    )
                if opened.mode.startswith(("I", "F")):
                    raise InputError(
                        f"the picture has levels of more than 8 bits ({opened.mode})",
                        where=where,
                        fix="save it with 8 bits",
                    )
                wanted = {1: "L", 3: "RGB"}.get(channels or 0)
                return pixels_of(opened.convert(wanted) if wanted else opened)
    except InputError:
        raise
    except Exception as error:  # whatever a decoder comes upon in a file that was made to break it
        raise InputError(f"the picture can't be read: {error or type(error).__name__}", **broken) from error


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """An image (C, H, W) scaled to `size` by antialiased bilinear interpolation, as a batch of one."""
    return torch.nn.functional.interpolate(
        image[None], size=size, mode="bilinear", antialias=True, align_corners=False
    ).clamp(0, 1)


def _pair(size: Sequence[int]) -> tuple[int, int]:
    good = isinstance(size, Sequence) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)
    if not good or size[0] * size[1] > LARGEST:
        raise ParameterError(f"size is {size!r}", where="data.size", fix="give [height, width] in pixels")
    return size[0], size[1]

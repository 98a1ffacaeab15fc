"""The image modality: what the core asks of images."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mmadv_image import space as pixels

if TYPE_CHECKING:
    from mmadv_image.source import ImageSource


class Images:
    """Images (B, C, H, W), floating, in [0, 1].

    Example:
        >>> Images().space(norm="linf", eps=8 / 255).norm
        'linf'
    """

    name: ClassVar[str] = "image"
    unit: ClassVar[str] = "pixel value"
    continuous: ClassVar[bool] = True

    def space(self, *, norm: str = "linf", eps: float = float("inf")) -> pixels.PixelSpace:
        return pixels.PixelSpace(norm, eps)

    def inputs(self, x: Any) -> Tensor:
        return pixels.checked(x)

    def stored(self, rows: Tensor) -> Tensor:
        return pixels.stored(rows)

    def source(
        self,
        *,
        path: str | Path,
        image_column: str | None = None,
        label_column: str | None = None,
        size: Sequence[int] | None = None,
        mode: str | None = None,
        classes: Sequence[str] | None = None,
        target: Any = None,
        limit: int | None = None,
    ) -> ImageSource:
        from mmadv_image.source import ImageSource

        return ImageSource(
            path, image_column=image_column, label_column=label_column, size=size, mode=mode, classes=classes,
            target=target, limit=limit,
        )  # fmt: skip

    def write(self, row: Tensor, path: Path) -> Path:
        path = path.with_suffix(".png")
        path.write_bytes(png(row[0]))
        return path

    def read(self, path: Path) -> Tensor:
        return unpng(path.read_bytes()).unsqueeze(0)

    def pack(self, row: Tensor) -> Tensor:
        return row[0].contiguous()

    def unpack(self, packed: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(packed))

    def scale(self, space: pixels.PixelSpace, distance: float, x: Tensor) -> str:
        """A distance in brightness levels of an 8-bit picture, as the norm spreads it evenly over the values of `x`.

        Example:
            >>> images = Images()
            >>> images.scale(images.space(norm="linf"), 8 / 255, torch.zeros(1, 3, 4, 4))
            '8 of 255 levels at most'
            >>> images.scale(images.space(norm="l2"), 0.5, torch.zeros(1, 1, 8, 8))
            '15.9 of 255 levels RMS'
        """
        values = x[0].numel()
        spread, how = {
            "linf": (1, "at most"), "l2": (math.sqrt(values), "RMS"), "l1": (values, "on average")
        }[space.norm]  # fmt: skip
        return f"{255 * distance / spread:.3g} of 255 levels {how}"

    def figures(self, x: Tensor, adv: Tensor, caption: tuple[str, str]) -> str:
        x, adv = x[0], adv[0]
        delta = adv - x
        peak = float(delta.abs().max())
        gain = 0.5 / peak if peak else 1.0
        from markupsafe import escape

        shown = (
            (x, f"clean: {caption[0]}"),
            (adv, f"adversarial: {caption[1]}"),
            ((0.5 + gain * delta).clamp(0, 1), f"difference ×\u00a0{gain:.3g}"),
        )
        return "".join(
            f'<figure><img alt="{escape(text)}" src="{uri(image)}"><figcaption>{escape(text)}</figcaption></figure>'
            for image, text in shown
        )


def png(image: Tensor) -> bytes:
    """An image (C, H, W) in [0, 1] as an 8-bit PNG."""
    from PIL import Image

    levels = pixels.to_bytes(image.detach().cpu()).movedim(0, -1)
    picture = Image.fromarray(levels[..., 0].numpy() if levels.shape[-1] == 1 else levels[..., :3].numpy())
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def unpng(data: bytes) -> Tensor:
    """The image (C, H, W) in [0, 1] of an 8-bit picture file."""
    from PIL import Image

    return pixels_of(Image.open(io.BytesIO(data)))


def pixels_of(picture: Any) -> Tensor:
    """The image (C, H, W) in [0, 1] of an opened `PIL` picture, grey ones with one channel."""
    import numpy

    if picture.mode == "1":
        picture = picture.convert("L")
    levels = torch.from_numpy(numpy.array(picture if picture.mode in ("L", "RGB") else picture.convert("RGB")))
    return (levels.unsqueeze(0) if levels.dim() == 2 else levels.movedim(-1, 0)).to(torch.float32) / 255


def uri(image: Tensor, least: int = 96) -> str:
    """The image as a data URI; small ones are enlarged without smoothing, so that single pixels can be seen."""
    times = max(1, -(-least // image.shape[-1]))
    larger = image.repeat_interleave(times, -1).repeat_interleave(times, -2) if times > 1 else image
    return "data:image/png;base64," + base64.b64encode(png(larger.to(torch.float32))).decode()

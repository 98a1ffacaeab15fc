"""Labelled images from a folder with one subfolder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mmadv import Examples
from mmadv.errors import AssetError, InputError
from mmadv_image.modality import unpng

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
LARGEST = 64_000_000
"""Pixels; a larger picture is refused before it is decoded."""


class ImageSource:
    """Images under `folder/<class>/…`, read when they are asked for.

    Args:
        folder: with one subfolder for each class, or for each of `classes`.
        size: (H, W) to resize to, by bilinear interpolation; images are taken as they are if not given.
        classes: names of the classes in the victim's order; the sorted subfolders if not given.

    Raises:
        AssetError: no such folder, or none of its subfolders holds an image.
    """

    def __init__(
        self, folder: Path, *, size: tuple[int, int] | None = None, classes: Sequence[str] | None = None
    ) -> None:
        if not folder.is_dir():
            raise AssetError(
                "there is no such folder",
                where=str(folder),
                fix="give a folder that holds one subfolder of images for each class",
            )
        self.name, self.size = folder.name, size
        self.labels: Sequence[str] = classes or sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        root = folder.resolve()
        self._files = [
            (file, label)
            for label, name in enumerate(self.labels)
            for file in sorted((folder / name).glob("*"))
            # A link may not lead out of the folder that the user named.
            if file.suffix.lower() in SUFFIXES and file.resolve().is_relative_to(root)
        ]
        if not self._files:
            raise AssetError(
                "no images were found",
                where=str(folder),
                fix=f"put images ({', '.join(sorted(SUFFIXES))}) into one subfolder for each class",
            )
        self._folder = folder

    def __len__(self) -> int:
        return len(self._files)

    def take(self, start: int, stop: int) -> Examples:
        chosen = self._files[start:stop]
        images = [self._read(file) for file, _ in chosen]
        for (file, _), image in zip(chosen, images, strict=True):
            if image.shape != images[0].shape:
                raise InputError(
                    f"images differ in shape: {tuple(images[0].shape)} and {tuple(image.shape)}",
                    where=str(file),
                    fix="give size: [H, W] to resize them all",
                )
        keys = [str(file.relative_to(self._folder)) for file, _ in chosen]
        return Examples(torch.stack(images), torch.tensor([label for _, label in chosen]), keys)

    def _read(self, file: Path) -> Tensor:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(file) as picture:
                if picture.width * picture.height > LARGEST:
                    raise InputError(
                        f"the picture has {picture.width} × {picture.height} pixels",
                        where=str(file),
                        fix=f"scale it below {LARGEST:,} pixels",
                    )
            image = unpng(file.read_bytes())
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise InputError(
                f"the picture cannot be read: {error}", where=str(file), fix="remove or replace the file"
            ) from error
        return image if self.size is None else resized(image, self.size)[0]


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """An image (C, H, W) scaled to `size` by antialiased bilinear interpolation, as a batch of one."""
    return torch.nn.functional.interpolate(
        image[None], size=size, mode="bilinear", antialias=True, align_corners=False
    ).clamp(0, 1)


def source(*, folder: str, size: Sequence[int] | None = None, classes: Sequence[str] | None = None) -> ImageSource:
    """The source that a spec's words describe."""
    return ImageSource(Path(folder), size=None if size is None else (size[0], size[1]), classes=classes)

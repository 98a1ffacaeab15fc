"""Image victims: torch modules with a stated normalisation, and `transformers` image classifiers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmadv import ModuleTarget, TargetClaim
from mmadv.errors import ParameterError, TargetError
from mmadv.target import UNREADABLE, pretrained


class Normalise(nn.Module):
    """(x − mean) / std per channel, as a differentiable part of the target.

    Example:
        >>> Normalise([0.5], [0.25])(torch.ones(1, 1, 1, 1)).item()
        2.0
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if isinstance(mean, (int, float)) or isinstance(std, (int, float)):
            raise ParameterError(
                f"mean is {mean} and std is {std}", where="mean, std", fix="give a list with one value for each channel"
            )
        if len(mean) != len(std) or not all(value > 0 for value in std):
            raise ParameterError(
                f"mean is {mean} and std is {std}",
                where="mean, std",
                fix="give one mean and one positive std per channel, for pixels in [0, 1]",
            )
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        mean, std = self.get_buffer("mean").to(x), self.get_buffer("std").to(x)
        if mean.shape[1] not in (1, x.shape[1]):
            raise ParameterError(
                f"mean has {mean.shape[1]} channels and the images {x.shape[1]}",
                where="mean, std",
                fix="give one value per channel",
            )
        return (x - mean) / std

    def extra_repr(self) -> str:
        return f"{self.get_buffer('mean').flatten().tolist()}, {self.get_buffer('std').flatten().tolist()}"


class ImageTarget(ModuleTarget):
    """A `torch.nn.Module` on images in [0, 1].

    Args:
        module: in eval mode, answers (B, L) to (B, C, H, W).
        mean: per channel, subtracted from pixels in [0, 1]; none if not given.
        std: per channel.
        channels_last: lay inputs out channels last.
        **options: of `mmadv.ModuleTarget`.

    Example:
        >>> victim = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
        >>> ImageTarget(victim, mean=[0.5] * 3, std=[0.5] * 3)(torch.zeros(1, 3, 2, 2)).shape
        torch.Size([1, 3])
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        channels_last: bool = False,
        prepare: Callable[[Tensor], Tensor] | None = None,
        name: str = "",
        output: str = "logits",
        device: str | torch.device | None = None,
        autocast: str | None = None,
        compile: bool = False,
        batch_size: int | str | None = None,
        allow_training: bool = False,
    ) -> None:
        if (mean is None) != (std is None):
            raise ParameterError(
                "one of mean and std is missing", where="mean, std", fix="give both, for pixels in [0, 1], or neither"
            )
        if mean is not None and std is not None:
            if prepare is not None:
                raise ParameterError(
                    "prepare is given together with mean and std", where="prepare", fix="give one of them"
                )
            prepare = Normalise(mean, std)
        self.channels_last = channels_last
        super().__init__(
            module, name=name, output=output, prepare=prepare, device=device, autocast=autocast,
            compile=compile, batch_size=batch_size, allow_training=allow_training,
        )  # fmt: skip

    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(x.contiguous(memory_format=torch.channels_last) if self.channels_last else x)


class Processor(nn.Module):
    """A `transformers` image processor's resize, crop and normalisation, differentiable and on batches in [0, 1].

    The processor works on 8-bit images one by one, and rounds after resizing; this differs from it by that rounding alone.

    Args:
        processor: an `transformers.BaseImageProcessor`.
    """

    def __init__(self, processor: Any) -> None:
        super().__init__()
        self.size = _pair(processor.size) if getattr(processor, "do_resize", False) else None
        self.shortest = (
            processor.size.get("shortest_edge")
            if self.size is None and getattr(processor, "do_resize", False)
            else None
        )
        self.crop = _pair(processor.crop_size) if getattr(processor, "do_center_crop", False) else None
        self.scale = 255 * processor.rescale_factor if getattr(processor, "do_rescale", False) else 255.0
        modes = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}
        resample = int(getattr(processor, "resample", 2) or 0)
        if resample not in modes:
            raise TargetError(
                f"the processor resamples with filter {resample}",
                where=type(processor).__name__,
                fix="use nearest (0), bilinear (2) or bicubic (3)",
            )
        self.mode = modes[resample]
        self.normalise = (
            Normalise(processor.image_mean, processor.image_std)
            if getattr(processor, "do_normalize", False)
            else nn.Identity()
        )
        self.compare(processor)

    def forward(self, x: Tensor) -> Tensor:
        size = self.size
        if self.shortest:
            short = min(x.shape[-2:])
            size = (int(x.shape[-2] * self.shortest / short), int(x.shape[-1] * self.shortest / short))
        if size is not None and tuple(x.shape[-2:]) != tuple(size):
            smooth = {} if self.mode == "nearest-exact" else {"antialias": True, "align_corners": False}
            x = nn.functional.interpolate(x, size=size, mode=self.mode, **smooth).clamp(0, 1)
        if self.crop is not None:
            top, left = ((have - want) // 2 for have, want in zip(x.shape[-2:], self.crop, strict=True))
            x = nn.functional.pad(x, (max(-left, 0), max(-left, 0), max(-top, 0), max(-top, 0)))
            x = x[..., max(top, 0) : max(top, 0) + self.crop[0], max(left, 0) : max(left, 0) + self.crop[1]]
        return self.normalise(x * self.scale)

    def compare(self, processor: Any) -> None:
        """Ask the processor itself about one smooth image.

        Raises:
            TargetError: it does something that is not repeated here, such as another way to resize or crop.
        """
        channels = len(processor.image_mean) if isinstance(self.normalise, Normalise) else 3
        rise = [
            torch.linspace(0, 3 + axis, side).reshape(shape)
            for axis, (side, shape) in enumerate(((60, (60, 1)), (76, (1, 76))))
        ]
        waves = torch.stack([(rise[0] + rise[1] + channel).sin() for channel in range(channels)])
        picture = (waves * 127 + 128).round().to(torch.uint8)
        answer = processor(picture.numpy(), return_tensors="pt", input_data_format="channels_first")
        theirs, ours = answer["pixel_values"].float(), self(picture.unsqueeze(0).float() / 255)
        level = (
            self.scale
            / 255
            / (float(self.normalise.get_buffer("std").min()) if isinstance(self.normalise, Normalise) else 1)
        )
        if theirs.shape != ours.shape or float((theirs - ours).abs().max()) > 4 * level:
            raise TargetError(
                f"the processor makes {tuple(theirs.shape[1:])} of an image where its steps, repeated, make another {tuple(ours.shape[1:])}",
                where=type(processor).__name__,
                fix="pass a torch.nn.Module that does the processor's steps and calls the model, on images in [0, 1]",
            )

    def extra_repr(self) -> str:
        return f"size={self.size}, shortest={self.shortest}, crop={self.crop}, mode={self.mode}, scale={self.scale:g}"


def _pair(size: Any) -> tuple[int, int] | None:
    return (size["height"], size["width"]) if "height" in size else None


class TransformersTarget(ImageTarget):
    """A `transformers` image classifier, its processor's steps inside the differentiable target.

    Args:
        model: with an output that has `logits`.
        processor: its image processor; images are taken as they are if not given.
        **options: of `ImageTarget` but for the normalisation.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        processor: Any = None,
        name: str = "",
        device: str | torch.device | None = None,
        autocast: str | None = None,
        compile: bool = False,
        batch_size: int | str | None = None,
        channels_last: bool = False,
    ) -> None:
        prepare = None if processor is None else Processor(processor)
        super().__init__(
            model, prepare=prepare, name=name, device=device, autocast=autocast, compile=compile,
            batch_size=batch_size, channels_last=channels_last,
        )  # fmt: skip

    def read(self, answer: Any) -> Tensor:
        if not hasattr(answer, "logits"):
            raise TargetError(
                f"the model answers a {type(answer).__name__} without logits",
                where=self.name,
                fix="use a model with an image classification head",
            )
        return answer.logits


def load_folder(
    folder: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    **options: Any,
) -> TransformersTarget:
    """A `transformers` image classifier from a folder in the hub's format, or from the hub by name.

    Weights are read from safetensors only; nothing is unpickled.

    Args:
        folder: what `from_pretrained` takes.
        device: to load it to; `auto` for the first of CUDA, MPS and CPU that is there.
        dtype: of its weights, as they are saved if not given.
        **options: of `TransformersTarget`.

    Raises:
        TargetError: no such model, or one whose weights would have to be unpickled.
    """
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    path = Path(folder)
    try:
        model = pretrained(AutoModelForImageClassification, folder, device=device, dtype=dtype)
        processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)  # type: ignore[no-untyped-call]
    except UNREADABLE as error:
        raise TargetError(
            f"no image classifier could be loaded: {(str(error) or type(error).__name__).splitlines()[0]}",
            where=str(folder),
            fix="give a folder written by save_pretrained, with a preprocessor_config.json",
        ) from error
    return TransformersTarget(model, processor=processor, **{"name": path.name, **options})


def claim(victim: object, modality: str) -> TargetClaim | None:
    """The image plugin's offer to adapt a victim."""
    if modality != "image":
        return None
    if isinstance(victim, nn.Module):
        transformer = hasattr(victim, "config") and type(victim).__module__.startswith("transformers.")
        return TargetClaim("image", functools.partial(TransformersTarget if transformer else ImageTarget, victim))
    if isinstance(victim, (str, Path)):
        return TargetClaim("image", functools.partial(_from_folder, victim))
    if callable(victim):
        from mmadv import CallableTarget

        return TargetClaim("image", functools.partial(CallableTarget, victim))
    return None


def _from_folder(
    folder: str | Path,
    *,
    name: str = "",
    device: str | None = None,
    dtype: str | None = None,
    autocast: str | None = None,
    compile: bool = False,
    batch_size: int | str | None = None,
) -> TransformersTarget:
    options: dict[str, Any] = {
        "device": device,
        "dtype": dtype,
        "autocast": autocast,
        "compile": compile,
        "batch_size": batch_size,
    }
    return load_folder(folder, **options, **({"name": name} if name else {}))

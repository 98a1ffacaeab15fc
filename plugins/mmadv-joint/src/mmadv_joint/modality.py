"""The joint modality: what the core asks of inputs of several parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mmadv import BallSpace
from mmadv.errors import ParameterError, nearest
from mmadv.spec import number
from mmadv_joint import space as product
from mmadv_joint.space import Joint

if TYPE_CHECKING:
    from mmadv import MemorySource

WORDS = ("norm", "eps", "low", "high")


class Parts:
    """Dicts of tensors (N, …), perturbed in every part at once.

    Example:
        >>> space = Parts().space(parts={"camera": {"norm": "linf", "eps": "8/255"}, "speed": {"norm": "l2", "eps": 0.1}})
        >>> round(space.parts["camera"].eps * 255), space.eps
        (8, 1.0)
    """

    name: ClassVar[str] = "joint"
    unit: ClassVar[str] = "share of each part's radius"
    continuous: ClassVar[bool] = True

    def space(
        self, *, parts: Mapping[str, Mapping[str, Any]] | None = None, eps: float = 1.0, norm: str | None = None
    ) -> product.JointSpace:
        """The product of the parts' balls.

        Raises:
            ParameterError: words of a part that it does not have, or a norm for all parts.
        """
        if norm is not None:
            fix = "give each part its own, as in parts={'camera': {'norm': 'linf', 'eps': 8/255}}"
            raise ParameterError("norm is given for all parts", where="norm", fix=fix)
        found = {}
        for name, words in (parts or {}).items():
            if unknown := [word for word in words if word not in WORDS]:
                raise ParameterError(
                    f"{unknown[0]!r} is no word of a part", where=f"parts.{name}", fix=nearest(unknown[0], WORDS)
                )
            given: dict[str, Any] = {word: number(value) for word, value in words.items()}
            try:
                found[name] = BallSpace(**{"norm": "linf", **given})
            except ParameterError as error:
                error.where = f"parts.{name}.{error.where}"
                raise
        return product.JointSpace(found, eps)

    def inputs(self, x: Any) -> Joint:
        return product.checked(x)

    def stored(self, rows: Joint) -> Joint:
        """Numbers are stored as they are."""
        return rows

    def source(self, *, path: str | Path, labels: str = "y") -> MemorySource:
        """Examples from a safetensors file.

        Args:
            path: of the file, with a tensor (N, …) for each part.
            labels: the name of the one with the right labels.
        """
        from mmadv_joint.source import source

        return source(Path(path), labels)

    def write(self, row: Joint, path: Path) -> Path:
        from safetensors.torch import save_file

        path = path.with_suffix(".safetensors")
        save_file({name: part.contiguous() for name, part in row.parts.items()}, path)
        return path

    def read(self, path: Path) -> Joint:
        from safetensors.torch import load_file

        return Joint.of(load_file(path))

    def pack(self, row: Joint) -> Tensor:
        """(1 + m + n,) how long the description of the parts is, its m bytes, and the n values."""
        told = json.dumps(row.layout).encode()
        return torch.cat([torch.tensor([len(told), *told], dtype=row.flat.dtype), row.flat[0]])

    def unpack(self, packed: Sequence[Tensor]) -> Joint:
        flats, layouts = [], set()
        for one in packed:
            end = 1 + int(one[0])
            told = json.loads(bytes(int(byte) for byte in one[1:end]))
            layouts.add(tuple((name, tuple(shape)) for name, shape in told))
            flats.append(one[end:])
        (layout,) = layouts
        return Joint(torch.stack(flats), layout)

    def scale(self, space: product.JointSpace, distance: float, x: Joint) -> str:
        """A share of every part's radius, as the radius of each.

        Example:
            >>> space = Parts().space(parts={"camera": {"norm": "linf", "eps": 0.1}, "speed": {"norm": "l2", "eps": 2}})
            >>> Parts().scale(space, 0.5, None)
            'camera linf 0.05, speed l2 1'
        """
        return ", ".join(f"{name} {part.norm} {part.eps * distance:.3g}" for name, part in space.parts.items())

    def figures(self, x: Joint, adv: Joint, caption: tuple[str, str]) -> str:
        from mmadv_joint.figures import example

        return example(x, adv, caption)

    @property
    def kit(self) -> Any:
        """What the law checks need."""
        from mmadv_joint.kit import JointKit

        return JointKit()

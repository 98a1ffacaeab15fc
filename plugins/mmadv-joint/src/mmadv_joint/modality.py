"""The joint modality: what the core asks of inputs of several parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mmadv import BallSpace, api
from mmadv.catalog import Catalog
from mmadv.errors import ParameterError
from mmadv.host import default_host
from mmadv.spec import number
from mmadv_joint import space as product
from mmadv_joint.space import Joint

if TYPE_CHECKING:
    from mmadv import MemorySource


def ball(*, norm: str = "linf", eps: float = float("inf"), low: float = 0.0, high: float = 1.0) -> BallSpace:
    """The space of a part that is of no modality."""
    return BallSpace(norm, eps, low, high)


def _space_of(modality: str) -> Any:
    return Catalog(default_host()).modality(modality).resolve()().space


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
        """The product of the parts' spaces: balls, or those of other modalities.

        Raises:
            ParameterError: words of a part that it does not have, or a norm for all parts; a modality that is not installed, or
                whose inputs are no tensors.
        """
        if norm is not None:
            fix = "give each part its own, as in parts={'camera': {'norm': 'linf', 'eps': 8/255}}"
            raise ParameterError("norm is given for all parts", where="norm", fix=fix)
        found = {}
        for name, words in (parts or {}).items():
            given = {word: number(value) for word, value in words.items() if word != "modality"}
            try:
                make = _space_of(words["modality"]) if "modality" in words else ball
                space = make(**api.sorted_out(given, {"space": make}, where=f"parts.{name}")["space"])
            except ParameterError as error:
                if not error.where.startswith("parts."):
                    error.where = f"parts.{name}.{error.where}"
                raise
            if not isinstance(space, BallSpace):
                raise ParameterError(
                    f"inputs of the modality {words['modality']!r} are no tensors in a ball",
                    where=f"parts.{name}",
                    fix="leave modality out; a system that reads one input from another is a chain (mmadv-chain)",
                )
            found[name] = space
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

"""What a modality plugin gives the core: a space, adapters for victims, and how its examples are kept and shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from mmadv.source import Source
    from mmadv.space import Space
    from mmadv.target import Target


@dataclass(frozen=True)
class TargetClaim:
    """A plugin's offer to adapt a victim.

    Args:
        claimant: the plugin's name.
        factory: called with the user's options, gives the `Target`; its keyword parameters are the options.
    """

    claimant: str
    factory: Callable[..., Target]


class Modality(Protocol):
    """One kind of input. All methods are pure; the engine does the rest. An example is rows of length one.

    What a modality may have besides: `goal(targeted, /, **words)`, goals of its own; `labels(y)` and `said(label)`, where a
    label is known by a text; `channels(rows)`, what comes of rows on ways that they may take; `pose(target, threat, x)`, what
    victim and threat model become where they depend on the inputs; `run(problem, attack, **options)`, which solves problems whose
    inputs are played, and gives None for all others; `scale(space, distance, x)`, a distance in words on a scale that people know,
    for an example `x`; `kit`, for the law checks.

    Attributes:
        name: such as `image`.
        unit: of distances, for tables and axes.
        continuous: whether inputs have gradients of their own, so that an attack without them that finds more is a sign
            of masked ones.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    continuous: ClassVar[bool]

    def space(self, **words: Any) -> Space:
        """The space that a user's words describe; the keyword parameters are the words."""
        ...

    def inputs(self, x: Any) -> Any:
        """Clean rows of what a user passed.

        Raises:
            InputError: a shape, dtype or range that this modality does not have.
        """
        ...

    def stored(self, rows: Any) -> Any:
        """What comes back of rows that are stored as this modality really is stored, and read again."""
        ...

    def source(self, **words: Any) -> Source:
        """Labelled examples from what a spec names; the keyword parameters are the words.

        Where files are read, `path` is the first of them. A source that has parameters `target`, `space` and `limit` is told the
        victim, whose classes labels are matched with, the space of the attack, and how many examples are wanted; what it leaves
        out, it lists in `skipped`.
        """
        ...

    def write(self, row: Any, path: Path) -> Path:
        """Write one example in its real form, such as a PNG; returns the file."""
        ...

    def read(self, path: Path) -> Any:
        """One example, as it stands in such a file."""
        ...

    def pack(self, row: Any) -> Tensor:
        """One example as one tensor that holds all of it, for hashes and for storing it without loss."""
        ...

    def unpack(self, packed: Sequence[Tensor]) -> Any:
        """Rows of packed examples."""
        ...

    def figures(self, x: Any, adv: Any, caption: tuple[str, str]) -> str:
        """HTML that shows one example: clean, adversarial and their difference; under the rules of a `SectionSpec`'s."""
        ...

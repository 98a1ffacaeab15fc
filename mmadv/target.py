"""Targets: adapters that let the engine call a victim and leave it as it was found."""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mmadv import rows
from mmadv.access import Access, Output
from mmadv.errors import ParameterError, TargetError, VictimMovedError, nearest
from mmadv.noise import Noise


@runtime_checkable
class Target(Protocol):
    """What the engine needs of a victim's adapter.

    What may be there besides: `labels`, the names of its classes in their order; `check(x, labels)`, which refuses rows and labels
    before the first query; `likelihood(x)`, its answer and a loss of its own, a function from labels (B,) to (B,); and, where it
    draws, `drawing(noise)`, a context in which it takes its chance from `noise`.

    Attributes:
        name: for records and reports.
        access: the most that the victim can give.
        output: what its answers mean.
        batch_size: inputs in one forward pass; None for all of them. The engine halves it when memory runs out.
        device: where its inputs must be.
    """

    name: str
    access: Access
    output: Output
    batch_size: int | None
    device: torch.device

    def __call__(self, x: Any) -> Tensor:
        """The raw answer to rows: (B, L), or (B,) labels."""
        ...

    def held(self) -> contextlib.AbstractContextManager[None]:
        """While open, the victim may be called; afterwards it is as it was before (law 3)."""
        ...

    def fingerprint(self) -> str:
        """A digest of all that decides its answers."""
        ...


@contextmanager
def rng_preserved(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Give the global generators back as they were, however the body ends.

    Args:
        device: whose generator is kept too.
        seed: what they are set to in between, so that a randomised victim can be replayed.
    """
    numpy = sys.modules.get("numpy")
    states = random.getstate(), numpy.random.get_state() if numpy else None
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            if seed is not None:
                random.seed(seed)
                if numpy:
                    numpy.random.seed(seed % 2**32)
                # Not torch.manual_seed, which reaches generators that are not kept.
                torch.default_generator.manual_seed(seed)
                if devices:
                    torch.cuda.default_generators[device.index or 0].manual_seed(seed)
            yield
    finally:
        random.setstate(states[0])
        if numpy and states[1] is not None:
            numpy.random.set_state(states[1])


CALL = 1 << 20
"""Draws that are set aside for one call of a victim."""


def drawing(target: Any, noise: Noise) -> contextlib.AbstractContextManager[None]:
    """While open, a victim that draws takes its chance from a stream for each row, so that rows don't depend on each other (law 4).

    Args:
        target: a victim; one without a method `drawing` of its own draws from the global generators.
        noise: of the rows of the next call.
    """
    own = getattr(target, "drawing", None)
    found: contextlib.AbstractContextManager[None] = contextlib.nullcontext() if own is None else own(noise)
    return found


class ModuleTarget:
    """A `torch.nn.Module` that answers rows of tensors with (B, L) or labels (B,).

    Args:
        module: in eval mode.
        name: for records; the class name if not given.
        output: what the answers mean: `logits`, `log_probabilities`, `probabilities` or `label`.
        access: the most to grant; gradients by default, decisions for labels.
        prepare: a differentiable step from the space's inputs to the module's, such as normalisation.
        device: to run on; the parameters' own by default, and with `auto`. The module itself is never moved.
        autocast: a lower dtype for the forward pass, `bfloat16` or `float16`.
        compile: run through `torch.compile`.
        batch_size: inputs in one pass; None for all of them; with `auto` a number that suits a CPU, and all of them elsewhere.
            Where memory runs out, it is halved.
        allow_training: accept submodules in train mode, for victims that stay random on purpose.

    Raises:
        TargetError: not a module, in train mode, or on another device than asked for.

    Example:
        >>> target = ModuleTarget(nn.Linear(4, 3).eval())
        >>> target(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

    usual_batch: ClassVar[int | None] = 32
    """What `auto` is on a CPU."""

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str = "",
        output: str | Output = Output.LOGITS,
        access: str | Access | None = None,
        prepare: Callable[[Tensor], Tensor] | None = None,
        device: str | torch.device | None = None,
        autocast: str | torch.dtype | None = None,
        compile: bool = False,
        batch_size: int | str | None = None,
        allow_training: bool = False,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise TargetError(
                f"the victim is a {type(module).__name__}, not a torch.nn.Module",
                where="model",
                fix="pass a module, or a mmadv.CallableTarget for any other callable",
            )
        self.module = module
        self.name = name or type(module).__name__
        self.output = Output.of(output)
        self.access = _granted(self.output, access, Access.GRADIENT, self.name)
        self.prepare = prepare
        self.labels = named_classes(module)
        tensors = [*module.parameters(), *module.buffers()]
        own = tensors[0].device if tensors else torch.device("cpu")
        self.device = own if device in (None, "auto") else usable_device(device)
        self.batch_size = checked_batch_size(batch_size, self.usual_batch if self.device.type == "cpu" else None)
        if tensors and own != self.device:
            raise TargetError(
                f"the victim is on {own} and {self.device} was asked for",
                where=self.name,
                fix=f"call model.to({str(self.device)!r}) first",
            )
        self.autocast = known_dtype(autocast, "autocast")
        floating = [tensor.dtype for tensor in module.parameters() if tensor.is_floating_point()]
        self.dtype = floating[0] if floating else None
        self._call = torch.compile(module) if compile else module
        self._allow_training = allow_training
        self._refuse_training()

    def _refuse_training(self) -> None:
        training = [name or "the module itself" for name, part in self.module.named_modules() if part.training]
        if training and not self._allow_training:
            raise TargetError(
                f"{len(training)} submodules are in train mode, so dropout and batch statistics would decide the outcome",
                where=f"{self.name}: {', '.join(training[:3])}",
                fix="call model.eval(), or pass allow_training=True for a victim that is random on purpose",
            )

    def __call__(self, x: Tensor) -> Tensor:
        if self.prepare is not None:
            x = self.prepare(x)
        if self.dtype is not None:
            x = rows.cast(x, self.dtype)
        if self.autocast is None:
            return self.read(self._call(x))
        with torch.autocast(self.device.type, self.autocast):
            return self.read(self._call(x))

    def read(self, answer: Any) -> Tensor:
        """The tensor in the module's answer."""
        return answer

    @contextmanager
    def held(self) -> Iterator[None]:
        module = self.module
        outermost = module not in _WALKED
        if outermost:
            _WALKED[module] = _walked(module)
        parts, weights = _WALKED[module]
        try:
            if not self._allow_training and any(part.training for part in parts):
                self._refuse_training()
            with _weights_held(weights, self.name), _state_held(parts):
                yield
        finally:
            if outermost:
                del _WALKED[module]

    def fingerprint(self) -> str:
        digest = hashlib.sha256(
            f"{type(self.module).__qualname__}|{self.output}|{self.prepare}|{self.autocast}".encode()
        )
        for name, part in self.module.named_modules():
            digest.update(f"{name}|{_settings(part)}".encode())
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


Weights = list[tuple[str, nn.Module, str, Tensor]]
"""Each parameter by its full name, the part of the module that has it, and its name there."""
_WALKED: dict[nn.Module, tuple[list[nn.Module], Weights]] = {}
"""Parts and weights of the modules that are held just now, as they were when their longest hold began: one within it, such as that of a
step in an episode, looks no further. A module is attacked by one thread at a time."""


def _walked(module: nn.Module) -> tuple[list[nn.Module], Weights]:
    found = {
        tensor: (f"{prefix}.{name}" if prefix else name, part, name, tensor)
        for prefix, part in reversed(list(module.named_modules()))  # of tied weights the first name is kept
        for name, tensor in part.named_parameters(recurse=False)
    }
    return list(module.modules()), list(reversed(found.values()))


@contextmanager
def _weights_held(weights: Weights, victim: str) -> Iterator[None]:
    """While open, weights take no gradients; they are too large to be copied, so writes to them are counted, and missed.

    Raises:
        VictimMovedError: one was written to, or exchanged.
    """
    before = [(tensor._version, tensor.requires_grad) for *_, tensor in weights]
    try:
        for *_, tensor in weights:
            tensor.requires_grad_(False)
        yield
    finally:
        for (*_, tensor), (_, flag) in zip(weights, before, strict=True):
            tensor.requires_grad_(flag)
        lost = [
            name
            for (name, part, own, tensor), (version, _) in zip(weights, before, strict=True)
            if tensor._version != version or getattr(part, own, None) is not tensor
        ]
        if lost:
            raise VictimMovedError(
                f"{len(lost)} weights were written to while the victim was attacked",
                where=f"{victim}: {', '.join(lost[:3])}",
                fix="find the forward pass or attack that writes to weights; reload the victim",
            )


@contextmanager
def _state_held(parts: Sequence[nn.Module]) -> Iterator[None]:
    """Modes and buffers of modules, put back whatever happened: batch normalisation writes to its own without being counted."""
    before = [(part, part.training, dict(part._buffers)) for part in parts]
    kept = [(one, one.clone()) for _, _, buffers in before for one in buffers.values() if one is not None]
    try:
        yield
    finally:
        for part, mode, buffers in before:
            if isinstance(part, torch.jit.ScriptModule):  # its buffers can't be exchanged, only written to
                continue
            if part.training is not mode:
                part.training = mode
            if part._buffers or buffers:
                part._buffers.clear()
                part._buffers.update(buffers)
        if kept:
            with torch.no_grad():
                for buffer, values in kept:
                    buffer.copy_(values)


class CallableTarget:
    """Any function from a batch of tensors to outputs (B, L) or labels (B,), without gradients.

    Args:
        function: called with (B, …) tensors; may return a tensor or an array.
        name: for records.
        output: what the answers mean.
        access: `score` by default, `decision` for labels.
        device: where its inputs are put.
        batch_size: inputs in one call; None for all of them, `auto` for 256.

    Example:
        >>> CallableTarget(lambda x: (x.sum(1) > 0).long(), output="label").access
        <Access.DECISION: 1>
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        name: str = "",
        output: str | Output = Output.LOGITS,
        access: str | Access | None = None,
        device: str | torch.device = "cpu",
        batch_size: int | str | None = None,
    ) -> None:
        if not callable(function):
            raise TargetError(
                f"the victim is a {type(function).__name__}, which cannot be called",
                where="model",
                fix="pass a function of a batch",
            )
        self.function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self.output = Output.of(output)
        self.access = _granted(self.output, access, Access.SCORE, self.name)
        self.device = torch.device("cpu" if device == "auto" else device)
        self.batch_size = checked_batch_size(batch_size, 256)

    def __call__(self, x: Any) -> Tensor:
        return torch.as_tensor(self.function(x), device=self.device)

    @contextmanager
    def held(self) -> Iterator[None]:
        yield

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.name}|{self.output}|{told_apart(self.function)}".encode()).hexdigest()


def _settings(part: nn.Module) -> list[tuple[str, Any]]:
    """The numbers, words and tuples of them that a part of a module has besides its tensors, such as a temperature."""

    def plain(value: Any) -> bool:
        if isinstance(value, (tuple, list)):
            return all(map(plain, value))
        return value is None or isinstance(value, (bool, int, float, str))

    # `name_or_path` is where a model of `transformers` was read from.
    own = {name for name in vars(part) if not name.startswith("_")} - {"training", "name_or_path"}
    return [(name, getattr(part, name)) for name in sorted(own) if plain(getattr(part, name))]


def told_apart(function: Callable[..., Any]) -> str:
    """What tells a function from others in every process: its name, and its code where it has any.

    Example:
        >>> told_apart(lambda x: x + 1) == told_apart(lambda x: x * 2)
        False
    """
    code = getattr(function, "__code__", None)
    if code is None:
        return f"{type(function).__module__}.{type(function).__qualname__}"
    plain = [constant for constant in code.co_consts if isinstance(constant, (str, bytes, int, float))]
    return f"{function.__module__}.{function.__qualname__}|{code.co_code.hex()}|{plain}|{code.co_names}"


UNREADABLE = OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError
"""What reading a broken model folder may raise."""


def pretrained(
    kind: Any, folder: str | Path, *, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
) -> Any:
    """A `transformers` model in eval mode, from a folder in the hub's format or by a hub name.

    Weights are read from safetensors only, nothing is unpickled, and no code that comes with a model is run.

    Args:
        kind: one of `transformers`' model classes.
        folder: what `from_pretrained` takes.
        device: to put it on; `auto` for the first of CUDA, MPS and CPU that is there. The CPU if not given.
        dtype: of its weights; as `transformers` reads them if not given, and with `auto`.

    Raises:
        TargetError: no such folder, or one that would have to be unpickled, or that holds no weights for a part of the model.
        ParameterError: no such device or dtype.
        OSError, ValueError, …: of `UNREADABLE`, whatever else is wrong with it.
    """
    refuse_pickles(folder)
    wanted = None if dtype == "auto" else known_dtype(dtype, "dtype")
    place = usable_device("cpu" if device is None else device)
    own = {} if wanted is None else {"dtype": wanted}
    with quiet():
        model, about = kind.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **own
        )
    if missing := sorted(about["missing_keys"]):
        raise TargetError(
            f"the folder holds no weights for {len(missing)} parts of {type(model).__name__}, which would be random",
            where=f"{folder}: {', '.join(missing[:3])}",
            fix="give a model that was trained with this head and saved with it",
        )
    return model.eval().to(place)


@contextmanager
def quiet() -> Iterator[None]:
    """`transformers` without its progress bars and load reports, which tell a user of ours nothing."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def named_classes(module: nn.Module) -> tuple[str, ...] | None:
    """The names of a `transformers` classifier's classes, by its config's `id2label`."""
    names = getattr(getattr(module, "config", None), "id2label", None)
    if not isinstance(names, dict) or sorted(names) != list(range(len(names))):
        return None
    return tuple(str(names[number]) for number in range(len(names)))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a batch was too large, on any device."""
    said = isinstance(error, RuntimeError) and re.search("out of memory|can't allocate memory", str(error))
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or bool(said)


def refuse_pickles(folder: str | Path) -> None:
    """See that a local model folder can be read without unpickling; a hub name is no folder, and passes.

    A name beside other models' folders is that of a folder, as the hub would be asked for a slip of the pen for long.

    Raises:
        TargetError: it holds no safetensors, or there is no such folder.
    """
    given, folder = str(folder), Path(folder)
    named = re.fullmatch(r"\w[\w.-]*(/[\w.-]*\w)?", given)
    beside = [one.parent.name for one in folder.parent.glob("*/config.json")] if "/" in given else []
    if not folder.is_dir() and (beside or not named):
        hint = f"; {nearest(folder.name, beside)}" if beside else ""
        raise TargetError(
            "there is no such folder", where=str(folder), fix=f"give a folder written by save_pretrained{hint}"
        )
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return
    pickled = sorted(file.name for pattern in ("*.bin", "*.pt*") for file in folder.glob(pattern))
    unpickling = f", and {pickled[0]} would need unpickling, which can run any code" if pickled else ""
    raise TargetError(
        f"the folder holds no safetensors{unpickling}",
        where=str(folder),
        fix="save the model again with model.save_pretrained(folder), which writes safetensors",
    )


def _granted(output: Output, access: str | Access | None, most: Access, name: str) -> Access:
    """The access asked for, or the most that such a victim can give.

    Raises:
        TargetError: more was asked for than it can give.
    """
    most = Access.DECISION if output is Output.LABEL else most
    wanted = most if access is None else Access.of(access)
    if wanted > most:
        raise TargetError(
            f"a victim of this kind that returns {output.value} grants {most.name.lower()} access at most",
            where=name,
            fix=f"use access={most.name.lower()!r}; gradients need a torch.nn.Module that returns scores",
        )
    return wanted


def usable_device(name: str | torch.device) -> torch.device:
    """The device called `name`, if it is there; of `auto` the first of CUDA, MPS and CPU that is.

    Raises:
        ParameterError: it isn't.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ParameterError(
            f"the device {str(name)!r} can't be used: {str(error).splitlines()[0]}",
            where="device",
            fix="use 'auto', 'cpu', or a device that `mmadv doctor` lists",
        ) from error


def checked_batch_size(size: int | str | None, usual: int | None = None) -> int | None:
    """`size` itself, or `usual` for `auto`.

    Raises:
        ParameterError: below 1, or not a whole number.
    """
    if size == "auto":
        return usual
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        raise ParameterError(
            f"batch_size is {size!r}",
            where="batch_size",
            fix="give a whole number of at least 1, 'auto', or None for one pass",
        )
    return size


def known_dtype(name: str | torch.dtype | None, where: str) -> torch.dtype | None:
    """The floating dtype called `name`.

    Raises:
        ParameterError: there is none.
    """
    dtype = getattr(torch, name, None) if isinstance(name, str) else name
    if dtype is not None and isinstance(dtype, torch.dtype) and dtype.is_floating_point:
        return dtype
    if name is None:
        return None
    known = "'bfloat16' or 'float16'" if where == "autocast" else "'float32', 'bfloat16' or 'float16'"
    raise ParameterError(f"unknown dtype {name!r}", where=where, fix=f"use {known}")

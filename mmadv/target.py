"""Targets: adapters that let the engine call a victim and leave it as it was found."""

from __future__ import annotations

import contextlib
import hashlib
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mmadv import rows
from mmadv.access import Access, Output
from mmadv.errors import ParameterError, TargetError, VictimMovedError


@runtime_checkable
class Target(Protocol):
    """What the engine needs of a victim's adapter.

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


class ModuleTarget:
    """A `torch.nn.Module` that answers rows of tensors with (B, L) or labels (B,).

    Args:
        module: in eval mode.
        name: for records; the class name if not given.
        output: what the answers mean: `logits`, `log_probabilities`, `probabilities` or `label`.
        access: the most to grant; gradients by default, decisions for labels.
        prepare: a differentiable step from the space's inputs to the module's, such as normalisation.
        device: to run on; the parameters' own by default. The module itself is never moved.
        autocast: a lower dtype for the forward pass, `bfloat16` or `float16`.
        compile: run through `torch.compile`.
        batch_size: inputs in one pass; None for all of them.
        allow_training: accept submodules in train mode, for victims that stay random on purpose.

    Raises:
        TargetError: not a module, in train mode, or on another device than asked for.

    Example:
        >>> target = ModuleTarget(nn.Linear(4, 3).eval())
        >>> target(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

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
        batch_size: int | None = None,
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
        self.batch_size = checked_batch_size(batch_size)
        tensors = [*module.parameters(), *module.buffers()]
        own = tensors[0].device if tensors else torch.device("cpu")
        self.device = own if device is None else _device(device)
        if tensors and own != self.device:
            raise TargetError(
                f"the victim is on {own} and {self.device} was asked for",
                where=self.name,
                fix=f"call model.to({str(self.device)!r}) first",
            )
        self.autocast = _dtype(autocast)
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
        self._refuse_training()
        # Weights are too large to be copied, so writes to them are counted, and missed. Buffers are small and are put
        # back whatever happened: batch normalisation writes to its own without being counted.
        parameters = dict(module.named_parameters())
        versions = {name: (id(tensor), tensor._version) for name, tensor in parameters.items()}
        wanted = [(parameter, parameter.requires_grad) for parameter in parameters.values()]
        parts = [(part, part.training, dict(part._buffers)) for part in module.modules()]
        kept = [(buffer, buffer.clone()) for buffer in module.buffers()]
        try:
            for parameter in parameters.values():
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter, flag in wanted:
                parameter.requires_grad_(flag)
            for part, mode, buffers in parts:
                if isinstance(part, torch.jit.ScriptModule):  # its buffers can't be exchanged, only written to
                    continue
                part.training = mode
                part._buffers.clear()
                part._buffers.update(buffers)
            with torch.no_grad():
                for buffer, before in kept:
                    buffer.copy_(before)
            after = {name: (id(tensor), tensor._version) for name, tensor in module.named_parameters()}
            lost = [name for name in versions if after.get(name) != versions[name]]
            if lost:
                raise VictimMovedError(
                    f"{len(lost)} weights were written to while the victim was attacked",
                    where=f"{self.name}: {', '.join(lost[:3])}",
                    fix="find the forward pass or attack that writes to weights; reload the victim",
                )

    def fingerprint(self) -> str:
        digest = hashlib.sha256(
            f"{type(self.module).__qualname__}|{self.output}|{self.prepare}|{self.autocast}".encode()
        )
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


class CallableTarget:
    """Any function from a batch of tensors to outputs (B, L) or labels (B,), without gradients.

    Args:
        function: called with (B, …) tensors; may return a tensor or an array.
        name: for records.
        output: what the answers mean.
        access: `score` by default, `decision` for labels.
        device: where its inputs are put.
        batch_size: inputs in one call; None for all of them.

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
        batch_size: int | None = None,
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
        self.device = torch.device(device)
        self.batch_size = checked_batch_size(batch_size)

    def __call__(self, x: Any) -> Tensor:
        return torch.as_tensor(self.function(x), device=self.device)

    @contextmanager
    def held(self) -> Iterator[None]:
        yield

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.name}|{self.output}|{told_apart(self.function)}".encode()).hexdigest()


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


def refuse_pickles(folder: Path) -> None:
    """See that a local model folder can be read without unpickling; a hub name is no folder, and passes.

    Raises:
        TargetError: it holds no safetensors.
    """
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


def _device(name: str | torch.device) -> torch.device:
    """The device called `name`, if it is there.

    Raises:
        ParameterError: it isn't.
    """
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ParameterError(
            f"the device {str(name)!r} can't be used: {str(error).splitlines()[0]}",
            where="device",
            fix="use 'cpu', or a device that `mmadv doctor` lists",
        ) from error


def checked_batch_size(size: int | None) -> int | None:
    """`size` itself.

    Raises:
        ParameterError: below 1, or not a whole number.
    """
    if size is not None and (not isinstance(size, int) or size < 1):
        raise ParameterError(
            f"batch_size is {size!r}", where="batch_size", fix="give a whole number of at least 1, or None for one pass"
        )
    return size


def _dtype(name: str | torch.dtype | None) -> torch.dtype | None:
    if name is None or isinstance(name, torch.dtype):
        return name
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ParameterError(f"unknown dtype {name!r}", where="autocast", fix="use 'bfloat16' or 'float16'")
    return dtype

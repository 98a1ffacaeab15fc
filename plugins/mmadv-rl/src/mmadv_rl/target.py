"""Policies as targets: of observations, and, once a game is known, of whole episodes."""

from __future__ import annotations

import copy
import hashlib
import inspect
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mmadv.access import Access, Output
from mmadv.errors import ParameterError, TargetError
from mmadv.modality import TargetClaim
from mmadv.target import ModuleTarget
from mmadv_rl.episodes import Episodes, Game, label_of
from mmadv_rl.policies import Normalised, Sb3Policy, Stacked, one_line

if TYPE_CHECKING:
    from mmadv_rl.space import ObsSpace

CALM_EPISODES, CALM_SEED = 10, 2**20
"""Clean episodes that the unit `std` is taken from, and the seed of the first."""


class PolicyTarget(ModuleTarget):
    """A policy that answers observations (B, …), with what it remembers (B, size + memory), by scores or means of actions.

    Args:
        module: as `mmadv_rl.policies` describes, in eval mode.
        critic: a module of observations, (B,); the policy's own if not given.
        normaliser: a frozen `VecNormalize` between observations and policy; False for an algorithm that has one and plays without.
        stack: how many of the last observations the policy sees at once.
        shape: of one observation; only needed with `stack`.
        output: `logits` of discrete actions or `values` of continuous ones; known of Stable-Baselines3 policies.
        **options: of `mmadv.ModuleTarget`.

    Example:
        >>> PolicyTarget(nn.Linear(4, 2).eval())(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        critic: nn.Module | None = None,
        normaliser: Any = None,
        stack: int = 1,
        shape: tuple[int, ...] | None = None,
        output: str | Output | None = None,
        **options: Any,
    ) -> None:
        if isinstance(module, Sb3Policy):
            output = output or (Output.LOGITS if module.discrete else Output.VALUES)
        if isinstance(stack, bool) or not isinstance(stack, int) or stack < 1:
            raise ParameterError(f"stack is {stack!r}", where="stack", fix="give a number of observations")
        if stack != 1 and shape is None:
            raise ParameterError("stack needs the shape of one observation", where="stack", fix="give shape=")
        if shape is not None and stack == 1:
            raise ParameterError("shape is given without stack", where="shape", fix="leave it out, or give stack=")
        if isinstance(module, Sb3Policy) and module.normalised and normaliser is None:
            raise TargetError(
                "the algorithm was trained behind a VecNormalize, and what normalises its observations now is not given",
                where="normaliser",
                fix="pass normaliser=model.get_vec_normalize_env() with its training = False, or False if there is none any more",
            )
        normaliser = None if normaliser is False else normaliser
        normal = getattr(getattr(normaliser, "obs_rms", None), "mean", ())
        first = shape is not None and np.size(normal) == np.prod(shape)  # observations are normalised, and then stacked
        if normaliser is not None and not first:
            module = Normalised.of(module, normaliser)
        if shape is not None and stack != 1:
            module = Stacked(module, tuple(shape), stack)
        if normaliser is not None and first:
            module = Normalised.of(module, normaliser)
        super().__init__(module, output=output or Output.LOGITS, **options)
        if self.output not in (Output.LOGITS, Output.VALUES):
            raise ParameterError(
                f"output is {self.output.value!r}", where="output", fix="give logits of actions, or values"
            )
        self.memory: int = getattr(module, "memory", 0)
        self._critic = critic
        self._means: int | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if not self.memory:
            return super().__call__(x)
        return self.remembering(x)[0]

    def remembering(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The answer to rows (B, size + memory), and what the policy remembers after them; to observations alone as an episode begins."""
        if not self.memory:
            return self(x), x.new_zeros(len(x), 0)
        shape = getattr(self.module, "shape", None) or getattr(getattr(self.module, "policy", None), "shape", None)
        if shape is not None and x.shape[1:].numel() == np.prod(shape):
            x = torch.cat([x.flatten(1), x.new_zeros(len(x), self.memory)], 1)
        seen, memory = x[:, : -self.memory], x[:, -self.memory :]
        answer, memory = self.module.remembering(seen.reshape(len(x), *(shape or (-1,))), memory)  # type: ignore[operator]
        return self.read(answer), memory.to(x)

    def read(self, answer: Any) -> Any:
        """The module's answer; means of a game's actions without their log σ get zeros for it.

        Raises:
            TargetError: it is no tensor.
        """
        if not isinstance(answer, Tensor):
            raise TargetError(
                f"the policy answers a {type(answer).__name__}",
                where=self.name,
                fix="pass the Stable-Baselines3 algorithm itself, or wrap the module so that it answers scores or means alone",
            )
        if self._means is None or answer.shape[-1] != self._means:
            return answer
        return torch.cat([answer, torch.zeros_like(answer)], -1)

    def fingerprint(self) -> str:
        """With what weights don't tell, such as where a normaliser clips."""
        return hashlib.sha256(f"{super().fingerprint()}|{self.module}|{self._means}".encode()).hexdigest()

    def critic(self, x: Tensor) -> Tensor:
        """(B,) the value of observations, as `valued` gives it."""
        return self.valued(x)[1]

    def valued(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The answer to rows, and (B,) the value of their observations by the critic that is known, from the same pass.

        A critic that the policy has inside is shown what reaches it there, after whatever is done to observations before.

        Raises:
            TargetError: there is none.
        """
        if self._critic is not None:
            seen = x[:, : -self.memory] if self.memory else x
            return self(x), self._critic(seen).reshape(len(x))
        if (part := self._part("critic")) is not None and not self.memory:
            passed: list[tuple[Any, Any]] = []
            with part.register_forward_hook(lambda _, given, answer: passed.append((given[0], answer))):
                answer = self(x)
            wanted = len(inspect.signature(part.critic).parameters)  # type: ignore[arg-type]
            return answer, part.critic(*passed[-1][:wanted]).reshape(len(x))  # type: ignore[operator]
        raise TargetError(
            "the policy has no critic",
            where=self.name,
            fix="pass critic=, a module of observations, or choose another attack",
        )

    def action_values(self, x: Tensor) -> Tensor | None:
        """(B, actions) what the policy itself holds its discrete actions to be worth; None if it doesn't say."""
        part: Any = self._part("action_values")
        return None if part is None else part.action_values(x)

    def _part(self, name: str) -> nn.Module | None:
        """The module, or one inside it, that has a method of this name."""
        found = ((part, getattr(part, name, None)) for part in self.module.modules())
        return next((part for part, one in found if callable(one) and not isinstance(one, nn.Module)), None)

    @property
    def has_critic(self) -> bool:
        """Whether observations can be valued."""
        return self._critic is not None or (not self.memory and self._part("critic") is not None)

    @property
    def normalised(self) -> bool:
        """Whether it has a normaliser of its own, whose scale is the unit `policy`."""
        return any(isinstance(part, Normalised) for part in self.module.modules())

    # --- in a game --------------------------------------------------------------------------------

    def check_game(self, game: Game) -> PolicyTarget:
        """The policy as it plays a game: where it answers continuous actions by their means alone, [mean, 0].

        Raises:
            TargetError: they don't fit each other, or the policy is not on the CPU, where games are played.
        """
        if self.device.type != "cpu":
            raise TargetError(
                f"the policy is on {self.device}, and episodes are played on the CPU",
                where=self.name,
                fix="call .to('cpu') first",
            )
        want = Output.VALUES if game.actions is None else Output.LOGITS
        if self.output is not want:
            raise TargetError(
                f"the policy answers {self.output.value}, and the actions of {game.name} are "
                f"{'continuous' if game.actions is None else 'discrete'}",
                where=self.name,
                fix=f"declare output={want.value!r}, or choose the game that it was trained in",
            )
        low, high = (end.nan_to_num(posinf=0.0, neginf=0.0) for end in game.box)
        x = torch.zeros(1, game.size).clamp(torch.minimum(low, high), torch.maximum(low, high))
        x = torch.cat([x, torch.zeros(1, self.memory)], 1)
        try:
            with torch.no_grad(), self.held():
                answer = self(shaped(x, game, self))
        except Exception as error:
            raise TargetError(
                f"the policy refuses an observation of {game.name}, which has shape {game.shape}: {one_line(error)}",
                where=self.name,
                fix="choose the game that it was trained in, or give the normaliser= and stack= that it was trained with",
            ) from error
        self._check_spaces(game)
        width = game.actions or len(game.reach[0].reshape(-1))  # type: ignore[index]
        wanted = (width,) if game.actions is not None else (width, 2 * width)
        if answer.dim() != 2 or answer.shape[1] not in wanted:
            raise TargetError(
                f"the policy answers shape {tuple(answer.shape)}, and {game.name} has {width} actions",
                where=self.name,
                fix="choose the game that it was trained in",
            )
        fitting = copy.copy(self)
        fitting._means = width if game.actions is None and answer.shape[1] == width else None
        return fitting

    def _check_spaces(self, game: Game) -> None:
        """See that a Stable-Baselines3 policy was trained in spaces with the bounds that the game has.

        Raises:
            TargetError: it wasn't.
        """
        from gymnasium.spaces import Box

        with game.instances(1) as (env,):
            there = env.observation_space, env.action_space
        for part in self.module.modules():
            if not isinstance(part, Sb3Policy):
                continue
            for what, own, found in zip(("observations", "actions"), part.spaces, there, strict=True):
                if not (isinstance(own, Box) and isinstance(found, Box)):
                    continue
                # Frames may be stacked, and their axes in another order.
                ends = [
                    np.unique(end) if own.shape != found.shape else end
                    for end in (own.low, found.low, own.high, found.high)
                ]
                whole = own.dtype.kind in "iu"
                if whole != (found.dtype.kind in "iu") or not all(map(np.array_equal, ends[::2], ends[1::2])):
                    raise TargetError(
                        f"the policy was trained with {what} in {own}, and those of {game.name} are in {found}",
                        where=self.name,
                        fix="choose the game that it was trained in, with the wrappers that it had then",
                    )

    def units(self, kind: str, game: Game) -> Tensor:
        """(size,) what counts as 1 in each dimension, in the environment's unit.

        Raises:
            ParameterError: a relative unit that policy and game don't give.
            InputError: it comes of clean episodes, and none could be played.
        """
        if kind == "raw":
            return torch.ones(game.size)
        if kind == "range":
            low, high = game.box
            if not bool(torch.isfinite(high - low).all()):
                raise ParameterError(
                    f"the observations of {game.name} have no bounds",
                    where="unit",
                    fix="use unit: std, or a number for each dimension",
                )
            return high - low
        if kind == "policy":
            parts = list(self.module.modules())
            for scale in (part.scale.float().reshape(-1) for part in parts if isinstance(part, Normalised)):
                if scale.numel() == game.size:
                    return scale
                for part in parts:
                    if isinstance(part, Stacked) and scale.numel() == part.k * part.size:
                        return part.newest(scale)
            raise ParameterError(
                "the policy has no normaliser of the game's observations",
                where="unit",
                fix="use unit: std, or pass normaliser=",
            )
        from mmadv_rl.attacks.base import check_rehearsed, deviation
        from mmadv_rl.play import clean

        if (key := (kind, self.fingerprint())) not in game.known:
            played = clean(self, Episodes.fresh(torch.arange(CALM_SEED, CALM_SEED + CALM_EPISODES), game))
            check_rehearsed(played, game)
            whole = played.episodes.played & ~played.broken.unsqueeze(1)
            game.known[key] = deviation(played.episodes.true[whole].double()).float()
        return game.known[key]

    def acts(self, answer: Tensor, game: Game) -> np.ndarray:
        """(B, …) what the environment is told: the best action, or the mean inside its bounds."""
        if game.actions is not None:
            return answer.argmax(1).cpu().numpy()
        assert game.reach is not None
        low, high = game.reach
        mean = answer[:, : low.size].double().cpu().numpy().reshape(-1, *low.shape)
        return np.clip(mean.astype(low.dtype), low, high)


class Player:
    """A policy in a game: the target of episodes, which it answers by the labels of their returns.

    Args:
        policy: that plays.
        game: that is played.

    Attributes:
        space: what may be shown, with the numbers of the game; anything if None.
    """

    output = Output.LABEL

    def __init__(self, policy: PolicyTarget, game: Game) -> None:
        self.policy, self.game = policy.check_game(game), game
        self.space: ObsSpace | None = None
        self.name, self.access, self.device = policy.name, policy.access, policy.device
        self.batch_size: int | None = None

    def __call__(self, x: Episodes) -> Tensor:
        """(B,) labels of the returns when the policy is shown what `x` holds, wherever that may still be shown: see `replay`."""
        from mmadv_rl.play import replay

        found = replay(self.policy, x, self.space).tolist()
        return torch.tensor([label_of(value) for value in found], dtype=torch.int64)

    def held(self) -> AbstractContextManager[None]:
        return self.policy.held()

    def fingerprint(self) -> str:
        return self.policy.fingerprint()


def shaped(x: Tensor, game: Game, policy: PolicyTarget) -> Tensor:
    """Flat rows (B, size) in the shape of observations; those with a memory stay flat."""
    return x if policy.memory else x.reshape(len(x), *game.shape)


def claim(victim: object, modality: str) -> TargetClaim | None:
    """A claim to modules and Stable-Baselines3 algorithms."""
    if modality != "rl":
        return None
    if isinstance(victim, nn.Module):
        module = victim
    elif hasattr(victim, "policy") and hasattr(victim, "observation_space") and hasattr(victim, "predict"):
        module = Sb3Policy(victim)
    else:
        return None

    def make(
        *,
        name: str = "",
        output: str | None = None,
        access: str | Access | None = None,
        critic: nn.Module | None = None,
        normaliser: Any = None,
        stack: int = 1,
        shape: tuple[int, ...] | None = None,
        device: str | None = None,
        autocast: str | None = None,
        compile: bool = False,
        batch_size: int | None = None,
        allow_training: bool = False,
    ) -> PolicyTarget:
        return PolicyTarget(
            module, name=name or type(victim).__name__, output=output, access=access, critic=critic,
            normaliser=normaliser, stack=stack, shape=shape, device=device, autocast=autocast, compile=compile,
            batch_size=batch_size, allow_training=allow_training,
        )  # fmt: skip

    return TargetClaim("rl", make)

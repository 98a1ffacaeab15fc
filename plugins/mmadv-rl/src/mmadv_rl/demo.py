"""Policies and games of the demo audit: trained once by Stable-Baselines3 from fixed seeds, and kept in the user's cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmadv import assets
from mmadv.target import rng_preserved
from mmadv_rl.episodes import known
from mmadv_rl.policies import Normalised, Sb3Policy
from mmadv_rl.source import EpisodeSource
from mmadv_rl.target import PolicyTarget

RECIPES: dict[str, dict[str, Any]] = {
    "CartPole-v1": {
        "steps": 60_000, "envs": 16, "n_steps": 128, "batch_size": 256, "n_epochs": 10, "learning_rate": 1e-3,
        "gamma": 0.98, "gae_lambda": 0.9, "normalise": False,
    },
    "InvertedPendulum-v5": {
        "steps": 80_000, "envs": 16, "n_steps": 128, "batch_size": 256, "n_epochs": 10, "learning_rate": 1e-3,
        "gamma": 0.98, "gae_lambda": 0.9, "normalise": True,
    },
    "Hopper-v5": {  # for the benchmark alone: ten minutes of training are too many for a demo
        "steps": 1_000_000, "envs": 16, "n_steps": 128, "batch_size": 64, "n_epochs": 10, "learning_rate": 3e-4,
        "gamma": 0.99, "gae_lambda": 0.95, "normalise": True, "anneal": True,
    },
}  # fmt: skip
BELOW = {"CartPole-v1": 250.0, "InvertedPendulum-v5": 500.0, "Hopper-v5": 1500.0}
"""An episode is lost below half of what a good policy gets."""


def agent(env: str) -> PolicyTarget:
    """PPO on a task of the demo.

    Args:
        env: `CartPole-v1`, `InvertedPendulum-v5` or `Hopper-v5`.
    """
    recipe = RECIPES[env]
    weights = assets.trained("agents", {"env": env, **recipe}, lambda: _train(env))
    model = _fresh(env, 1)
    policy = {name.removeprefix("policy."): value for name, value in weights.items() if name.startswith("policy.")}
    model.policy.load_state_dict(policy)
    module: Any = Sb3Policy(model)
    output = "logits" if module.discrete else "values"
    if recipe["normalise"]:
        module = Normalised(module, weights["normaliser.mean"], weights["normaliser.var"])
    return PolicyTarget(module, name=f"PPO, {env}", output=output)


def episodes(env: str, count: int = 10) -> EpisodeSource:
    """Episodes of a task of the demo, from seeds that it was not trained on."""
    return EpisodeSource(known(env, BELOW[env]), count, seed=10_000)


def _fresh(env: str, envs: int) -> Any:
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    recipe = RECIPES[env]
    games = make_vec_env(env, envs, seed=0)
    if recipe["normalise"]:
        games = VecNormalize(games, norm_reward=True, gamma=recipe["gamma"])
    ours = ("steps", "envs", "normalise", "anneal")
    settings: dict[str, Any] = {k: v for k, v in recipe.items() if k not in ours}
    settings["batch_size"] = min(settings["batch_size"], envs * settings["n_steps"])
    if recipe.get("anneal"):
        settings["learning_rate"] = lambda left: left * recipe["learning_rate"]
    return PPO("MlpPolicy", games, seed=0, device="cpu", **settings)


def _train(env: str) -> dict[str, Tensor]:
    from stable_baselines3.common.logger import Logger

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small matrices: more threads only wait for each other
    try:
        with rng_preserved(torch.device("cpu"), seed=0), torch.enable_grad():
            model = _fresh(env, RECIPES[env]["envs"])
            model.set_logger(Logger(None, []))  # its own makes a folder for each training
            model.learn(RECIPES[env]["steps"])
    finally:
        torch.set_num_threads(threads)
    weights = {f"policy.{name}": value.clone() for name, value in model.policy.state_dict().items()}
    if RECIPES[env]["normalise"]:
        found = model.get_env().obs_rms
        weights |= {"normaliser.mean": torch.from_numpy(found.mean), "normaliser.var": torch.from_numpy(found.var)}
    return weights

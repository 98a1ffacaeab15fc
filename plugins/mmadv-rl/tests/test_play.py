"""Episodes: what is played, counted, judged again, and lost."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

import mmadv
from mmadv.errors import InputError, ParameterError, TargetError
from mmadv_rl.episodes import Game, return_of
from mmadv_rl.modality import RL
from mmadv_rl.play import replay, run_episodes
from mmadv_rl.target import PolicyTarget

UNIT = (0.732, 1.063, 0.122, 0.439)
"""SA-DQN's scale of CartPole's dimensions."""


def balancing() -> nn.Module:
    """A linear controller that holds the pole up for ever."""
    policy = nn.Linear(4, 2).double()
    with torch.no_grad():
        policy.weight.copy_(torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.5, 1.0, 10.0, 3.0]]))
        policy.bias.zero_()
    return policy.eval()


@pytest.fixture(scope="module")
def game():
    return Game("CartPole-v1", horizon=200, below=150.0)


def test_clean_episodes_are_those_of_a_plain_loop(game):
    x, _ = game.episodes(3, seed=5)
    played = run_episodes(PolicyTarget(balancing()), x)
    for row in range(3):
        env = gym.make("CartPole-v1", max_episode_steps=200)
        seen, total, over = env.reset(seed=5 + row)[0], 0.0, False
        while not over:
            action = int(balancing()(torch.from_numpy(seen).double()[None]).argmax())
            seen, reward, ended, cut, _ = env.step(action)
            total, over = total + float(reward), ended or cut
        assert float(played.total[row]) == total
        assert int(played.episodes.length[row]) == total


@pytest.mark.parametrize("attack", ["rl.random", "rl.fgsm", "rl.pgd", "rl.mad", "rl.timed"])
def test_an_episode_is_the_same_alone_and_among_others(game, attack):
    x, y = game.episodes(4)
    ids = torch.arange(4) + 3
    words = {"eps": 0.4, "unit": UNIT, **({} if attack in ("rl.random", "rl.fgsm") else {"steps": 3})}
    whole = mmadv.attack(balancing(), x, y, attack, ids=ids, **words)
    for row in range(4):
        part = mmadv.rows.take(x, slice(row, row + 1))
        one = mmadv.attack(balancing(), part, y[row : row + 1], attack, ids=ids[row : row + 1], **words)
        assert one.score[0] == whole.score[row]
        assert int(one.queries[0]) == int(whole.queries[row])
        steps = int(one.adv.length[0])
        assert torch.equal(one.adv.seen[0, :steps], whole.adv.seen[row, :steps])


def test_what_was_found_plays_again_and_stays_in_its_ball(game):
    x, y = game.episodes(4)
    result = mmadv.attack(balancing(), x, y, "rl.pgd", eps=0.5, unit=UNIT, steps=5)
    adv = result.adv
    assert torch.equal(
        replay(PolicyTarget(balancing()), adv), torch.tensor([return_of(int(v)) for v in y]) - result.score
    )
    delta = ((adv.seen - adv.true) / torch.tensor(UNIT)).abs()
    assert float(delta.max()) <= 0.5 * (1 + 1e-4)
    assert float(delta.max()) > 0.49


@pytest.mark.parametrize(("words", "bound"), [({"most": 7}, lambda n: 7), ({"share": 0.25}, lambda n: n // 4)])
def test_turns_are_never_exceeded(game, words, bound):
    x, y = game.episodes(3)
    for attack in ("rl.pgd", "rl.timed"):
        adv = mmadv.attack(balancing(), x, y, attack, eps=0.5, unit=UNIT, steps=3, **words).adv
        for row in range(3):
            assert 0 < int(adv.touched[row].sum()) <= bound(int(adv.length[row]))


def test_the_suite_is_never_weaker_than_its_members(game):
    x, y = game.episodes(3)
    policy = PolicyTarget(balancing())
    words = {"eps": 0.3, "unit": UNIT}
    suite = mmadv.attack(policy, x, y, "rl.suite", **words)
    for member in ("rl.random", "rl.fgsm", "rl.pgd", "rl.mad", "rl.robust_sarsa", "rl.director"):
        assert bool((suite.score >= mmadv.attack(policy, x, y, member, **words).score).all())


def test_the_gradient_of_mad_is_zero_at_the_clean_observation_and_not_where_it_starts():
    from mmadv_rl.attacks.base import divergence

    policy, x = balancing(), torch.tensor([[0.01, 0.02, -0.01, 0.03]], dtype=torch.float64)
    for at, zero in ((x, True), (x + 0.05, False)):
        seen = at.clone().requires_grad_()
        grad = torch.autograd.grad(divergence(policy(seen), policy(x).detach(), True).sum(), seen)[0]
        assert bool((grad.abs() < 1e-12).all()) == zero


class Frail(gym.Wrapper):
    """Raises, or gives NaN, in episodes that began with seed 1."""

    def __init__(self, env, how):
        super().__init__(env)
        self.how, self.bad, self.steps = how, False, 0

    def reset(self, *, seed=None, options=None):
        self.bad, self.steps = seed == 1, 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action):
        self.steps += 1
        if self.bad and self.steps == 4 and self.how == "raises":
            raise RuntimeError("the cart fell off")
        said, reward, *rest = self.env.step(action)
        if self.bad and self.steps == 4:
            said, reward = (np.full_like(said, np.nan), reward) if self.how == "observation" else (said, np.nan)
        return said, reward, *rest


@pytest.mark.parametrize("how", ["raises", "observation", "reward"])
def test_a_broken_episode_is_lost_alone_and_is_an_error(how):
    game = Game("frail", 150.0, 200, make=lambda: Frail(gym.make("CartPole-v1"), how))
    x, y = game.episodes(3)
    result = mmadv.attack(balancing(), x, y, "rl.random", eps=0.01)
    assert [status.value for status in result.status] == ["robust", "error", "robust"]


def test_bad_words_are_refused_with_the_fix(game):
    x, y = game.episodes(2)
    for words, where in (
        ({"unit": (1.0, 2.0)}, "unit"),
        ({"unit": "range"}, "unit"),
        ({"unit": "policy"}, "unit"),
        ({"unit": "yards"}, "unit"),
        ({"most": -1}, "most"),
        ({"share": 2.0}, "share"),
        ({"targets": 1}, "targets"),
    ):
        with pytest.raises(ParameterError) as raised:
            mmadv.attack(balancing(), x, y, "rl.pgd", **{"eps": 0.1, **words})
        assert raised.value.where == where
        assert raised.value.fix


def test_a_policy_of_another_game_is_refused(game):
    x, y = game.episodes(2)
    for policy in (nn.Linear(3, 2).eval(), nn.Linear(4, 5).eval()):
        with pytest.raises(TargetError, match="CartPole"):
            mmadv.attack(policy, x, y, "rl.pgd", eps=0.1)
    with pytest.raises(InputError, match="whole number"):
        mmadv.attack(balancing(), x, [150, 150], "rl.pgd", eps=0.1)
    with pytest.raises(ParameterError, match="Discrete"):
        Game("FrozenLake-v1", below=0.5)
    with pytest.raises(ParameterError, match="can't be made"):
        Game("NoSuchGame-v1")


def test_observations_alone_are_attacked_as_any_input():
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)) * 0.1
    y = balancing()(x.double()).argmax(1)
    result = mmadv.attack(balancing(), x, y, "rl.pgd", eps=1.0, unit=UNIT)
    assert bool(result.success.all())


def test_an_episode_comes_back_from_its_file(game, tmp_path):
    x, y = game.episodes(2)
    adv = mmadv.attack(balancing(), x, y, "rl.pgd", eps=0.5, unit=UNIT, steps=2).adv
    kind = RL()
    row = mmadv.rows.take(adv, slice(1, 2))
    mmadv_rl_known(game)
    for back in (kind.read(kind.write(row, tmp_path / "0001")), kind.unpack([kind.pack(row)])):
        steps = int(row.length[0])
        assert torch.equal(back.seen[0], row.seen[0, :steps])
        assert int(back.seed) == int(row.seed)
        assert back.game == row.game
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="can't be read"):
        kind.read(tmp_path / "bad.npz")


def mmadv_rl_known(game):
    from mmadv_rl.episodes import enter

    enter(game)


def test_an_audit_of_episodes_is_verified_from_disk(tmp_path):
    from mmadv import spec
    from mmadv.audit import Audit
    from mmadv.host import default_host
    from mmadv.verify import verify

    text = """
    title: episodes
    campaigns:
      - name: cart
        modality: rl
        target: {factory: "mmadv_rl.tabular:uphill"}
        data: {factory: "mmadv_rl.tabular:hill"}
        threat: {norm: linf, eps: [0.6, 2.4]}
        attacks: [rl.random, {name: rl.pgd, steps: 3}]
    """
    audit = Audit(spec.parse(text), tmp_path / "run", default_host())
    summary = audit.run()
    worst = [point["robust"]["value"] for point in summary["campaigns"][0]["worst"]]
    assert worst[0] > worst[1]
    assert list(verify(Audit.of_folder(tmp_path / "run", default_host()))) == []

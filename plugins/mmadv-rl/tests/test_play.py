"""Episodes: what is played, counted, judged again, and lost."""

import dataclasses
import tempfile

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

import mmadv
from mmadv import Access, Budget, Problem, ThreatModel, solve
from mmadv.errors import InputError, ParameterError, TargetError
from mmadv.goals import Steered
from mmadv.testing.victims import Counting
from mmadv_rl.attacks.base import Lessons
from mmadv_rl.attacks.fgsm import FGSM
from mmadv_rl.attacks.mad import MAD
from mmadv_rl.attacks.pgd import PGD
from mmadv_rl.attacks.suite import Suite
from mmadv_rl.attacks.timed import Timed
from mmadv_rl.constraints import Turns
from mmadv_rl.episodes import Game, return_of
from mmadv_rl.modality import RL
from mmadv_rl.play import replay, run_episodes
from mmadv_rl.space import ObsSpace
from mmadv_rl.target import CALM_EPISODES, PolicyTarget

UNIT = (0.732, 1.063, 0.122, 0.439)
"""SA-DQN's scale of CartPole's dimensions."""


def balancing() -> nn.Module:
    """A linear controller that holds the pole up for ever."""
    policy = nn.Linear(4, 2).double()
    with torch.no_grad():
        policy.weight.copy_(torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.5, 1.0, 10.0, 3.0]]))
        policy.bias.zero_()
    return policy.eval()


class Steadiness(nn.Module):
    """A critic that likes an upright pole."""

    def forward(self, x):
        return -x.double()[:, 2].square()


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


@pytest.mark.parametrize("attack", ["rl.random", "rl.fgsm", "rl.pgd", "rl.mad", "rl.timed", "rl.waves"])
def test_an_episode_is_the_same_alone_and_among_others(game, attack):
    x, y = game.episodes(4)
    ids = torch.arange(4) + 3
    words = {"eps": 0.4, "unit": UNIT, **({} if attack in ("rl.random", "rl.fgsm") else {"steps": 3})}
    whole = mmadv.attack(balancing(), x, y, attack, ids=ids, **words)
    for row in (0, 3):
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


def test_the_clean_episodes_that_say_when_to_act_are_charged(game):
    x, y = game.episodes(3)
    space, policy = ObsSpace("linf", 0.5, turns=Turns(most=7)), PolicyTarget(balancing())
    ready = Timed().prepared(policy, game, ThreatModel(space), 0)
    assert ready.lessons == Lessons(200 * CALM_EPISODES, 200 * CALM_EPISODES)  # the controller never falls
    words = {"modality": "rl", "eps": 0.5, "unit": UNIT, "steps": 3, "most": 7}
    sought = mmadv.attack(policy, x, y, Timed(), **words)
    given = mmadv.attack(policy, x, y, Timed(beta=ready.beta), **words)
    assert torch.equal(sought.score, given.score)
    assert torch.equal(sought.queries, given.queries + ready.lessons.queries)
    assert sought.forwards == given.forwards + ready.lessons.queries
    assert sought.adv.taught.tolist() == [ready.lessons.steps] * 3
    assert Timed().prepared(policy, game, ThreatModel(ObsSpace("linf", 0.5)), 0) == Timed(beta=0.0)  # any turn is taken


def test_the_suite_is_never_weaker_than_any_of_its_members():
    game = Game("CartPole-v1", horizon=40, below=30.0)
    x, y = game.episodes(3)
    policy = PolicyTarget(balancing(), critic=Steadiness())
    words = {"eps": 1.0, "unit": UNIT}
    suite = mmadv.attack(policy, x, y, "rl.suite", training=2048, **words)
    alone = {
        type(member).__name__: mmadv.attack(policy, x, y, member, modality="rl", **words)
        for member in Suite(training=2048).members(policy, game, ThreatModel(ObsSpace("linf", 1.0)))
    }
    assert {"Random", "FGSM", "PGD", "MAD", "Waves", "Critic", "RobustSarsa", "Director", "Learned"} <= set(alone)
    found = torch.stack([one.score for one in alone.values()])
    assert torch.equal(suite.score, found.amax(0))
    assert bool((found.amin(0) < found.amax(0)).any())  # they differ, so that the worst says something
    assert torch.equal(suite.queries, torch.stack([one.queries for one in alone.values()]).sum(0))


def test_the_suite_leaves_out_what_is_not_wanted_and_refuses_what_means_nothing(game):
    threat = ThreatModel(ObsSpace("linf", 0.1))
    names = {type(one).__name__ for one in Suite(training=0).members(PolicyTarget(balancing()), game, threat)}
    assert names == {"Random", "FGSM", "PGD", "MAD", "Waves", "RobustSarsa", "Director"}
    x, y = game.episodes(1)
    for attack, words in (
        ("rl.suite", {"training": -1}),
        ("rl.learned", {"sigma": 0.0}),
        ("rl.learned", {"candidates": 3}),
    ):
        with pytest.raises(ParameterError) as raised:
            mmadv.attack(balancing(), torch.zeros(1, 4), [0], attack, eps=0.1, **words)
        assert raised.value.where == next(iter(words))
    for attack in ("rl.suite", "rl.learned"):  # before anything is trained
        with pytest.raises(ParameterError, match="training is -1"):
            mmadv.attack(balancing(), x, y, attack, eps=0.1, training=-1)


def test_a_learned_adversary_does_what_noise_does_not_on_cartpole():
    from mmadv_rl import demo

    policy, game = demo.agent("CartPole-v1"), Game("CartPole-v1", horizon=200, below=150.0)
    x, y = game.episodes(20)
    noise, found = (
        game.below - mmadv.attack(policy, x, y, attack, eps=0.4, unit=UNIT, **words).score.mean()
        for attack, words in (("rl.random", {}), ("rl.learned", {"training": 20_000}))
    )
    assert float(noise) > 190  # of 200
    assert float(found) < 100


def test_training_an_adversary_is_counted_done_once_and_leaves_the_victim_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    victim, scores = Counting(balancing()), []
    before = torch.get_rng_state()
    for _ in range(2):  # a game of its own knows nothing of what the other one taught
        game = Game("CartPole-v1", horizon=30, below=25.0)
        x, y = game.episodes(3)
        victim.forwards = 0
        first = mmadv.attack(victim, x, y, "rl.learned", eps=0.3, unit=UNIT, training=320)
        steps = int(first.adv.length.sum())
        # Clean episodes, and for each attacked step the clean question, the one that is judged, and the answer that is acted on.
        assert victim.forwards >= 320 + 3 * steps
        spent, victim.forwards = victim.forwards, 0
        again = mmadv.attack(victim, x, y, "rl.learned", eps=0.3, unit=UNIT, training=320)
        assert spent - victim.forwards == 320
        assert torch.equal(again.score, first.score)
        assert torch.equal(again.queries, first.queries)
        assert bool((first.queries >= 320 + first.adv.length).all())
        assert first.adv.taught.tolist() == [320] * 3
        measures = ObsSpace("linf", 0.3).measures(x, first.adv)
        assert measures["steps of training"].tolist() == [320.0] * 3
        assert first.forwards == int((first.queries - 320).sum()) + 320
        scores.append(first.score)
    assert torch.equal(*scores)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.requires_grad for parameter in victim.parameters())
    assert not list(tmp_path.glob("SB3-*"))  # nor is anything left behind


def test_training_goes_on_where_an_environment_breaks_and_ends_where_none_begins():
    from mmadv_rl.learning import trained

    for how in ("raises", "observation", "reward"):
        game = Game("frail", 150.0, 200, make=lambda how=how: Frail(gym.make("CartPole-v1"), how, every=3))
        space = ObsSpace("linf", 0.1, (1.0,) * 4)
        assert trained(PolicyTarget(balancing()), game, space, steps=320, gamma=0.99, lr=1e-3, seed=0).taught == 320
    game = Game("dead", 150.0, 200, make=lambda: Dead(gym.make("CartPole-v1")))
    with pytest.raises(InputError, match="can't be begun"):
        trained(PolicyTarget(balancing()), game, space, steps=320, gamma=0.99, lr=1e-3, seed=0)


def test_an_episode_is_shown_as_filmstrips_in_a_few_kilobytes():
    from mmadv.report.parts import fragment

    for name, policy, frames in (("CartPole-v1", balancing(), 12), ("MountainCar-v0", nn.Linear(2, 3).eval(), 12)):
        game = Game(name, horizon=100, below=1e9)
        x = game.episodes(1)[0]
        calm = run_episodes(PolicyTarget(policy), x).episodes
        adv = dataclasses.replace(calm, calm=calm.acts, calm_length=calm.length)
        html = RL().figures(x, adv, ("100", "50"))
        assert html.count("<svg") - min(game.size, 6) + html.count("<img") == frames
        assert len(fragment(html)) < 100_000


class Wobbling(nn.Module):
    """A controller whose preference goes up and down on the way to the other action, so that short steps stay on a hill."""

    def __init__(self):
        super().__init__()
        self.steady = balancing()
        self.eval()

    def forward(self, x):
        lean = self.steady(x.double())[:, 1]
        lead = lean + 0.3 * torch.sin(6 * lean)
        return torch.stack([-lead, lead], 1)


def test_iterated_attacks_are_no_weaker_than_one_step_over_20_episodes():
    from mmadv_rl import demo

    game = Game("CartPole-v1", horizon=200, below=150.0)
    x, y = game.episodes(20)
    for policy, attacks, eps in (
        (Wobbling(), ("rl.pgd",), 0.5),
        (demo.agent("CartPole-v1"), ("rl.pgd", "rl.mad"), 0.5),
    ):
        once = game.below - mmadv.attack(policy, x, y, "rl.fgsm", eps=eps, unit=UNIT).score
        assert float(once.mean()) < 180  # there is something to be beaten
        for attack in attacks:
            found = game.below - mmadv.attack(policy, x, y, attack, eps=eps, unit=UNIT, steps=8).score
            assert float(found.mean()) <= float(once.mean())


@pytest.mark.parametrize("values", [False, True])
def test_pgd_is_never_weaker_than_one_step_on_any_observation(values):
    """What is kept of an observation, judged by the objective of both, from whatever starts."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        policy = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 6)).double().eval()
    target = PolicyTarget(policy, output="values" if values else "logits")
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(1))
    y = policy(x.double()).argmax(1)
    found = {}
    for attack in (FGSM(), PGD()):
        aim = attack.objective(values)
        threat = ThreatModel(
            ObsSpace("linf", 0.3), Access.GRADIENT, Steered(aim), Budget(steps=None if attack.single_step else 3)
        )
        clean = policy(x.double()).detach()
        problem = Problem(target, threat, x, y, torch.arange(200), towards=clean if values else None)
        found[type(attack)] = solve(problem, attack).score
    assert bool((found[PGD] >= found[FGSM] - 1e-9).all())
    assert float(found[PGD].mean()) > float(found[FGSM].mean())


class Watched(MAD):
    """MAD, whose first gradients are kept."""

    def climb(self, adv, facts, oracle):
        grad = super().climb(adv, facts, oracle)
        self.__dict__.setdefault("first", grad)
        return grad


class Still(Watched):
    """From the clean observation."""

    def init(self, oracle):
        state = super().init(oracle)
        return dataclasses.replace(state, adv=oracle.region.clean(state.adv).expand_as(state.adv))


@pytest.mark.parametrize("values", [False, True])
def test_mad_has_a_gradient_where_it_starts_and_would_have_none_at_the_clean_observation(values):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        policy = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 4)).double().eval()
    target = PolicyTarget(policy, output="values" if values else "logits")
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    clean, slopes = policy(x.double()).detach(), {}
    for attack in (Watched(), Still()):
        threat = ThreatModel(ObsSpace("linf", 0.3), goal=Steered(attack.objective(values)), budget=Budget(steps=2))
        solve(Problem(target, threat, x, clean.argmax(1), torch.arange(20), towards=clean), attack)
        slopes[type(attack)] = attack.first.abs().flatten(1).amax(1)
    assert float(slopes[Still].max()) < 1e-7  # what is left is rounding
    assert float(slopes[Watched].min()) > 1e-5


class Frail(gym.Wrapper):
    """Raises, or gives NaN, in episodes that began with seed 1."""

    def __init__(self, env, how, every=None):
        super().__init__(env)
        self.how, self.every, self.bad, self.steps = how, every, False, 0

    def reset(self, *, seed=None, options=None):
        self.bad, self.steps = seed == 1 if self.every is None else seed % self.every == 0, 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action):
        self.steps += 1
        if self.bad and self.steps == 4 and self.how == "raises":
            raise RuntimeError("the cart fell off")
        said, reward, *rest = self.env.step(action)
        if self.bad and self.steps == 4:
            said, reward = (np.full_like(said, np.nan), reward) if self.how == "observation" else (said, np.nan)
        return said, reward, *rest


class Dead(gym.Wrapper):
    """Never begins."""

    def reset(self, *, seed=None, options=None):
        raise RuntimeError("no cart")


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


@pytest.mark.parametrize("cascade", [False, True])
def test_an_episode_that_is_lost_is_played_again_at_larger_radii_and_the_worse_one_is_kept(tmp_path, cascade):
    import shutil

    from mmadv import spec
    from mmadv.audit import Audit
    from mmadv.host import default_host
    from mmadv.report import tables
    from mmadv.runs import RunInfo
    from mmadv.verify import verify
    from mmadv_rl.section import returns
    from mmadv_rl.tabular import hill, uphill

    text = f"""
    title: degrees
    campaigns:
      - name: hill
        modality: rl
        cascade: {str(cascade).lower()}
        target: {{factory: "mmadv_rl.tabular:uphill"}}
        data: {{factory: "mmadv_rl.tabular:hill", args: {{below: 8, horizon: 12}}, limit: 3}}
        threat: {{norm: linf, eps: [0.6, 2.4, 4.8]}}
        attacks: [rl.random, {{name: rl.pgd, steps: 3}}]
    """
    audit = Audit(spec.parse(text), tmp_path / "run", default_host())
    summary = audit.run()
    run = RunInfo(tmp_path / "run", "", 1)
    (campaign,) = tables.campaigns(run, "rl")
    records = tables.records(run, campaign, campaign["attacks"][1])
    examples = hill(8.0, 12).take(0, 3)
    x, y, ids = mmadv.rows.take((examples.x, examples.y, examples.ids), slice(1, 3))  # the first one is lost untouched
    least = torch.full((2,), float("inf"), dtype=torch.float64)
    for eps in (0.6, 2.4, 4.8):
        alone = mmadv.attack(uphill(), x, y, "rl.pgd", ids=ids, eps=eps, steps=3)
        assert int(alone.queries.sum()) > 0
        least = torch.minimum(least, 8.0 - alone.score)
        assert list(returns(records, eps).values())[1:] == least.tolist()
    # What was found at a smaller radius stands beside what did better, and both can be judged again.
    own = [one["row"] for one in records if one["success"] and one["origin_eps"] == one["eps"]]
    assert own == [1, 1, 2]
    assert all(one["queries"] > 0 for one in records if one["row"] == 1)  # it was asked for at each radius
    assert list(verify(Audit.of_folder(tmp_path / "run", default_host()))) == []
    shutil.rmtree(tmp_path / "run" / "shards" / "hill" / "rl.pgd")
    assert audit.run()["digest"] == summary["digest"]


@pytest.mark.parametrize("means", ["eps", "most"])
def test_reported_returns_fall_with_every_means_and_stay_above_the_worst_case(tmp_path, means):
    from mmadv import spec
    from mmadv.audit import Audit
    from mmadv.host import default_host
    from mmadv.report import tables
    from mmadv.report.parts import fragment
    from mmadv.runs import RunInfo
    from mmadv_rl.section import carried, clean_returns, returns, section
    from mmadv_rl.tabular import hill, uphill

    levels = [0.3, 0.6, 1.2, 2.4, 4.8] if means == "eps" else [1, 2, 3, 5, 9]
    campaign = """
      - name: {name}
        modality: rl
        target: {{factory: "mmadv_rl.tabular:uphill"}}
        data: {{factory: "mmadv_rl.tabular:hill", args: {{below: 0, horizon: 20}}}}
        threat: {{norm: linf, eps: {eps}{most}}}
        attacks: [rl.random, {{name: rl.pgd, steps: 3}}]"""
    if means == "eps":
        campaigns = campaign.format(name="hill", eps=levels, most="")
    else:
        campaigns = "".join(campaign.format(name=f"n{most}", eps=[4.8], most=f", most: {most}") for most in levels)
    Audit(spec.parse(f"title: returns\ncampaigns:{campaigns}"), tmp_path / "run", default_host()).run()
    run = RunInfo(tmp_path / "run", "returns", 1)
    found = tables.campaigns(run, "rl")
    policy, process = uphill().module, hill(horizon=20).game.instances
    with process(1) as (env,):
        table = env.table
    rises = 0
    for at in range(2):
        if means == "eps":
            records = tables.records(run, found[0], found[0]["attacks"][at])
            raw = [clean_returns(records), *(returns(records, eps) for eps in levels)]
            exact = [table.worst(policy, eps) for eps in [0.0, *levels]]
        else:
            records = [tables.records(run, one, one["attacks"][at]) for one in found]
            raw = [clean_returns(records[0]), *(returns(one, 4.8) for one in records)]
            exact = [table.worst(policy, 4.8, most) for most in [0, *levels]]
        told = carried(raw)
        for key in raw[0]:
            path = [one[key] for one in told]
            assert path == sorted(path, reverse=True)
            rises += [one[key] for one in raw] != path
            for value, bound in zip(path, exact, strict=True):
                assert value >= float(bound[int(key.split()[-1])]) - 1e-4
        assert told[-1] != told[0]
    html = fragment(section(run))
    assert ("against N" in html) == (means == "most")
    # The gap to the exact worst case, in figures, and ε in units of the untouched episode.
    bound = float(torch.stack([exact[-1][row] for row in range(9)]).mean())
    assert f">{bound:.4g}<" in html
    own = carried(raw if means == "eps" else [raw[0], raw[-1]])[-1]
    left = float(np.mean(list(own.values())))
    assert f">{left:.4g}, {(left - bound) / bound:.1%} above<" in html
    assert "normalised" in html
    # A chart for each campaign, and one more against N: two attacks, and the worst of them.
    assert html.count("<polyline") == 3 * (1 if means == "eps" else len(levels) + 1)
    assert rises  # as they were found they would not have fallen

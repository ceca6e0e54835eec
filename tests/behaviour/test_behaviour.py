"""Policies: learned by the real learner, kept without pickles, resumed, and mixed into datasets."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from dmh_lib.behaviour import collect as collecting
from dmh_lib.behaviour.collect import collect, keep, make_dataset
from dmh_lib.behaviour.config import Mixture, PPOConfig, SACConfig
from dmh_lib.behaviour.learn import _take_up, judge, learn
from dmh_lib.behaviour.learners import LEARNERS
from dmh_lib.behaviour.play import play
from dmh_lib.behaviour.policy import GaussianPolicy, load_policy, save_policy
from dmh_lib.errors import CheckpointError, DMHError, SettingError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SMALL = {"hidden": 16, "batch_size": 16, "save_every": 80, "judged_episodes": 1}
SAC = partial(SACConfig, **SMALL, random_steps=64)
PPO = partial(PPOConfig, **SMALL, rollout=10)


@pytest.fixture(scope="module", params=[SAC, PPO], ids=["sac", "ppo"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two points of Hopper's curve."""
    out = tmp_path_factory.mktemp("behaviour") / "hopper"
    learn(request.param("hopper", steps=160), out)
    return out


def test_a_run_keeps_a_policy_for_each_point(run: Path) -> None:
    names = ["step-00000080.safetensors", "step-00000160.safetensors"]
    assert sorted(path.name for path in (run / "policies").iterdir()) == names
    curve = json.loads((run / "curve.json").read_text())["curve"]
    assert [point["step"] for point in curve] == [80, 160]
    policy, about = load_policy(run / "policies" / names[1])
    assert about["env_id"] == "Hopper-v5"
    assert about["return"] == curve[1]["return"]
    np.testing.assert_allclose(judge(policy, "Hopper-v5", 1, seed=1000).mean(), about["return"])
    assert about["score"] == pytest.approx(100 * (about["return"] + 20.272305) / (3234.3 + 20.272305))


def test_the_policy_is_the_learner_s_actor(run: Path) -> None:
    """What the learner says of an observation, from its state on file, and what the policy's file says."""
    known = json.loads((run / "curve.json").read_text())["config"]
    make = SAC if known["learner"] == "sac" else PPO
    config = make("hopper", steps=160)
    learner = LEARNERS[config.learner](config)
    _take_up(learner, config, run)
    policy, _ = load_policy(run / "policies" / "step-00000160.safetensors")
    seen = np.random.default_rng(0).normal(size=(7, 11))
    env = learner.model.get_vec_normalize_env()
    theirs, _ = learner.model.predict(seen if env is None else env.normalize_obs(seen), deterministic=True)
    assert not np.allclose(theirs, 0)
    np.testing.assert_allclose(policy.act(seen), theirs, rtol=1e-4, atol=1e-5)
    _, spread = policy(torch.as_tensor(seen, dtype=torch.float32))
    actor = learner.model.policy.actor_state
    drawn = actor.apply_fn(actor.params, seen if env is None else env.normalize_obs(seen))
    inner = drawn.distribution if known["learner"] == "sac" else drawn
    np.testing.assert_allclose(spread.exp().detach(), inner.stddev(), rtol=1e-4)


@pytest.mark.parametrize("make", [SAC, PPO], ids=["sac", "ppo"])
def test_a_run_goes_on(make: Callable[..., SACConfig | PPOConfig], tmp_path: Path) -> None:
    """What is put down is taken up: weights, moments, memory; and other settings are refused."""
    out, config = tmp_path / "run", make("Pendulum-v1", steps=80)
    first = learn(config, out)
    before = load_file(out / "state-00000080" / "learner.safetensors")
    assert first["score"].isna().all()
    with pytest.raises(CheckpointError, match="holds a run already"):
        learn(config, out)
    again = learn(config, out, resume=True)  # nothing is left to do
    assert again["step"].tolist() == [80]
    more = learn(replace(config, steps=160), out, resume=True)
    assert more["step"].tolist() == [80, 160]
    after = load_file(out / "state-00000160" / "learner.safetensors")
    (moments,) = (name for name in after if name.startswith("['critic']") and name.endswith("[0].count"))
    memory = load_file(out / "state-00000160" / "memory.safetensors")
    if make is SAC:
        assert after[moments] == before[moments] + 40  # half as many updates as steps
        assert memory["rewards"].shape == (20, 8)
    else:
        assert after[moments] == 2 * before[moments]
        (rate,) = (name for name in after if name.startswith("['actor']") and "learning_rate" in name)
        assert before[rate] == pytest.approx(3e-4)  # the first rollout of one
        assert after[rate] == pytest.approx(1.5e-4)  # the second of two
        assert memory["observations.count"] == pytest.approx(160 + 8 + 8, abs=1)  # starts count as well
    assert not (out / "state-00000080").exists()
    assert learn(config, out, resume=True)["step"].tolist() == [80, 160]  # fewer than there are
    with pytest.raises(CheckpointError, match="field 'config'"):
        learn(replace(config, hidden=8, steps=160), out, resume=True)
    learner = out / "state-00000160" / "learner.safetensors"
    save_file(after | {moments: np.zeros(3)}, learner)
    with pytest.raises(CheckpointError, match=r"count has the shape \(3,\), not \(\)"):
        learn(config, out, resume=True)
    learner.write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="broken"):
        learn(config, out, resume=True)


def test_a_run_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever that was: a point without its state is learned again, and no state is gone before the next."""
    out, config = tmp_path / "run", SAC("Pendulum-v1", steps=160)
    first = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.name == ".state" and target.name.endswith("160"):
            raise KeyboardInterrupt
        return first(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        learn(config, out)
    monkeypatch.undo()
    assert (out / "state-00000080").exists()
    assert learn(config, out, resume=True)["step"].tolist() == [80, 160]


@pytest.mark.parametrize("env", ["CartPole-v1", "Nothing-v0"])
def test_environments_that_do_not_fit(env: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="environment: "):
        learn(PPOConfig(env, steps=16), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_settings_are_checked() -> None:
    with pytest.raises(SettingError, match="save_every"):
        PPOConfig(save_every=0)
    with pytest.raises(SettingError, match="learning_rate"):
        SACConfig(learning_rate=-1.0)


@pytest.mark.parametrize("squash", [True, False])
def test_actions_keep_their_bounds(squash: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    policy = GaussianPolicy(3, [-1.0, 0.0], [1.0, 5.0], hidden=8, squash=squash)
    policy.obs_std.fill_(2.0)
    seen = 100 * np.random.default_rng(0).normal(size=(50, 3))
    drawn = policy.act(seen, torch.Generator().manual_seed(0))
    assert (drawn >= [-1, 0]).all()
    assert (drawn <= [1, 5]).all()
    np.testing.assert_array_equal(drawn, policy.act(seen, torch.Generator().manual_seed(0)))
    assert not np.array_equal(drawn, policy.act(seen))
    save_policy(policy, tmp_path / "policy.safetensors", {})
    again, _ = load_policy(tmp_path / "policy.safetensors")
    np.testing.assert_array_equal(again.act(seen), policy.act(seen))


def test_files_that_are_no_policy(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    with pytest.raises(CheckpointError, match="does not exist"):
        load_policy(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="no policy, or broken"):
        load_policy(path)
    save_policy(GaussianPolicy(3, [-1.0], [1.0], hidden=8), path, {"score": 1})
    assert load_policy(path)[1] == {"score": 1, "squash": True}
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="no policy, or broken"):
        load_policy(path)
    for odd in (float("nan"), 1e30):
        policy = GaussianPolicy(3, [-1.0], [1.0], hidden=8)
        policy.obs_mean.fill_(odd)
        save_policy(policy, path, {})
        with pytest.raises(CheckpointError, match=r"obs_mean: must be float32, and no more than 1e\+06"):
            load_policy(path)


# ---------------------------------------------------------------------- datasets


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A run with a made-up curve: the first action of policy k is a sign of it."""
    scores = [5.0, 31.0, 44.0, 95.0, 40.0]
    points = []
    for number, score in enumerate(scores):
        policy = GaussianPolicy(11, [-1.0] * 3, [1.0] * 3, hidden=4)
        with torch.no_grad():
            policy.mu.weight.zero_()
            policy.mu.bias.fill_(0.2 * number - 0.4)
            policy.log_std.weight.zero_()
            policy.log_std.bias.fill_(-20)
        step = 10 * (number + 1)
        save_policy(policy, tmp_path / f"policies/step-{step:08d}.safetensors", {"env_id": "Hopper-v5"})
        points.append({"step": step, "score": score})
    (tmp_path / "curve.json").write_text(json.dumps({"config": {}, "curve": points}))
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "sources"),
    [("medium", [2]), ("expert", [3]), ("medium-expert", [2, 3]), ("medium-replay", [0, 1, 2])],
)
def test_what_is_mixed(mixed: Path, kind: str, sources: list[int]) -> None:
    data = make_dataset(mixed, Mixture(kind, 90))
    who = np.rint((np.arctanh(data.actions[:, 0]) + 0.4) / 0.2).astype(int)  # (N,)
    assert list(dict.fromkeys(who.tolist())) == sources
    counts = np.bincount(who, minlength=5)[sources]
    assert (counts >= 90 // len(sources)).all()
    assert [source["file"] for source in data.metadata["policies"]] == [
        f"step-{10 * (number + 1):08d}.safetensors" for number in sources
    ]
    assert data.metadata["env_id"] == "Hopper-v5"
    assert all(episode.terminated or episode.truncated for episode in data)
    assert make_dataset(mixed, Mixture(kind, 90)).data_hash() == data.data_hash()
    assert make_dataset(mixed, Mixture(kind, 90, seed=1)).data_hash() != data.data_hash()


def test_what_is_kept_of_a_run(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Datasets from it are those of the whole run, but for the replay's, which is of fewer policies."""
    out = tmp_path_factory.mktemp("kept") / "hopper"
    keep(mixed, out, replay=2)
    kept = keep(mixed, out, replay=1)  # in the place of the first
    with pytest.raises(CheckpointError, match="the run itself"):
        keep(mixed, mixed)
    assert [path.name[5:13] for path in kept.files] == ["00000010", "00000030", "00000040"]
    assert kept.scores.tolist() == [5, 44, 95]
    for kind in ("medium", "medium-expert", "expert"):
        assert (
            make_dataset(out, Mixture(kind, 90)).data_hash()
            == make_dataset(mixed, Mixture(kind, 90)).data_hash()
        )
    assert [one["score"] for one in make_dataset(out, Mixture("medium-replay", 90)).metadata["policies"]] == [
        5,
        44,
    ]
    assert (out / "curve.json").read_text() == (mixed / "curve.json").read_text()
    for path in out.glob("policies/*"):
        path.unlink()
    with pytest.raises(CheckpointError, match="without policies"):
        make_dataset(out, Mixture(steps=90))


def test_the_data_are_what_the_environment_says(mixed: Path) -> None:
    """Played again from the same seed, the actions bring the same rewards and observations."""
    policy, _ = load_policy(mixed / "policies" / "step-00000010.safetensors")
    data = play(policy, "Hopper-v5", 100, copies=2, seed=3)
    episodes = iter(data)
    for copy in range(2):
        env, steps = gym.make("Hopper-v5"), 0
        while steps < 50:
            observation, _ = env.reset(seed=3 + copy if steps == 0 else None)
            episode = next(episodes)
            for step in range(len(episode)):
                np.testing.assert_allclose(episode.observations[step], observation, rtol=1e-5, atol=1e-6)
                observation, reward, terminated, truncated, _ = env.step(episode.actions[step])
                assert episode.rewards[step] == pytest.approx(reward, rel=1e-5)
            assert (episode.terminated, episode.truncated) == (terminated, truncated)
            steps += len(episode)
        env.close()
    assert next(episodes, None) is None


def test_many_policies_make_one_run() -> None:
    torch.manual_seed(0)
    policies = [GaussianPolicy(11, [-1.0] * 3, [1.0] * 3, hidden=4) for _ in range(2)]
    data, alone = (
        collect(chosen, "Hopper-v5", 60 * len(chosen), seed=5) for chosen in (policies, policies[:1])
    )
    assert set(data.run_ids) == {0}
    assert data.num_steps > 120
    np.testing.assert_array_equal(data.actions[: alone.num_steps], alone.actions)


def test_runs_that_are_none(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(CheckpointError, match="no run here"):
        make_dataset(tmp_path_factory.mktemp("empty"))
    with pytest.raises(SettingError, match="kind"):
        Mixture("simple")
    (mixed / "curve.json").write_text('{"config": {}, "curve": [{"step": 10, "score": null}]}')
    with pytest.raises(CheckpointError, match="without policies that have scores"):
        make_dataset(mixed)
    for text in ("[]", '{"curve": 3}', f'{{"curve": [{{"step": 1{300 * "0"}, "score": 1}}]}}'):
        (mixed / "curve.json").write_text(text)
        with pytest.raises(DMHError, match=r"curve\.json: "):
            make_dataset(mixed)
    assert collecting.MEDIUM == 40

"""Play equals training: what the agent computes step by step is what the parallel model computes at once."""

import numpy as np
import pytest
import torch
from lifetimes import OBS, ROWS, STEPS, as_trajectories, lifetimes

from dmh_lib.agents import DMHAgent, PlayConfig
from dmh_lib.data.contexts import ContextConfig, ContextSampler
from dmh_lib.decode import Backend
from dmh_lib.errors import SettingError
from dmh_lib.models import DMH, DMHConfig

BACKENDS = ("fused", "eager")

CONFIGS = {
    "fused": {},
    "fused, return-to-go": {"use_return_to_go": True},
    "fused, wide sub-goal": {"subgoal_dim": 6},
    "fused, summary": {"chunk_summary": True},
    "fused, summary, waves": {"chunk_summary": True, "state_waves": 2},
    "fused, attention": {"memory": "attention"},
    "paper": {"tokens": "paper"},
    "paper, summary": {"tokens": "paper", "chunk_summary": True},
    "paper, waves": {"tokens": "paper", "state_waves": 3},
    "paper, attention, summary": {"tokens": "paper", "memory": "attention", "chunk_summary": True},
    "paper, return-to-go, scaled": {"tokens": "paper", "use_return_to_go": True, "reward_scale": 3.0},
}


def make_model(discrete: bool = True, **changes: object) -> DMH:
    torch.manual_seed(0)
    sizes = {"d_model": 32, "heads": 2, "chunk_len": 4, "discrete": discrete} | changes
    model = DMH(DMHConfig.small(OBS, 5 if discrete else 2, **sizes)).eval()
    model.obs_mean.normal_()
    model.obs_std.uniform_(0.5, 2)
    model.action_scale.uniform_(0.5, 2)
    return model


def play(agent: DMHAgent, life: tuple[np.ndarray, ...], forget: bool = False) -> dict[str, np.ndarray]:
    observations, rewards, terminations, truncations = life
    agent.begin(observations.shape[1], seed=0)
    kept: dict[str, list[np.ndarray]] = {"actions": [], "logits": [], "subgoals": [], "began": []}
    for step in range(len(observations)):
        kept["actions"].append(agent.act(observations[step]))
        for name in ("logits", "subgoals", "began"):
            kept[name].append(getattr(agent, name).copy())
        agent.observe(rewards[step], terminations[step], truncations[step])
        if forget:
            agent.forget(terminations[step] | truncations[step])
    return {name: np.stack(values) for name, values in kept.items()}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("name", CONFIGS)
def test_recurrent_play_equals_the_parallel_model(
    name: str, equal: bool, discrete: bool, backend: Backend
) -> None:
    model = make_model(discrete, **CONFIGS[name])
    life = lifetimes(equal)
    config = ContextConfig(STEPS, vary_length=False, order="lived", supervise="all")
    for row in range(ROWS):
        # the best return of a context is what its return-to-go aims at, so play must aim at the same
        probe = as_trajectories(life, np.zeros((STEPS, ROWS), dtype=int), row)
        agent = DMHAgent(model, PlayConfig(target_return=float(probe.returns.max())), backend=backend)
        played = play(agent, life)
        data = as_trajectories(life, played["actions"], row)
        sampler = ContextSampler(data, config, model.config.chunk_len, inside=model.config.chunk_summary)
        episodes = np.arange(data.num_episodes)[None]
        batch = sampler.build(episodes, np.array([data.num_episodes]))
        mean, _ = model.subgoals(batch)
        expected = torch.from_numpy(played["subgoals"][played["began"][:, row], row])
        torch.testing.assert_close(mean[0], expected, rtol=1e-4, atol=1e-4)
        outputs = model.predict(mean[0][batch.rows], batch.observations, batch.actions, batch.rewards)
        starts = sampler.table.starts[batch.rows]
        for chunk, start in enumerate(starts):
            length = int(batch.mask[chunk].sum())
            logits = torch.from_numpy(played["logits"][start : start + length, row])
            torch.testing.assert_close(outputs[chunk, :length], logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["fused", "paper"])
def test_batched_play_equals_single_play(name: str, backend: Backend) -> None:
    model = make_model(discrete=False, **CONFIGS[name])
    life = lifetimes(equal=False)
    together = play(DMHAgent(model, backend=backend), life)["actions"]
    for row in range(ROWS):
        one = tuple(part[:, row : row + 1] for part in life)
        alone = play(DMHAgent(model, backend=backend), one)["actions"]
        np.testing.assert_allclose(alone[:, 0], together[:, row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["fused", "paper"])
def test_forgetting_is_a_fresh_start(name: str, backend: Backend) -> None:
    model = make_model(discrete=False, **CONFIGS[name])
    life = lifetimes(equal=True)
    forgetful = play(DMHAgent(model, backend=backend), life, forget=True)["actions"]
    for start in range(0, STEPS, 10):
        episode = tuple(part[start : start + 10] for part in life)
        fresh = play(DMHAgent(model, backend=backend), episode)["actions"]
        np.testing.assert_allclose(forgetful[start : start + 10], fresh, rtol=1e-4, atol=1e-5)
    remembering = play(DMHAgent(model, backend=backend), life)["actions"]
    np.testing.assert_allclose(remembering[:10], fresh_first := forgetful[:10], rtol=1e-5)
    assert len(fresh_first) == 10
    assert not np.allclose(remembering[10:], forgetful[10:], atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_does_not_grow(backend: Backend) -> None:
    agent = DMHAgent(make_model(), backend=backend)
    life = lifetimes(equal=True)

    play(agent, life)
    assert (before := agent.state_bytes) > 0
    for step in range(STEPS):
        agent.act(life[0][step])
        agent.observe(*(part[step] for part in life[1:]))
    assert agent.state_bytes == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_that_do_not_fit_are_refused(backend: Backend) -> None:
    agent = DMHAgent(make_model(), backend=backend)
    agent.begin(3)
    flags = np.zeros(3, dtype=bool)
    for wrong in ((4, OBS), (3, OBS + 1), (3,), (OBS,)):
        with pytest.raises(SettingError, match="observations: expected shape"):
            agent.act(np.zeros(wrong))
    agent.act(np.zeros((3, OBS)))
    with pytest.raises(SettingError, match="rewards: expected shape"):
        agent.observe(np.zeros(1), flags, flags)
    with pytest.raises(SettingError, match="terminations and truncations: expected shape"):
        agent.observe(np.zeros(3), flags[:1], flags[:1])
    with pytest.raises(SettingError, match="rows: expected shape"):
        agent.forget(flags[:2])


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_memory_layout_and_what_is_kept_stays(backend: Backend) -> None:
    model = make_model()
    agent, plain = (
        DMHAgent(model, PlayConfig(target_return=np.float64(2)), backend=backend) for _ in range(2)
    )
    rng, flags = np.random.default_rng(0), np.zeros(ROWS, dtype=bool)
    agent.begin(ROWS, seed=0)
    plain.begin(ROWS, seed=0)
    kept = []
    for _ in range(6):
        observations = rng.normal(size=(ROWS, OBS))
        actions = agent.act(np.asfortranarray(observations))
        kept.append((agent.logits, agent.logits.copy()))
        np.testing.assert_array_equal(plain.act(observations.astype(np.float32)), actions)
        actions[:] = 0  # the environment's to do with as it likes
        for other in (agent, plain):
            other.observe(np.ones(ROWS), flags, flags)
    for logits, copy in kept:
        np.testing.assert_array_equal(logits, copy)


@pytest.mark.parametrize("backend", BACKENDS)
def test_changed_weights_play_from_the_next_begin_on(backend: Backend) -> None:
    model = make_model(discrete=False)
    life = lifetimes(equal=True)
    agent = DMHAgent(model, backend=backend)
    before = play(agent, life)["actions"]
    for parameter in model.parameters():
        parameter.data.mul_(1.1)
    np.testing.assert_allclose(
        play(agent, life)["actions"], play(DMHAgent(model), life)["actions"], atol=1e-4
    )
    assert not np.allclose(play(agent, life)["actions"], before, atol=1e-3)


def test_the_released_codes_window_slides_over_chunks() -> None:
    """Within an episode the transformer sees the last c steps; checked against recomputing that window."""
    model = make_model(discrete=False, tokens="paper", sliding_window=True)
    life = lifetimes(equal=True)
    played = play(DMHAgent(model), life)
    observations, rewards = torch.from_numpy(life[0]), torch.from_numpy(life[1])
    actions, subgoals = torch.from_numpy(played["actions"]), torch.from_numpy(played["subgoals"])
    for step in range(20):
        first = max(step // 10 * 10, step - model.config.chunk_len + 1)
        window = [
            part[first : step + 1].transpose(0, 1) for part in (subgoals, observations, actions, rewards)
        ]
        expected = model.predict(*window)[:, -1]
        torch.testing.assert_close(torch.from_numpy(played["logits"][step]), expected, rtol=1e-4, atol=1e-4)


def test_the_released_code_draws_a_subgoal_per_step() -> None:
    model = make_model(discrete=False, tokens="paper", resample_subgoal=True)
    model.planner.head.bias.data[OBS:] = 8.0  # wide, so that draws show
    life = lifetimes(equal=True)
    one, other = (play(DMHAgent(model), life)["actions"] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    model.planner.head.bias.data[OBS:] = -20.0
    assert not np.allclose(one, play(DMHAgent(model), life)["actions"], atol=1e-3)


def test_seed_and_temperature() -> None:
    model = make_model()
    life = lifetimes(equal=True)
    one, other = (play(DMHAgent(model), life)["actions"] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    greedy = play(DMHAgent(model, PlayConfig(temperature=0.0)), life)
    np.testing.assert_array_equal(greedy["actions"], greedy["logits"].argmax(-1))
    cold = play(DMHAgent(model, PlayConfig(temperature=1e-4)), life)["actions"]
    np.testing.assert_array_equal(cold, greedy["actions"])
    with pytest.raises(SettingError, match="temperature"):
        PlayConfig(temperature=-1.0)

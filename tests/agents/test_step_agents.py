"""The agents over single steps: cached, read again and recurrent, they say what the parallel model says."""

from typing import Any

import numpy as np
import pytest
import torch
from lifetimes import OBS, ROWS, STEPS, as_trajectories, lifetimes

from dmh_lib.agents import ADAgent, ATAgent, DTAgent, PlayConfig, StepAgent
from dmh_lib.data.chains import ChainConfig, ChainSampler
from dmh_lib.data.windows import EpisodeWindowSampler, WindowConfig
from dmh_lib.errors import SettingError
from dmh_lib.methods import method_of
from dmh_lib.models import ADConfig, ATConfig, DTConfig, StepConfig, StepModel

KINDS: dict[str, tuple[type[StepConfig], type[StepAgent]]] = {
    "AD": (ADConfig, ADAgent),
    "DT": (DTConfig, DTAgent),
    "AT": (ATConfig, ATAgent),
}
BACKBONES, TOKENS = ("transformer", "mamba"), ("fused", "paper")
LAYOUTS = [(kind, backbone, tokens) for kind in KINDS for backbone in BACKBONES for tokens in TOKENS]
WINDOWS = [(kind, tokens) for kind in KINDS for tokens in TOKENS]
# Mamba has nothing to read again
WAYS = [(*layout, True) for layout in LAYOUTS] + [
    (kind, "transformer", tokens, False) for kind, tokens in WINDOWS
]
NEAR = {"rtol": 1e-5, "atol": 2e-5}
TARGET = 2.5


def make_model(kind: str, backbone: str, tokens: str, discrete: bool = True, **changes: Any) -> StepModel:
    torch.manual_seed(0)
    settings = {"d_model": 32, "layers": 2, "d_state": 4, "context_len": 400, "discrete": discrete} | changes
    if kind != "DT":
        settings |= {"reward_scale": 3.0}
    if kind == "AT":
        settings |= {"state_waves": 1}
    config = KINDS[kind][0].small(OBS, 5 if discrete else 2, backbone=backbone, tokens=tokens, **settings)
    model = method_of(config).model(config).eval()
    assert isinstance(model, StepModel)
    model.obs_mean.normal_()
    model.obs_std.uniform_(0.5, 2)
    model.action_scale.uniform_(0.5, 2)
    if config.wants_target:
        model.return_scale.fill_(3.0)
    return model


def agent_of(model: StepModel, play: PlayConfig | None = None, cached: bool = True) -> StepAgent:
    kind = dict(KINDS.values())[type(model.config)]
    return kind(model, play or PlayConfig(target_return=TARGET), cached)


def play(
    agent: StepAgent, life: tuple[np.ndarray, ...], forgets: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Actions and logits (T, B, …); after step t the rows marked in `forgets` (T, B) forget."""
    observations, rewards, terminations, truncations = life
    agent.begin(observations.shape[1], seed=0)
    kept: dict[str, list[np.ndarray]] = {"actions": [], "logits": []}
    for step in range(len(observations)):
        kept["actions"].append(agent.act(observations[step]))
        kept["logits"].append(agent.logits.clone().numpy())
        agent.observe(rewards[step], terminations[step], truncations[step])
        if forgets is not None and forgets[step].any():
            agent.forget(forgets[step])
    return {name: np.stack(values) for name, values in kept.items()}


def window_starts(context_len: int, restarts: np.ndarray) -> list[int]:
    """The step at which the window of each step begins, for one row that forgets after `restarts` (T,)."""
    starts, start = [], 0
    for step in range(STEPS):
        if step - start == context_len:
            start = step - context_len // 2
        starts.append(start)
        if restarts[step]:
            start = step + 1
    return starts


def targets(life: tuple[np.ndarray, ...], forgets: np.ndarray, row: int) -> np.ndarray:
    """The return-to-go at each step of a row, (T,), which starts anew with an episode."""
    _, rewards, terminations, truncations = (part[:, row] for part in life)
    left, found = np.float32(TARGET), []
    for step in range(STEPS):
        found.append(left)
        over = terminations[step] or truncations[step] or forgets[step, row]
        left = np.float32(TARGET) if over else left - rewards[step]
    return np.array(found, dtype=np.float32)


NEVER = np.zeros((STEPS, ROWS), dtype=bool)


def seen_in_windows(
    model: StepModel, life: tuple[np.ndarray, ...], actions: np.ndarray, row: int, forgets: np.ndarray = NEVER
) -> torch.Tensor:
    """What the parallel model says of each step in its own window, (T, A)."""
    observations, rewards, terminations, truncations = life
    ended = terminations | truncations
    restarts = forgets[:, row] | (ended[:, row] if isinstance(model.config, DTConfig) else False)
    parts = [part[:, row] for part in (observations, actions, rewards, ended)]
    if model.config.wants_target:
        parts.append(targets(life, forgets, row))
    starts, said = np.array(window_starts(model.config.context_len, restarts)), []
    for start in np.unique(starts):  # a window's outputs are those of all windows that begin with it
        steps = np.flatnonzero(starts == start)
        window = (torch.from_numpy(part[start : steps[-1] + 1][None]) for part in parts)
        said.append(model.predict(*window)[0, steps - start])
    return torch.cat(said)


@torch.inference_mode()
@pytest.mark.parametrize(("equal", "discrete"), [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize(("kind", "backbone", "tokens"), LAYOUTS)
def test_play_equals_the_parallel_model(
    kind: str, backbone: str, tokens: str, equal: bool, discrete: bool
) -> None:
    """With memories that never overflow, on every row."""
    model = make_model(kind, backbone, tokens, discrete)
    life = lifetimes(equal)
    for cached in (True, False) if backbone == "transformer" else (True,):
        played = play(agent_of(model, cached=cached), life)
        for row in range(ROWS):
            said = seen_in_windows(model, life, played["actions"], row)
            torch.testing.assert_close(said, torch.from_numpy(played["logits"][:, row]), **NEAR)


@torch.inference_mode()
@pytest.mark.parametrize("backbone", BACKBONES)
def test_an_episode_that_meets_its_target_is_what_dt_was_trained_on(backbone: str) -> None:
    """Asked for the return that an episode turns out to have, play is the sampler's window of it."""
    model, life = make_model("DT", backbone, "paper"), lifetimes(equal=True)
    actions = np.random.default_rng(0).integers(5, size=(STEPS, ROWS))
    data = as_trajectories(life, actions, row=0)
    sampler = EpisodeWindowSampler(data, WindowConfig(), model.config.context_len)
    for episode in range(data.num_episodes):
        part = tuple(values[10 * episode : 10 * episode + 10, :1] for values in life)
        agent = agent_of(model, PlayConfig(target_return=float(data.returns[episode])))
        played = play(agent, part)
        batch = sampler.build(np.array([episode]))
        batch.actions = torch.from_numpy(played["actions"].T)
        found = model.predict(
            batch.observations, batch.actions, batch.rewards, batch.ended, batch.returns_to_go
        )
        torch.testing.assert_close(found[0], torch.from_numpy(played["logits"][:, 0]), **NEAR)


@torch.inference_mode()
@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_life_that_reaches_its_target_is_what_at_was_trained_on(backbone: str, tokens: str) -> None:
    model, life = make_model("AT", backbone, tokens), lifetimes(equal=False)
    for row in range(ROWS):
        probe = as_trajectories(life, np.zeros((STEPS, ROWS), dtype=int), row)
        played = play(agent_of(model, PlayConfig(target_return=float(probe.returns.max()))), life)
        data = as_trajectories(life, played["actions"], row)
        episodes = np.arange(data.num_episodes)[None]
        sampler = ChainSampler(data, ChainConfig(data.num_episodes, order="lived"), model.config.context_len)
        batch = sampler.build(episodes, np.array([data.num_episodes]))
        found = model.predict(
            batch.observations, batch.actions, batch.rewards, batch.ended, batch.returns_to_go
        )
        torch.testing.assert_close(found[0], torch.from_numpy(played["logits"][:, row]), **NEAR)


@torch.inference_mode()
@pytest.mark.parametrize("context_len", [2, 7, 16])
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(("kind", "tokens"), WINDOWS)
def test_a_full_window_goes_on_from_its_newest_half(
    kind: str, tokens: str, cached: bool, context_len: int
) -> None:
    model = make_model(kind, "transformer", tokens, context_len=context_len)
    life = lifetimes(equal=False)
    played = play(agent_of(model, cached=cached), life)
    said = seen_in_windows(model, life, played["actions"], row=1)
    torch.testing.assert_close(said, torch.from_numpy(played["logits"][:, 1]), **NEAR)


@pytest.mark.parametrize(("forgetting", "discrete"), [(False, True), (True, False)])
@pytest.mark.parametrize(("kind", "tokens"), WINDOWS)
def test_the_cache_changes_nothing(kind: str, tokens: str, forgetting: bool, discrete: bool) -> None:
    model = make_model(kind, "transformer", tokens, discrete, context_len=16)
    life = lifetimes(equal=False)
    forgets = life[2] | life[3] if forgetting else None
    cached, again = (play(agent_of(model, cached=how), life, forgets) for how in (True, False))
    np.testing.assert_allclose(cached["logits"], again["logits"], **NEAR)
    np.testing.assert_allclose(cached["actions"], again["actions"], **NEAR)


@torch.inference_mode()
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(("kind", "tokens"), WINDOWS)
def test_rows_that_forgot_roll_over_on_their_own(kind: str, tokens: str, cached: bool) -> None:
    """Rows forget at steps of their own, so their windows fill up at different times."""
    model = make_model(kind, "transformer", tokens, context_len=16)
    life = lifetimes(equal=False)
    forgets = np.zeros((STEPS, ROWS), dtype=bool)
    for row, steps in enumerate(([], [4], [4, 30, 31], [20, 55])):
        forgets[steps, row] = True
    played = play(agent_of(model, cached=cached), life, forgets)
    for row in range(ROWS):
        said = seen_in_windows(model, life, played["actions"], row, forgets)
        torch.testing.assert_close(said, torch.from_numpy(played["logits"][:, row]), **NEAR)


@pytest.mark.parametrize(("kind", "backbone", "tokens"), LAYOUTS)
def test_batched_play_equals_single_play(kind: str, backbone: str, tokens: str) -> None:
    model = make_model(kind, backbone, tokens, discrete=False, context_len=16)
    life = lifetimes(equal=False)
    together = play(agent_of(model), life)["actions"]
    for row in (0, ROWS - 1):
        alone = play(agent_of(model), tuple(part[:, row : row + 1] for part in life))["actions"]
        np.testing.assert_allclose(alone[:, 0], together[:, row], **NEAR)


@pytest.mark.parametrize(("kind", "backbone", "tokens", "cached"), WAYS)
def test_forgetting_is_a_fresh_start_for_the_marked_rows_alone(
    kind: str, backbone: str, tokens: str, cached: bool
) -> None:
    model = make_model(kind, backbone, tokens, discrete=False, context_len=16)
    life = lifetimes(equal=True)
    forgets = np.zeros((STEPS, ROWS), dtype=bool)
    forgets[9::10, :2] = True
    mixed = play(agent_of(model, cached=cached), life, forgets)["actions"]
    remembering = play(agent_of(model, cached=cached), life)["actions"]
    np.testing.assert_allclose(mixed[:, 2:], remembering[:, 2:], **NEAR)
    for start in range(0, STEPS, 10):
        part = tuple(values[start : start + 10] for values in life)
        fresh = play(agent_of(model, cached=cached), part)["actions"]
        np.testing.assert_allclose(mixed[start : start + 10, :2], fresh[:, :2], **NEAR)
    # what forgets by itself at an episode's end has nothing left to forget
    assert np.allclose(mixed[10:, :2], remembering[10:, :2], atol=1e-4) is (kind == "DT")


@pytest.mark.parametrize(("kind", "backbone", "tokens", "cached"), WAYS)
def test_memory_does_not_grow(kind: str, backbone: str, tokens: str, cached: bool) -> None:
    agent = agent_of(make_model(kind, backbone, tokens, context_len=16), cached=cached)

    def size() -> int:
        """Numbers held in all tensors that can be reached from the memory."""
        total, left = 0, [value for value in vars(agent._memory).values() if value is not agent.model]
        while left:
            value = left.pop()
            if isinstance(value, torch.Tensor):
                total += value.numel()
            elif isinstance(value, list | tuple):
                left.extend(value)
            elif hasattr(value, "positions"):
                left.extend(vars(value).values())
        return total

    agent.begin(ROWS)
    before = size()
    play(agent, lifetimes(equal=True))
    assert size() == before > 0


def test_mamba_reads_nothing_again() -> None:
    with pytest.raises(SettingError, match="cached"):
        ADAgent(make_model("AD", "mamba", "fused"), cached=False)


@pytest.mark.parametrize("backbone", ["transformer", "mamba"])
def test_seed_and_temperature(backbone: str) -> None:
    model = make_model("AD", backbone, "fused")
    life = lifetimes(equal=True)
    one, other = (play(agent_of(model), life)["actions"] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    greedy = play(agent_of(model, PlayConfig(temperature=0.0)), life)
    np.testing.assert_array_equal(greedy["actions"], greedy["logits"].argmax(-1))
    cold = play(agent_of(model, PlayConfig(temperature=1e-4)), life)["actions"]
    np.testing.assert_array_equal(cold, greedy["actions"])
    assert (one != greedy["actions"]).any()


@pytest.mark.parametrize(
    ("kind", "backbone", "tokens", "length"),
    [("AD", "transformer", "fused", length) for length in (7, 16, 17, 40)]
    + [(*layout, 55) for layout in LAYOUTS],
)
def test_reading_a_history_is_as_good_as_living_it(
    kind: str, backbone: str, tokens: str, length: int
) -> None:
    """Shorter than the window, as long, just rolled over, and rolled over more than once."""
    model = make_model(kind, backbone, tokens, context_len=16)
    life = lifetimes(equal=False)
    lived = agent_of(model)
    played = play(lived, life)
    observations, rewards, terminations, truncations = life
    for cached in (True, False) if backbone == "transformer" else (True,):
        agent = agent_of(model, cached=cached)
        agent.begin(ROWS)
        history = observations, played["actions"], rewards, terminations | truncations
        agent.read(*(part[:length] for part in history))
        for step in range(length, STEPS):
            agent.act(observations[step])
            np.testing.assert_allclose(agent.logits.numpy(), played["logits"][step], **NEAR)
            agent._last_action = torch.from_numpy(played["actions"][step])
            agent.observe(rewards[step], terminations[step], truncations[step])

"""What an NVIDIA GPU computes is what the CPU computes. Where there is none, these tests say so and stop."""

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from lifetimes import OBS, ROWS, STEPS, lifetimes, random_trajectories
from torch import Tensor

from dmh_lib.agents import DMHAgent, PlayConfig
from dmh_lib.checkpoints import load_checkpoint
from dmh_lib.data.histories import make_histories
from dmh_lib.data.searcher import SearcherConfig
from dmh_lib.envs import make_split
from dmh_lib.evaluation import evaluate_split
from dmh_lib.mamba import Mamba, selective_scan
from dmh_lib.mamba.conv import causal_conv, causal_conv_torch
from dmh_lib.mamba.scan import cuda_kernels_installed
from dmh_lib.methods import METHODS, method_named
from dmh_lib.models import DMH, ActionModel, ADConfig, DMHConfig, DTConfig, ModelConfig
from dmh_lib.train_config import TrainConfig
from dmh_lib.training import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
needs_mamba_ssm = pytest.mark.skipif(
    not torch.cuda.is_available() or not cuda_kernels_installed(), reason="needs mamba-ssm"
)

SIZES = {"d_model": 32}
NEAR = {"rtol": 2e-3, "atol": 2e-4}  # sums in another order, and mamba-ssm's fast exponentials
SHAPES = {
    "one": {"batch": 1, "channels": 1, "length": 1, "states": 2},
    "odd": {"batch": 3, "channels": 5, "length": 77, "states": 4},
    "a chunk and more": {"batch": 2, "channels": 32, "length": 2049, "states": 16},
    "groups": {"batch": 2, "channels": 6, "length": 33, "states": 8, "groups": 3},
}


@pytest.fixture(autouse=True)
def _exact_products() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def inputs_of(batch: int, channels: int, length: int, states: int, groups: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(0)
    shared = (groups,) if groups else ()
    return {
        "u": torch.randn(batch, channels, length),
        "delta": torch.rand(batch, channels, length) - 1.0,
        "A": -torch.exp(torch.randn(channels, states)),
        "B": torch.randn(batch, *shared, states, length),
        "C": torch.randn(batch, *shared, states, length),
        "D": torch.randn(channels),
        "z": torch.randn(batch, channels, length),
        "delta_bias": torch.rand(channels),
    }


def scanned(inputs: dict[str, Tensor], device: str, backend: str | None) -> list[Tensor]:
    """Output, last state and every gradient, on the CPU."""
    leaves = {name: part.to(device).requires_grad_() for name, part in inputs.items()}
    out, last = selective_scan(**leaves, delta_softplus=True, return_last_state=True, backend=backend)
    torch.manual_seed(1)
    gradients = torch.autograd.grad((out * torch.randn(out.shape).to(device)).sum(), list(leaves.values()))
    return [part.detach().cpu() for part in (out, last, *gradients)]


@pytest.mark.parametrize("backend", ["torch", pytest.param("cuda", marks=needs_mamba_ssm)])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_scan(shape: str, backend: str) -> None:
    inputs = inputs_of(**SHAPES[shape])
    for found, expected in zip(scanned(inputs, "cuda", backend), scanned(inputs, "cpu", None), strict=True):
        scale = expected.abs().max().clamp(min=1)
        torch.testing.assert_close(found / scale, expected / scale, **NEAR)


@pytest.mark.parametrize("kernel", [2, 4, 6])
def test_the_convolution(kernel: int) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(3, 50, 24), torch.randn(24, 1, kernel), torch.randn(24)
    found = causal_conv(x.cuda(), weight.cuda(), bias.cuda())
    torch.testing.assert_close(found.cpu(), causal_conv_torch(x, weight, bias), **NEAR)


def test_the_block_whole_and_step_by_step() -> None:
    torch.manual_seed(0)
    block = Mamba(d_model=32)
    hidden = torch.randn(3, 40, 32)
    expected = block(hidden)
    block.cuda()
    torch.testing.assert_close(block(hidden.cuda()).cpu(), expected, **NEAR)
    states = block.allocate_inference_cache(3, 0)
    steps = torch.cat([block.step(token, *states)[0] for token in hidden.cuda().split(1, dim=1)], dim=1)
    torch.testing.assert_close(steps.cpu(), expected, **NEAR)


@needs_mamba_ssm
def test_the_block_is_mamba_ssms() -> None:
    """Its state dict moves both ways, and both compute one function, whole and step by step."""
    from mamba_ssm import Mamba as Theirs

    torch.manual_seed(0)
    ours, theirs = Mamba(d_model=32).cuda(), Theirs(d_model=32).cuda()
    hidden = torch.randn(2, 50, 32, device="cuda")
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(hidden), theirs(hidden), **NEAR)
    states, their_states = (block.allocate_inference_cache(2, 0) for block in (ours, theirs))
    for token in hidden.split(1, dim=1):
        one, other = ours.step(token, *states)[0], theirs.step(token, *their_states)[0]
        torch.testing.assert_close(one, other, **NEAR)
    theirs.load_state_dict(Mamba(d_model=32).state_dict())


def pair(name: str, discrete: bool, **changes: object) -> tuple[ActionModel, ActionModel]:
    """A model on the CPU and the same one on the GPU."""
    torch.manual_seed(0)
    method = method_named(name)
    sizes = {"obs_dim": OBS, "action_dim": 4 if discrete else 2, "discrete": discrete} | SIZES | changes
    model = method.model(method.config.small(**sizes))
    return model, copy.deepcopy(model).cuda()


KINDS = [(name, discrete) for name in METHODS for discrete in (True, False) if discrete or name != "dpt"]
MORE = {
    "dm-h": [{}, {"tokens": "paper"}, {"chunk_summary": True, "state_waves": 2}, {"memory": "attention"}],
    "ad": [{}, {"backbone": "mamba"}],
}
VARIANTS = [(name, discrete, changes) for name, discrete in KINDS for changes in MORE.get(name, [{}])]


@pytest.mark.parametrize(("name", "discrete", "changes"), VARIANTS)
def test_losses_and_gradients(name: str, discrete: bool, changes: dict, monkeypatch) -> None:
    monkeypatch.setattr(DMH, "sample_subgoals", lambda self, mean, log_variance: mean + log_variance)
    if name == "dpt":  # learns from optimal actions, which made-up data do not know
        data = make_histories(make_split("darkroom", num_train=3), SearcherConfig(2, episodes=3))
    else:
        data = random_trajectories(discrete, runs=(6, 6))
    method = method_named(name)
    model, other = pair(name, discrete, obs_dim=data.obs_dim, action_dim=data.action_dim, **changes)
    batch = method.sampler(data, method.draws(), model.config, 0).sample(4)
    gradients = []
    for each, device in ((model, "cpu"), (other, "cuda")):
        loss = each.train()(batch.to(torch.device(device)))
        loss.total.backward()
        found = {key: part.grad.cpu() for key, part in each.named_parameters() if part.grad is not None}
        gradients.append({"loss": loss.total.detach().cpu()} | found)
    assert gradients[0].keys() == gradients[1].keys()
    for key, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], expected, **NEAR, msg=lambda text, key=key: key + text)


def lived(agent, actions: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What an agent chose and said at each step of made-up lives, in which `actions` were taken, if given."""
    observations, rewards, terminations, truncations = lifetimes(equal=False)
    agent.begin(ROWS, seed=0)
    chosen, said = [], []
    for step in range(STEPS):
        chosen.append(agent.act(observations[step]))
        logits = agent.logits
        said.append(logits.cpu().numpy() if isinstance(logits, Tensor) else np.array(logits))
        taken = None if actions is None else actions[step]
        agent.observe(rewards[step], terminations[step], truncations[step], taken)
    return np.stack(chosen), np.stack(said)


@pytest.mark.parametrize(("name", "discrete", "changes"), VARIANTS)
def test_agents_say_the_same(name: str, discrete: bool, changes: dict) -> None:
    model, other = pair(name, discrete, **changes)
    agent = method_named(name).agent
    actions, expected = lived(agent(model, PlayConfig()))
    _, said = lived(agent(other, PlayConfig()), actions)
    np.testing.assert_allclose(said, expected, rtol=5e-3, atol=5e-4)


@pytest.mark.parametrize("tokens", ["fused", "paper"])
def test_the_recorded_graph_is_the_plain_step(tokens: str) -> None:
    _, model = pair("dm-h", True, tokens=tokens)
    actions, expected = lived(DMHAgent(model, backend="eager"))
    _, said = lived(DMHAgent(model, backend="graph"), actions)
    np.testing.assert_allclose(said, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [DMHConfig.small(2, 5, **SIZES), ADConfig.small(2, 5, **SIZES), DTConfig.small(2, 5, backbone="mamba")],
    ids=["dm-h", "ad", "dm"],
)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_goes_on_where_it_stopped(config: ModelConfig, precision: str, tmp_path: Path) -> None:
    """Sums on a GPU are not always rounded alike: a resumed run is near, where on a CPU it is equal."""
    split = make_split("darkroom", num_train=5)
    data = make_histories(split, SearcherConfig(runs_per_task=2, episodes=6))
    training = TrainConfig(updates=6, batch_size=4, warmup=2, checkpoint_every=3, precision=precision)
    whole = train(data, config, tmp_path / "whole", config=training)
    (tmp_path / "cut").mkdir()
    (tmp_path / "whole" / "checkpoint-00000003").rename(tmp_path / "cut" / "checkpoint-00000003")
    resumed = train(data, config, tmp_path / "cut", config=training, resume=True)
    assert whole.model.obs_mean.is_cuda
    tolerance = 1e-3 if precision == "32-true" else 2e-2
    for one, other in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    on_cpu = load_checkpoint(whole.checkpoint).model
    assert not on_cpu.obs_mean.is_cuda
    for model in (whole.model.float(), on_cpu):
        table = evaluate_split(model, split, "test", episodes=2, play=PlayConfig())
        assert np.isfinite(table["return"]).all()

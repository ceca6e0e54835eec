"""The fused scan against the float64 reference, and the function that chooses between backends."""

import subprocess
import sys
from types import ModuleType

import numba
import pytest
import torch
from torch import Tensor

from dmh_lib.errors import SettingError
from dmh_lib.mamba import scan, scan_numba, selective_scan
from dmh_lib.mamba.scan_torch import selective_scan_torch
from dmh_lib.warm_up import warm_up

NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
TOLERANCE = 1e-5  # relative to the largest value
ROUNDING = 2**-8  # half a unit in the last place of bfloat16: results are rounded once, at the very end


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    warm_up()


def make_inputs(
    batch: int = 2, channels: int = 6, length: int = 7, states: int = 4, b="shared", c="shared", optional=True
) -> dict[str, Tensor | None]:
    generator = torch.Generator().manual_seed(length + states)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def matrix(kind: str | int) -> Tensor:
        if kind == "fixed":
            return normal(channels, states)
        groups = () if kind == "shared" else (kind,)
        return normal(batch, *groups, states, length)

    return {
        "u": normal(batch, channels, length),
        "delta": 0.1 + 0.3 * torch.rand(batch, channels, length, generator=generator),
        "A": -torch.exp(normal(channels, states)),
        "B": matrix(b),
        "C": matrix(c),
        "D": normal(channels) if optional else None,
        "z": normal(batch, channels, length) if optional else None,
        "delta_bias": 0.3 * torch.rand(channels, generator=generator) if optional else None,
    }


def relative(result: Tensor, expected: Tensor) -> float:
    scale = expected.abs().max().clamp(min=1e-30)
    return ((result.double() - expected.double()).abs().max() / scale).item()


def run(inputs: dict[str, Tensor | None], softplus: bool = True, **options) -> dict[str, Tensor]:
    """Outputs and the gradient of every input, for fixed cotangents of out and of the last state."""
    leaves = {name: x.detach().requires_grad_() for name, x in inputs.items() if x is not None}
    out, last = selective_scan(**leaves, delta_softplus=softplus, return_last_state=True, **options)
    generator = torch.Generator().manual_seed(0)
    # cotangents that bfloat16 holds exactly, since autograd gives them the dtype of out
    cotangents = [torch.randn(x.shape, generator=generator).bfloat16() for x in (out, last)]
    loss = sum((x.double() * y).sum() for x, y in zip((out, last), cotangents, strict=True))
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {"out": out, "last": last, **dict(zip(leaves, gradients, strict=True))}


def double(inputs: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
    return {name: None if x is None else x.double() for name, x in inputs.items()}


def assert_agrees(inputs: dict[str, Tensor | None], softplus: bool = True) -> None:
    """In float32, and in bfloat16 with the inputs rounded for both sides."""
    for dtype, tolerance in ((torch.float32, TOLERANCE), (torch.bfloat16, TOLERANCE + ROUNDING)):
        rounded = {name: None if x is None else x.to(dtype) for name, x in inputs.items()}
        result, expected = run(rounded, softplus, backend="numba"), run(double(rounded), softplus)
        errors = {name: relative(result[name], expected[name]) for name in expected}
        assert errors.pop("last") < TOLERANCE
        assert max(errors.values()) < tolerance, errors
        assert all(x.dtype == dtype for name, x in result.items() if name != "last")


@pytest.mark.parametrize("length", [1, 2, 7, 64, 65, 130, 1000])
@pytest.mark.parametrize("states", [1, 4, 5, 16])
def test_every_length_and_state_size(length: int, states: int):
    assert_agrees(make_inputs(length=length, states=states))


@pytest.mark.parametrize(
    ("b", "c"), [("fixed", "fixed"), ("fixed", 2), ("shared", "fixed"), (2, 2), (2, "shared")]
)
@pytest.mark.parametrize("softplus", [True, False])
def test_constant_and_grouped_matrices(b: str | int, c: str | int, softplus: bool):
    assert_agrees(make_inputs(b=b, c=c, length=70), softplus)


@pytest.mark.parametrize(
    "missing", [*[(name,) for name in ("D", "z", "delta_bias")], ("D", "z", "delta_bias")]
)
def test_optional_inputs(missing: tuple[str, ...]):
    inputs = make_inputs(length=20)
    assert_agrees({name: None if name in missing else x for name, x in inputs.items()})


# 16 channels fill the lanes and 64 a task; lengths around 16 exercise whole squares and their rests.
@pytest.mark.parametrize("channels", [1, 16, 33, 70, 160])
@pytest.mark.parametrize("length", [5, 40, 97])
def test_every_number_of_channels(channels: int, length: int):
    assert_agrees(make_inputs(channels=channels, length=length))


def test_long_sequence():
    assert_agrees(make_inputs(batch=1, channels=2, length=4096, states=2))


def test_positive_rates():
    inputs = make_inputs(length=30)
    assert_agrees(inputs | {"A": -0.2 * inputs["A"]})


def test_large_and_tiny_steps():
    inputs = make_inputs(length=50)
    inputs["delta"] = torch.linspace(-12, 40, inputs["delta"].numel()).view_as(inputs["delta"])
    assert_agrees(inputs)


@pytest.mark.parametrize("channels", [6, 32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_non_contiguous_inputs(channels: int, dtype: torch.dtype):
    inputs = {name: x.to(dtype) for name, x in make_inputs(channels=channels, length=37).items()}
    strided = {name: torch.stack([x, x], dim=-1)[..., 0] for name, x in inputs.items()}
    last = {name: x.mT.contiguous().mT if x.dim() > 1 else x for name, x in inputs.items()}
    expected = run(inputs, backend="numba")
    for views in (strided, last):
        result = run(views, backend="numba")
        assert all(relative(result[name], expected[name]) < TOLERANCE for name in expected)
    out = selective_scan(**last)
    assert out.mT.is_contiguous()  # channel-last in, channel-last out


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_half_precision(dtype: torch.dtype, backend: str):
    inputs = {name: x.to(dtype) for name, x in make_inputs(length=40).items()}
    result, expected = run(inputs, backend=backend), run(double(inputs))
    assert result["out"].dtype == dtype
    assert result["last"].dtype == torch.float32
    assert all(result[name].dtype == dtype for name in NAMES)
    assert all(relative(result[name], expected[name]) < 1e-2 for name in expected)


@pytest.mark.parametrize("missing", [(), ("z",)])
def test_bfloat16_is_not_copied_to_float32(missing: tuple[str, ...]):
    inputs = {name: x.bfloat16().requires_grad_() for name, x in make_inputs().items() if name not in missing}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        selective_scan(**inputs, backend="numba")
    wide = [x for x in kept if x.shape == inputs["u"].shape]
    given = [inputs[name] for name in ("u", "delta", "z") if name in inputs]
    assert {x.data_ptr() for x in wide} == {x.data_ptr() for x in given}


@pytest.mark.parametrize("odd", ["u", "delta", "z"])
def test_mixed_precision(odd: str):
    inputs = make_inputs(length=40)
    mixed = {name: x.to(torch.float32 if name == odd else torch.bfloat16) for name, x in inputs.items()}
    result, expected = run(mixed, backend="numba"), run(double(mixed))
    assert all(result[name].dtype == x.dtype for name, x in mixed.items())
    assert all(relative(result[name], expected[name]) < TOLERANCE + ROUNDING for name in expected)


def test_returns_out_alone_unless_asked():
    inputs = make_inputs()
    out, last = selective_scan(**inputs, return_last_state=True)
    assert (out.shape, last.shape, last.dtype) == ((2, 6, 7), (2, 6, 4), torch.float32)
    assert torch.equal(selective_scan(**inputs), out)


def test_last_state_continues_the_sequence():
    inputs = make_inputs(length=20, optional=False)
    whole = selective_scan(**inputs, return_last_state=True)[1]
    parts = [
        {name: x[..., piece] if name in ("u", "delta", "B", "C") else x for name, x in inputs.items()}
        for piece in (slice(0, 12), slice(12, 20))
    ]
    first, second = (selective_scan(**part, return_last_state=True)[1] for part in parts)
    decay = torch.exp(parts[1]["delta"].sum(-1)[..., None] * inputs["A"])  # (B, D, N) over the second part
    torch.testing.assert_close(decay * first + second, whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nan_is_not_hidden(dtype: torch.dtype):
    for name in ("u", "delta", "A"):
        inputs = {key: x.to(dtype) for key, x in make_inputs().items()}
        inputs[name].view(-1)[0] = torch.nan
        assert selective_scan(**inputs, delta_softplus=True).isnan().any()


def test_reference_gradients():
    inputs = make_inputs(batch=1, channels=2, length=3, states=2, b=2)
    leaves = tuple(x.double().requires_grad_() for x in inputs.values())
    assert torch.autograd.gradcheck(lambda *x: selective_scan_torch(*x, True), leaves)


def test_threads_and_repetition_change_no_bit():
    inputs = make_inputs(batch=3, channels=140, length=100)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            results.append(run(inputs, backend="numba"))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0][name], other[name]) for other in results[1:] for name in other)


@pytest.mark.parametrize("threads", [1, 2])
def test_kernels_take_as_many_threads_as_pytorch(threads: int, monkeypatch: pytest.MonkeyPatch):
    kernel, counts = scan_numba.forward_kernel(), []

    def counting(*args):
        counts.append(numba.get_num_threads())
        kernel(*args)

    monkeypatch.setattr(scan_numba, "forward_kernel", lambda bfloat16: counting)
    before, own = torch.get_num_threads(), numba.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for length in (2, 2000):  # too short to share, and long
            selective_scan(**make_inputs(channels=64, length=length, states=16))
    finally:
        torch.set_num_threads(before)
    assert counts == [1, min(threads, numba.config.NUMBA_NUM_THREADS)]
    assert numba.get_num_threads() == own


def test_kernels_leave_pytorchs_threads_alone():
    """Numba starts threads with the first parallel call in a process, and sets OpenMP's number with them."""
    code = (
        "import torch; torch.set_num_threads(1); from dmh_lib.mamba import Mamba;"
        "Mamba(16)(torch.randn(1, 4, 16)).sum().backward(); print(torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


class OnDevice:
    """What the choice of a backend looks at."""

    def __init__(self, device: str, dtype: torch.dtype = torch.float32):
        self.device, self.dtype = torch.device(device), dtype


@pytest.mark.parametrize(
    ("wanted", "device", "installed", "chosen"),
    [
        (None, "cpu", True, "numba"),
        (None, "cuda", True, "cuda"),
        (None, "cuda", False, "torch"),
        (None, "mps", True, "torch"),
        ("torch", "cpu", True, "torch"),
        ("torch", "cuda", True, "torch"),
        ("numba", "cpu", False, "numba"),
        ("cuda", "cuda", True, "cuda"),
    ],
)
def test_choice_of_backend(monkeypatch, wanted, device, installed, chosen):
    monkeypatch.setattr(scan, "cuda_kernels_installed", lambda: installed)
    assert scan._choose(wanted, OnDevice(device)) == chosen
    assert scan._choose(wanted, OnDevice(device, torch.float64)) == "torch"


@pytest.mark.parametrize(
    ("wanted", "device", "installed", "message"),
    [
        ("numba", "cuda", True, "needs tensors on the CPU"),
        ("cuda", "cpu", True, "needs tensors on an NVIDIA GPU"),
        ("cuda", "cuda", False, "pip install"),
        ("triton", "cpu", True, "unknown"),
    ],
)
def test_impossible_backend(monkeypatch, wanted, device, installed, message):
    monkeypatch.setattr(scan, "cuda_kernels_installed", lambda: installed)
    with pytest.raises(SettingError, match=f"backend: .*{message}"):
        scan._choose(wanted, OnDevice(device))


def test_cuda_backend_calls_mamba_ssm(monkeypatch):
    interface = ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.selective_scan_fn = lambda *args: args
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    monkeypatch.setattr(scan, "_choose", lambda backend, u: "cuda")
    inputs = make_inputs()
    assert selective_scan(**inputs, return_last_state=True) == (*inputs.values(), False, True)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("u", (2, 6), r"\(B, D, L\)"),
        ("u", (2, 6, 0), r"L >= 1"),
        ("delta", (2, 6, 8), r"\(2, 6, 7\)"),
        ("A", (5, 4), r"\(6, N\)"),
        ("B", (2, 5, 7), r"\(B, N, L\) = \(2, 4, 7\)"),
        ("B", (2, 4, 4, 7), r"G dividing 6"),
        ("C", (6, 5), r"\(D, N\) = \(6, 4\)"),
        ("C", (2, 3, 4, 8), r"\(B, G, N, L\) = \(2, 3, 4, 7\)"),
        ("D", (5,), r"\(6,\)"),
        ("z", (2, 6, 8), r"\(2, 6, 7\)"),
        ("delta_bias", (6, 1), r"\(6,\)"),
    ],
)
def test_wrong_shape(name: str, shape: tuple[int, ...], expected: str):
    with pytest.raises(SettingError, match=f"^{name}: expected shape.*{expected}"):
        selective_scan(**make_inputs() | {name: torch.zeros(shape)})


def test_complex_rates_are_refused():
    with pytest.raises(SettingError, match="A: complex"):
        selective_scan(**make_inputs() | {"A": torch.zeros(6, 4, dtype=torch.complex64)})

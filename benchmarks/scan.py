"""How fast is the fused selective scan on this CPU? Forward and backward, beside other implementations.

python benchmarks/scan.py --json scan.json

mamba.py takes part where it is installed (pip install mambapy).
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from dmh_lib.mamba import warm_up
from dmh_lib.mamba.scan_numba import selective_scan_numba
from dmh_lib.mamba.scan_torch import selective_scan_torch

Scan = Callable[..., Tensor]
REPEATS = {"fused": 15, "mambapy": 3, "reference": 1}


def fused(*inputs: Tensor) -> Tensor:
    return selective_scan_numba(*inputs, delta_softplus=True)[0]  # type: ignore[misc, arg-type]


def reference(*inputs: Tensor) -> Tensor:
    return selective_scan_torch(*inputs, delta_softplus=True)[0]  # type: ignore[misc, arg-type]


def mambapy(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor
) -> Tensor:
    """Its parallel scan, with what its block does around it."""
    from mambapy.pscan import pscan  # type: ignore[import-not-found, import-untyped, unused-ignore]

    step = F.softplus(delta + bias[:, None]).mT  # (B, L, D)
    decay = torch.exp(step.unsqueeze(-1) * A)  # (B, L, D, N)
    drive = (step * u.mT).unsqueeze(-1) * B.mT.unsqueeze(2)  # (B, L, D, N)
    y = (pscan(decay, drive) @ C.mT.unsqueeze(-1)).squeeze(-1).mT  # (B, D, L)
    return (y + D[:, None] * u) * F.silu(z)


def make_inputs(batch: int, length: int, channels: int, states: int) -> list[Tensor]:
    torch.manual_seed(0)
    wide = [torch.randn(batch, channels, length) for _ in range(3)]  # u, delta, z
    narrow = [torch.randn(batch, states, length) for _ in range(2)]  # B, C
    rates = -torch.arange(1.0, states + 1).repeat(channels, 1)  # A (D, N)
    inputs = [wide[0], wide[1], rates, *narrow, torch.ones(channels), wide[2], torch.full((channels,), -2.0)]
    return [x.requires_grad_() for x in inputs]


def timed(scan: Scan, inputs: list[Tensor], cotangent: Tensor) -> tuple[float, float, tuple[Tensor, ...]]:
    """Seconds of the forward, seconds of forward and backward, and out with all gradients."""
    start = time.perf_counter()
    out = scan(*inputs)
    middle = time.perf_counter()
    gradients = torch.autograd.grad(out, inputs, cotangent)
    end = time.perf_counter()
    return middle - start, end - start, (out.detach(), *gradients)


def difference(results: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    pairs = zip(results, expected, strict=True)
    return max(((x - y).abs().max() / y.abs().max()).item() for x, y in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", type=int, nargs=4, default=[8, 800, 256, 16], metavar=("B", "L", "D", "N"))
    parser.add_argument("--json", type=Path, help="file for the results")
    args = parser.parse_args()

    warm_up()
    scans: dict[str, Scan] = {"fused": fused, "reference": reference}
    if find_spec("mambapy"):
        scans["mambapy"] = mambapy
    small = make_inputs(2, 50, 24, args.shape[3])
    expected = timed(reference, small, torch.ones_like(small[0]))[2]
    for name, scan in scans.items():
        error = difference(timed(scan, small, torch.ones_like(small[0]))[2], expected)
        if error > 1e-4:
            raise SystemExit(
                f"{name}: differs from the reference by {error:.1e}; its times would mean nothing"
            )

    inputs = make_inputs(*args.shape)
    cotangent = torch.randn_like(inputs[0])
    rows = []
    for name, scan in scans.items():
        if REPEATS[name] > 1:
            timed(scan, inputs, cotangent)  # the first call warms caches
        runs = [timed(scan, inputs, cotangent)[:2] for _ in range(REPEATS[name])]
        forward, both = (statistics.median(times) for times in zip(*runs, strict=True))
        rows.append({"scan": name, "forward_s": forward, "forward_backward_s": both, "runs": len(runs)})

    print(f"B, L, D, N = {args.shape}; {torch.get_num_threads()} threads; medians in seconds")
    print(f"{'scan':<22}{'forward':>10}{'fwd + bwd':>12}{'ratio':>9}")
    for row in rows:
        ratio = row["forward_backward_s"] / rows[0]["forward_backward_s"]
        print(f"{row['scan']:<22}{row['forward_s']:>10.4f}{row['forward_backward_s']:>12.4f}{ratio:>9.1f}")
    if args.json:
        about = {"shape": args.shape, "threads": torch.get_num_threads(), "torch": torch.__version__}
        args.json.write_text(json.dumps(about | {"results": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""What DM-H's memory holds on the expert's path through a T-maze: how the goals differ in it, and how long.

In the corridor every chunk looks the same, so that whatever tells the goals apart can only fade: each number
of a scan's state falls to 1/e in a time of its own. The slowest of them bounds how far a model reaches.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from dmh_lib.envs.tmaze import MazeRules
from dmh_lib.mamba import Mamba
from dmh_lib.mazes import expert_path
from dmh_lib.models import DMH
from dmh_lib.models.planner import SubgoalMamba


@torch.inference_mode()
def memory_along_path(
    model: DMH, length: int, points: int = 50, *, active: bool = False, progress: bool = False
) -> pd.DataFrame:
    """How DM-H's memories of the two goals differ on the expert's path: do they drift, fade, saturate?

    Args:
        model: DM-H.
        length: of the corridor.
        points: chunks looked at, spread evenly on a log scale.
        active: whether the oracle has to be visited.
        progress: show a bar.

    Returns:
        Rows of `step` (at which a chunk begins), `memory` ("layer 1", …: the scan's state in that layer of
        Mamba; "sub-goal": z), `distance` between the two goals' and mean `size`, both Euclidean norms, and
        `holds` (steps in which the slowest number of that state falls to 1/e if all chunks are like this one;
        NaN for z and where a chunk is more than one token).
    """
    c, planner = model.config.chunk_len, model.planner
    batch = expert_path(model, MazeRules(length, active), [0, 1])
    last_chunk = (length - 1) // c  # that begins on the way
    wanted = set((np.geomspace(1, last_chunk + 1, points).astype(np.int64) - 1).tolist())
    rows = list[dict[str, Any]]()
    chunks = tqdm(range(last_chunk + 1), desc="memory", disable=not progress)
    for chunk, (mean, _, cache) in zip(chunks, model.recurrent_subgoals(batch), strict=False):
        if chunk not in wanted:
            continue
        memories = _layers(planner, cache, c) if isinstance(planner, SubgoalMamba) else {}
        for name, (pair, holds) in {**memories, "sub-goal": (mean, np.nan)}.items():
            low, high = pair.flatten(1)
            distance, size = float((high - low).norm()), float((high.norm() + low.norm()) / 2)
            rows.append(
                {"step": chunk * c, "memory": name, "distance": distance, "size": size, "holds": holds}
            )
    return pd.DataFrame(rows)


def _layers(
    planner: SubgoalMamba, cache: list[tuple[torch.Tensor, torch.Tensor]], chunk_len: int
) -> dict[str, tuple[torch.Tensor, float]]:
    """Each layer's scan state (2, d_inner, d_state), and how many steps it holds."""
    found = {}
    for number, (block, (window, scan)) in enumerate(zip(planner.blocks, cache, strict=True), 1):
        assert isinstance(block, Mamba)  # a module list does not know
        fused = planner.config.tokens == "fused"
        holds = chunk_len * float(block.time_constants(window).max()) if fused else np.nan
        found[f"layer {number}"] = (scan, holds)
    return found

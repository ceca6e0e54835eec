"""Hypothesis strategies for the library's records."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from dmh_lib.data import Trajectories

FINITE = st.floats(-1e6, 1e6, width=32)


def plain_metadata() -> st.SearchStrategy[dict[str, Any]]:
    """Small JSON objects that leave the keys with a meaning alone."""
    values = (
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4) | st.lists(st.integers(0, 9))
    )
    keys = st.text(max_size=4).filter(lambda key: key != "path")
    return st.dictionaries(keys, values, max_size=3)


@st.composite
def trajectories(draw: st.DrawFn, discrete: bool | None = None, max_episodes: int = 6) -> Trajectories:
    """Valid trajectories: unequal episodes, single steps, every mix of flags, runs of one task each."""
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=max_episodes))
    episodes, steps = len(lengths), sum(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    new_run = draw(npst.arrays(np.bool_, episodes))
    new_run[0] = True
    run = np.cumsum(new_run) - 1  # (E,) run of each episode, counted from 0
    runs = int(run[-1]) + 1
    run_ids = draw(npst.arrays(np.int64, runs, elements=st.integers(-50, 50), unique=True))
    task_ids = draw(npst.arrays(np.int64, runs, elements=st.integers(0, 2)))
    flags = np.zeros((2, steps), dtype=np.bool_)
    flags[:, offsets[1:] - 1] = draw(npst.arrays(np.bool_, (2, episodes)))
    if draw(st.booleans()) if discrete is None else discrete:
        actions = draw(npst.arrays(np.int64, steps, elements=st.integers(0, 4)))
    else:
        actions = draw(npst.arrays(np.float32, (steps, draw(st.integers(1, 3))), elements=FINITE))
    return Trajectories(
        observations=draw(npst.arrays(np.float32, (steps, draw(st.integers(1, 3))), elements=FINITE)),
        actions=actions,
        rewards=draw(npst.arrays(np.float32, steps, elements=FINITE)),
        terminations=flags[0],
        truncations=flags[1],
        offsets=offsets,
        task_ids=task_ids[run],
        run_ids=run_ids[run],
        metadata=draw(plain_metadata()),
    )

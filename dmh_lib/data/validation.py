"""What makes trajectories valid: checked once, vectorised, with errors that name the place and the remedy."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dmh_lib.errors import DataError

if TYPE_CHECKING:
    from dmh_lib.data.trajectories import Trajectories

STEP_ARRAYS = ("observations", "actions", "rewards", "terminations", "truncations")
EPISODE_ARRAYS = ("task_ids", "run_ids")
ARRAYS = (*STEP_ARRAYS, "offsets", *EPISODE_ARRAYS)
MOST_ACTIONS = 1 << 20  # to choose from; a model has parameters for each
BLOCK = 1 << 16  # rows looked at together, so that a memory-mapped file never has to fit into memory

_KIND_NAMES = {"fiu": "numbers", "b": "booleans", "iu": "integers", "f": "integers or floating-point numbers"}


def fail(
    metadata: Mapping[str, Any], name: str, problem: str, remedy: str, episode: int | None = None
) -> NoReturn:
    """Raise the DataError that names source, field, episode, problem and remedy."""
    source = metadata.get("path", "trajectories")
    where = "" if episode is None else f", episode {episode}"
    raise DataError(f"{source}: field {name!r}{where}: {problem}; {remedy}")


def plain_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `metadata` as JSON would give it back; raises DataError when it is not JSON."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(metadata), allow_nan=False))
    except (TypeError, ValueError) as error:
        source = metadata if isinstance(metadata, Mapping) else {}
        fail(source, "metadata", f"not JSON ({error})", "keep to a dict of plain finite values")
    return plain


def converted(name: str, values: Any, metadata: Mapping[str, Any]) -> NDArray[Any]:
    """The field as an array of its stored type, uncopied where it already is; checks kind and shape."""
    array = np.asanyarray(values)  # asanyarray: a memory map stays one
    kinds, dtype, ndim = _rule(name, array)
    if array.dtype.kind not in kinds:
        fail(metadata, name, f"has type {array.dtype}", f"it must hold {_KIND_NAMES[kinds]}")
    if array.ndim != ndim or 0 in array.shape[1:]:
        shape = "(length,)" if ndim == 1 else "(steps, width)"
        fail(metadata, name, f"has shape {array.shape}", f"{array.dtype.name} values must have shape {shape}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, and is then reported as such
        return array.astype(dtype, copy=False)


def _rule(name: str, array: NDArray[Any]) -> tuple[str, DTypeLike, int]:
    """(dtype kinds accepted, dtype stored, number of dimensions) of a field."""
    if name == "actions":
        return ("iu", np.int64, 1) if array.dtype.kind in "iu" else ("f", np.float32, 2)
    if name in ("terminations", "truncations"):
        return "b", np.bool_, 1
    if name in ("observations", "rewards"):
        return "fiu", np.float32, 2 if name == "observations" else 1
    return "iu", np.int64, 1


def check(trajectories: "Trajectories") -> None:
    """Raise DataError at the first rule of `Trajectories` that is broken; the fields have their types."""
    _check_lengths(trajectories)
    _check_offsets(trajectories)
    _check_flags(trajectories)
    _check_runs(trajectories)
    for name in ("observations", "actions", "rewards"):
        _check_values(trajectories, name)
    if trajectories.discrete:
        _check_num_actions(trajectories)


def _check_lengths(trajectories: "Trajectories") -> None:
    steps, episodes = len(trajectories.observations), trajectories.num_episodes
    if steps < 1 or episodes < 1:
        fail(trajectories.metadata, "offsets", "no episodes", "collect or keep at least one")
    for names, expected, unit in ((STEP_ARRAYS, steps, "steps"), (EPISODE_ARRAYS, episodes, "episodes")):
        for name in names:
            if (length := len(getattr(trajectories, name))) != expected:
                problem = f"has length {length}, but there are {expected} {unit}"
                fail(trajectories.metadata, name, problem, "give one value for each")


def _check_offsets(trajectories: "Trajectories") -> None:
    offsets, lengths = trajectories.offsets, trajectories.lengths
    if offsets[0] != 0 or offsets[-1] != trajectories.num_steps:
        problem = f"goes from {offsets[0]} to {offsets[-1]}"
        remedy = f"it must go from 0 to the number of steps, {trajectories.num_steps}"
        fail(trajectories.metadata, "offsets", problem, remedy)
    if (bad := np.flatnonzero(lengths <= 0)).size:
        episode = int(bad[0])
        problem = "empty episode" if lengths[episode] == 0 else "offsets decrease"
        remedy = "offsets must increase by at least one step"
        fail(trajectories.metadata, "offsets", problem, remedy, episode)


def _check_flags(trajectories: "Trajectories") -> None:
    for name in ("terminations", "truncations"):
        early = np.array(getattr(trajectories, name))  # (N,), a copy in memory
        early[trajectories.offsets[1:] - 1] = False
        if early.any():
            episode, step = _locate(trajectories, int(early.argmax()))
            problem = f"set at step {step}, before the last step"
            fail(trajectories.metadata, name, problem, "cut the episode there or clear the flag", episode)


def _check_runs(trajectories: "Trajectories") -> None:
    run_ids, starts = trajectories.run_ids, trajectories.run_offsets[:-1]  # starts: (R,)
    _, first = np.unique(run_ids[starts], return_index=True)
    if len(first) != len(starts):
        again = int(starts[np.setdiff1d(np.arange(len(starts)), first)[0]])
        problem = f"run {run_ids[again]} comes back after another run"
        fail(trajectories.metadata, "run_ids", problem, "keep the episodes of a run together", again)
    mixed = (np.diff(run_ids) == 0) & (np.diff(trajectories.task_ids) != 0)  # (E - 1,)
    if mixed.any():
        episode = int(mixed.argmax()) + 1
        problem = f"the task changes within run {run_ids[episode]}"
        fail(trajectories.metadata, "task_ids", problem, "give each task runs of its own", episode)


def _check_values(trajectories: "Trajectories", name: str) -> None:
    array = getattr(trajectories, name)
    discrete = array.dtype.kind == "i"
    for start in range(0, len(array), BLOCK):
        block = np.asarray(array[start : start + BLOCK])  # (B,) or (B, width)
        wrong = block < 0 if discrete else ~np.isfinite(block)
        if wrong.any():
            step = start + int(wrong.reshape(len(block), -1).any(axis=1).argmax())
            episode, step = _locate(trajectories, step)
            problem = "negative" if discrete else "not finite (NaN, infinite or too large for float32)"
            remedy = "number the actions from 0" if discrete else "repair or drop the episode"
            fail(trajectories.metadata, name, f"{problem} at step {step}", remedy, episode)


def _check_num_actions(trajectories: "Trajectories") -> None:
    known = trajectories.metadata.get("num_actions")
    largest = int(trajectories.actions.max())
    if (most := max(largest + 1, known if type(known) is int else 0)) > MOST_ACTIONS:
        problem = f"{most:,} to choose from, more than {MOST_ACTIONS:,}"
        fail(trajectories.metadata, "actions", problem, "number the actions from 0")
    if known is not None and (type(known) is not int or known <= largest):
        episode, step = _locate(trajectories, int(trajectories.actions.argmax()))
        problem = f"action {largest} at step {step}, but metadata['num_actions'] is {known!r}"
        remedy = f"num_actions must be an integer of at least {largest + 1}"
        fail(trajectories.metadata, "actions", problem, remedy, episode)


def _locate(trajectories: "Trajectories", step: int) -> tuple[int, int]:
    """(episode, step within it) of a step of the flat arrays."""
    episode = int(np.searchsorted(trajectories.offsets, step, side="right")) - 1
    return episode, step - int(trajectories.offsets[episode])

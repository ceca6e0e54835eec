"""Minari's datasets, both ways.

An episode of T steps holds T + 1 observations there and T here, where the last one, which no action follows,
has no place. What is read loses it; what is written repeats the last observation in its stead, and says so in
the dataset's description.
"""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dmh_lib.data.hdf5_checks import problem_in
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.errors import DataError

_METADATA = "dmh_metadata"  # our own, as JSON text, among the dataset's
_DESCRIPTION = (
    "Written by dmh_lib; the last observation of an episode is not on record and repeats the one before."
)
# Minari's ways to say that a dataset is damaged
_BROKEN = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    AssertionError,
    AttributeError,
    MemoryError,
)


def read_minari(dataset_id: str, *, download: bool = False) -> Trajectories:
    """Read a dataset of Minari's, such as "mujoco/hopper/medium-v0" or "D4RL/antmaze/umaze-v1".

    Observations that have several parts are put in a row, as `gymnasium.wrappers.FlattenObservation` does.
    Episodes written by `write_minari` keep their tasks and runs; those of others are task 0 and run 0.

    Args:
        dataset_id: (namespace/)name-vN, of a dataset in Minari's folder (MINARI_DATASETS_PATH moves it).
        download: fetch it if it is not there.

    Raises DataError for a dataset that is missing, damaged, or holds pictures or actions of several parts;
    and for one that leads to other files, claims more than it holds, or would have Minari start a program.
    """
    import minari  # a second to import

    try:
        folder = minari.storage.datasets_root_dir.get_dataset_path(dataset_id) / "data"
        if download and not folder.exists():
            minari.download_dataset(dataset_id)
        if folder.exists():
            _require_harmless(dataset_id, folder)
        dataset = minari.load_dataset(dataset_id)
    except FileNotFoundError as error:
        remedy = f"fetch it with `minari download {dataset_id}`"
        raise DataError(f"{dataset_id}: no such dataset on this machine; {remedy}") from error
    except _BROKEN as error:
        raise DataError(f"{dataset_id}: not readable ({error!r}); delete and download it again") from error
    try:
        return _trajectories(dataset_id, dataset)
    except _BROKEN as error:
        raise DataError(f"{dataset_id}: damaged ({error!r}); delete and download it again") from error


def _require_harmless(dataset_id: str, folder: Path) -> None:
    """Raise DataError where reading would do more than to read this dataset's own numbers."""
    metadata, file = (
        json.loads((folder / "metadata.json").read_text(encoding="utf-8")),
        folder / "main_data.hdf5",
    )
    for name in ("observation_space", "action_space"):
        if not isinstance(
            metadata.get(name), str
        ):  # then Minari makes the environment, of any class it names
            problem = "missing or no text, and what the dataset names to make it is a program"
            raise DataError(f"{dataset_id}: field {name!r}: {problem}; take a dataset that has it")
    if metadata.get("data_format") != "hdf5":
        problem = f"is {metadata.get('data_format')!r}, not 'hdf5'"
        raise DataError(f"{dataset_id}: field 'data_format': {problem}; write it in that format with Minari")
    with h5py.File(file, "r") as opened:
        if problem_found := problem_in(opened, file.stat().st_size):
            name, problem, remedy = problem_found
            raise DataError(f"{dataset_id}: field {name!r}: {problem}; {remedy}")
        episodes = metadata.get("total_episodes")
        if type(episodes) is not int or not 0 <= episodes <= len(opened):
            problem = f"is {episodes!r}, but the file holds {len(opened)}"
            raise DataError(f"{dataset_id}: field 'total_episodes': {problem}; download it again")


def _trajectories(dataset_id: str, dataset: Any) -> Trajectories:
    actions = dataset.action_space
    if not isinstance(actions, spaces.Discrete | spaces.Box) or len(actions.shape or ()) > 1:
        raise DataError(f"{dataset_id}: field 'actions': {actions} is neither numbers (A,) nor one choice")
    seen, taken, gained, ends = [], [], [], []
    for episode in dataset.iterate_episodes():
        observations = _flat(dataset_id, dataset.observation_space, episode.observations)  # (T + 1, obs_dim)
        seen.append(observations[: len(episode.rewards)])
        taken.append(np.asarray(episode.actions))
        gained.append(np.asarray(episode.rewards))
        ends.append(np.stack([episode.terminations, episode.truncations]).astype(np.bool_))  # (2, T)
    if not gained:
        raise DataError(f"{dataset_id}: holds no episode; take another dataset")
    about = dataset.storage.get_episode_metadata(dataset.episode_indices)
    options = [found.get("options", {}) for found in about]
    own = dataset.storage.metadata.get(_METADATA)
    metadata = {**json.loads(own or "{}"), "path": dataset_id}
    first = int(actions.start) if isinstance(actions, spaces.Discrete) else 0
    if isinstance(actions, spaces.Discrete) and own is None:
        metadata["num_actions"] = int(actions.n)
    terminations, truncations = np.concatenate(ends, axis=1)  # (N,) each
    return Trajectories(
        np.concatenate(seen),
        np.concatenate(taken) - first,
        np.concatenate(gained),
        terminations,
        truncations,
        np.cumsum([0, *map(len, gained)]),
        np.array([int(found.get("task_id", 0)) for found in options]),
        np.array([int(found.get("run_id", 0)) for found in options]),
        metadata,
    )


def _flat(dataset_id: str, space: Any, values: Any) -> NDArray[np.float32]:
    """Observations (T + 1, obs_dim) of a space of numbers, or of named parts that are such spaces."""
    if isinstance(space, spaces.Dict):
        return np.concatenate([_flat(dataset_id, part, values[name]) for name, part in space.items()], axis=1)
    if not isinstance(space, spaces.Box) or len(space.shape) > 1:
        raise DataError(f"{dataset_id}: field 'observations': {space} holds no numbers (obs_dim,)")
    return np.asarray(values, dtype=np.float32).reshape(len(values), -1)


def write_minari(
    trajectories: Trajectories, dataset_id: str, env: "str | gymnasium.Env[Any, Any] | None" = None
) -> None:
    """Write trajectories as a new dataset of Minari's; `read_minari` gives them back exactly.

    Args:
        trajectories: what to write.
        dataset_id: (namespace/)name-vN.
        env: where they were lived; without it, spaces without bounds are noted down.

    Raises DataError when there is such a dataset already, or when it cannot be written; nothing of it is then
    left behind.
    """
    import minari
    from minari.data_collector import EpisodeBuffer

    try:
        folder = minari.storage.datasets_root_dir.get_dataset_path(dataset_id)
    except _BROKEN as error:
        raise DataError(
            f"{dataset_id}: no name for a dataset ({error}); give one like mine/rooms-v0"
        ) from error
    if folder.exists():
        raise DataError(f"{dataset_id}: exists already; `minari delete {dataset_id}` or choose another name")
    episodes = [
        EpisodeBuffer(
            options={"task_id": episode.task_id, "run_id": episode.run_id},
            observations=np.concatenate([episode.observations, episode.observations[-1:]]),
            actions=episode.actions,
            rewards=episode.rewards,
            terminations=trajectories.terminations[start:stop],
            truncations=trajectories.truncations[start:stop],
        )
        for episode, start, stop in zip(
            trajectories, trajectories.offsets[:-1], trajectories.offsets[1:], strict=True
        )
    ]
    known = {} if env is not None else _spaces(trajectories)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that authors and links are not given
            dataset = minari.create_dataset_from_buffers(
                dataset_id, episodes, env, description=_DESCRIPTION, data_format="hdf5", **known
            )
        metadata = {key: value for key, value in trajectories.metadata.items() if key != "path"}
        dataset.storage.update_metadata({_METADATA: json.dumps(metadata)})
    except _BROKEN as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise DataError(f"{dataset_id}: cannot be written ({error}); choose another name or place") from error


def _spaces(trajectories: Trajectories) -> dict[str, spaces.Space[Any]]:
    observed = spaces.Box(-np.inf, np.inf, (trajectories.obs_dim,), np.float32)
    if trajectories.discrete:
        return {"observation_space": observed, "action_space": spaces.Discrete(trajectories.action_dim)}
    acted = spaces.Box(-np.inf, np.inf, (trajectories.action_dim,), np.float32)
    return {"observation_space": observed, "action_space": acted}

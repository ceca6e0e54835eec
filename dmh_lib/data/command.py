"""The part of the `dmh` command that makes and describes datasets."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg, subcommand

from dmh_lib.behaviour.config import Mixture, PPOConfig, SACConfig
from dmh_lib.console import print_fields, watched
from dmh_lib.data.dqn import DQNConfig
from dmh_lib.data.mazes import MazeDataConfig
from dmh_lib.data.q_learning import QLearningConfig
from dmh_lib.data.searcher import SearcherConfig
from dmh_lib.envs.names import short_name

# What only one command needs is imported inside it.


@dataclass(frozen=True)
class Make:
    """Generate learning histories on the training tasks of a seeded split."""

    learner: (
        Annotated[
            SearcherConfig, subcommand("searcher", description="Scripted systematic searcher (default).")
        ]
        | Annotated[QLearningConfig, subcommand("q-learning", description="Tabular Q-learning.")]
        | Annotated[DQNConfig, subcommand("dqn", description="Deep Q-learning, as in the paper.")]
        | Annotated[MazeDataConfig, subcommand("expert", description="T-mazes: the expert.")]
        | Annotated[
            MazeDataConfig,
            subcommand("mixed", default=MazeDataConfig.mixed(), description="T-mazes: some guess or dawdle."),
        ]
    ) = field(default_factory=SearcherConfig)
    env: str = "darkroom"
    """A dark room: darkroom, darkroomhard, darkkeytodoor, darkroomhard17, darkroomdynamic, largedarkroom,
    largedarkroomhard, largedarkroomdynamic, largedarkkeytodoor, darkroomdpt, darkroomidt, darkroomeps or
    darkkeytodooreps. For `expert` and `mixed`: tmaze or tmazeactive."""
    out: Path | None = None
    """HDF5 file to write; data/ENV-LEARNER.hdf5 (with -paper) if left out. The split is written beside it as
    JSON."""
    paper: bool = False
    """The paper's amount: 60 training tasks and 1M steps in all, where not asked for otherwise."""
    num_test: int | None = None
    """Tasks held out; a fifth, at most 100, if left out."""
    num_train: int | None = None
    """Tasks to learn from; as many others as suit room and learner if left out."""
    split_seed: int = 0
    """Seed of the split."""
    seed: int = 0
    """Seed of the histories."""

    def run(self) -> None:
        from dmh_lib.data import write_hdf5
        from dmh_lib.data.histories import behaviour_of, make_histories
        from dmh_lib.data.presets import num_train_for, suited
        from dmh_lib.envs import make_split
        from dmh_lib.files import write_json

        if isinstance(self.learner, MazeDataConfig):
            self._make_mazes(self.learner)
            return
        num_train = self.num_train
        if num_train is None:
            num_train = num_train_for(self.learner, self.env, paper=self.paper)
        split = make_split(self.env, self.split_seed, self.num_test, num_train)
        learner = suited(self.learner, split.env_id, paper=self.paper)
        short = short_name(split.env_id)
        name = f"{short}-{behaviour_of(learner)}{'-paper' if self.paper else ''}.hdf5"
        out = self.out or Path("data") / name
        trajectories = make_histories(split, learner, seed=self.seed, progress=watched())
        write_hdf5(trajectories, out)
        write_json(out.with_suffix(".split.json"), split.to_dict())
        print(f"wrote {out} and {out.with_suffix('.split.json')}")
        print_fields(trajectories.summary())

    def _make_mazes(self, config: MazeDataConfig) -> None:
        """Write episodes of a maze, which has no split: both of its tasks are trained on and tested."""
        from dmh_lib.data import write_hdf5
        from dmh_lib.data.mazes import make_mazes
        from dmh_lib.envs import full_maze_id

        short = short_name(full_maze_id(self.env))
        out = self.out or Path("data") / f"{short}-{config.length}-{config.behaviour}.hdf5"
        trajectories = make_mazes(self.env, config, seed=self.seed)
        write_hdf5(trajectories, out)
        print(f"wrote {out}")
        print_fields(trajectories.summary())


@dataclass(frozen=True)
class Info:
    """Say what is in a dataset, ours or D4RL's."""

    path: Positional[Path]
    """HDF5 file."""

    def run(self) -> None:
        from dmh_lib.data import read_hdf5

        trajectories = read_hdf5(self.path)
        print_fields({**trajectories.summary(), **_short(trajectories.metadata)})


@dataclass(frozen=True)
class Fetch:
    """Download a dataset of D4RL's; what was half downloaded is gone on with."""

    name: Positional[str]
    """Such as hopper-medium-v2, or an address."""
    folder: Path = Path("data/d4rl")
    """Where the file goes, or lies if it was put there by hand."""
    server: str | None = None
    """Instead of D4RL's own; the environment variable DMH_D4RL_URL does the same."""
    sha256: str | None = None
    """What the file must have, in hex."""

    def run(self) -> None:
        from dmh_lib.data import read_hdf5
        from dmh_lib.data.d4rl import fetch_d4rl

        path = fetch_d4rl(self.name, self.folder, server=self.server, sha256=self.sha256, progress=watched())
        print(path)
        print_fields(read_hdf5(path).summary())


@dataclass(frozen=True)
class Convert:
    """Turn a dataset of Minari's, or a pickle of the decision transformer's, into an HDF5 file, or back."""

    source: Positional[str]
    """Minari's name of a dataset (mujoco/hopper/medium-v0), a .pkl file, or an HDF5 file."""
    target: Positional[str]
    """HDF5 file to write; where the source is one, Minari's name of the new dataset."""
    download: bool = False
    """Let Minari fetch what is not on this machine."""

    def run(self) -> None:
        from dmh_lib.data import read_hdf5, read_minari, write_hdf5, write_minari
        from dmh_lib.data.pickles import convert_pickle

        if self.source.endswith((".hdf5", ".h5")):
            trajectories = read_hdf5(self.source)
            write_minari(trajectories, self.target)
        elif self.source.endswith((".pkl", ".pickle")):
            trajectories = convert_pickle(self.source, self.target)
        else:
            trajectories = read_minari(self.source, download=self.download)
            write_hdf5(trajectories, self.target)
        print(f"wrote {self.target}")
        print_fields(trajectories.summary())


@dataclass(frozen=True)
class Behaviour:
    """Learn a policy for MuJoCo, and keep one for each point of its curve."""

    config: (
        Annotated[PPOConfig, subcommand("ppo", description=PPOConfig.__doc__)]
        | Annotated[SACConfig, subcommand("sac", description=SACConfig.__doc__)]
    )
    out: Path | None = None
    """Folder of the run; runs/behaviour/ENV if left out."""
    resume: bool = False
    """Go on with a run that was interrupted, or with more steps."""

    def run(self) -> None:
        from dmh_lib.behaviour.learn import learn

        out = self.out or Path("runs/behaviour") / self.config.env
        curve = learn(self.config, out, resume=self.resume, progress=watched())
        print(curve.tail(5).to_string(index=False))
        print(f"policies in {out}")


@dataclass(frozen=True)
class Collect:
    """Make a dataset in D4RL's manner from the policies of `dmh data behaviour`."""

    policies: Positional[Path]
    """Folder of their run."""
    mixture: Annotated[Mixture, arg(name="")] = field(default_factory=Mixture)
    out: Path | None = None
    """HDF5 file to write; data/RUN-KIND.hdf5 if left out."""

    def run(self) -> None:
        from dmh_lib.behaviour.collect import make_dataset
        from dmh_lib.data import write_hdf5

        out = self.out or Path("data") / f"{self.policies.name}-{self.mixture.kind}.hdf5"
        trajectories = make_dataset(self.policies, self.mixture, progress=watched())
        write_hdf5(trajectories, out)
        print(f"wrote {out}")
        print_fields(trajectories.summary())


@dataclass(frozen=True)
class Keep:
    """Copy the policies that datasets need from a run of `dmh data behaviour`, a few megabytes."""

    run_folder: Positional[Path]
    """Folder of the run."""
    out: Positional[Path]
    """Folder to copy to, for example data/policies/hopper."""
    replay: int = 6
    """Policies before the medium one."""

    def run(self) -> None:
        from dmh_lib.behaviour.collect import keep

        kept = keep(self.run_folder, self.out, self.replay)
        for path, score in zip(kept.files, kept.scores, strict=True):
            print(f"{path}  score {score:.1f}")


@dataclass(frozen=True)
class Data:
    """Make, collect, fetch, convert or look at datasets."""

    command: (
        Annotated[Make, subcommand("make")]
        | Annotated[Info, subcommand("info")]
        | Annotated[Fetch, subcommand("fetch")]
        | Annotated[Convert, subcommand("convert")]
        | Annotated[Behaviour, subcommand("behaviour")]
        | Annotated[Keep, subcommand("keep")]
        | Annotated[Collect, subcommand("collect")]
    )

    def run(self) -> None:
        self.command.run()


def _short(metadata: Any) -> dict[str, Any]:
    """Metadata without its long lists."""
    short = {key: value for key, value in metadata.items() if key != "split"}
    if split := metadata.get("split"):
        short["split"] = (
            f"{len(split['train'])} train and {len(split['test'])} test tasks, seed {split['seed']}"
        )
    return short

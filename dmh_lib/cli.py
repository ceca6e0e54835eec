"""The `dmh` command: make data, train, evaluate, run notebooks, measure. Errors are one line and exit 2."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

import tyro
from tyro.conf import OmitSubcommandPrefixes, Positional, UseAppendAction, arg, subcommand

from dmh_lib.bench.command import Bench
from dmh_lib.benchmark.command import Benchmark
from dmh_lib.console import interruptible, print_fields, watched
from dmh_lib.data.command import Data
from dmh_lib.devices import is_first
from dmh_lib.envs import MAZES, RULES, SplitName, TaskSplit
from dmh_lib.errors import CheckpointError, DMHError, SettingError
from dmh_lib.presets import DEFAULT, PRESETS, Settings
from dmh_lib.sweep.command import Sweep

# What only one command needs is imported inside it.

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it

if TYPE_CHECKING:
    Choice = Settings[Any, Any]
else:  # a subcommand of `dmh train` for every preset
    Choice = Union[  # noqa: UP007 (the members are not known when this is written)
        tuple(
            Annotated[
                Settings[type(preset.settings.model), type(preset.settings.contexts)],
                subcommand(name, default=preset.settings, description=preset.description),
            ]
            for name, preset in PRESETS.items()
        )
    ]


@dataclass(frozen=True)
class Train:
    """Train DM-H or a baseline on a dataset, then choose its temperature on training tasks.

    Ctrl-C and SIGTERM leave a checkpoint, from which --resume goes on with the same settings.
    """

    data: Path
    """HDF5 file, from `dmh data make` or in D4RL's schema."""
    out: Path
    """Folder of the run: settings, logs and checkpoints."""
    preset: Choice = PRESETS[DEFAULT].settings
    resume: bool = False
    """Go on from the newest checkpoint in the folder."""
    devices: int = 1
    """Processes that share each batch, each with a GPU or its share of the cores; torchrun says it itself."""

    def run(self) -> None:
        from dmh_lib.checkpoints import set_play
        from dmh_lib.data import read_hdf5
        from dmh_lib.evaluation import choose_play
        from dmh_lib.run_folders import updates_of
        from dmh_lib.training import train

        data, chosen = read_hdf5(self.data), self.preset
        _warm_up()
        with interruptible() as stopped:
            result = train(
                data,
                chosen.model_for(data),
                self.out,
                chosen.contexts,
                chosen.training,
                resume=self.resume,
                devices=self.devices,
                progress=watched(),
                on_log=lambda _: bool(stopped()),
            )
        if not is_first():
            return
        done, asked = updates_of(result.checkpoint), chosen.training.updates
        if done < asked:
            print(f"stopped after {done} of {asked} updates; --resume goes on from {result.checkpoint}")
            raise SystemExit(128 + stopped())  # as shells have it
        print(f"trained {asked} updates; checkpoint {result.checkpoint}")
        if data.metadata.get("split") and data.metadata.get("env_id") in RULES:
            split = TaskSplit.from_dict(data.metadata["split"])
            play, scores = choose_play(result.model, split, play=result.play, progress=watched())
            set_play(result.checkpoint, play)
            tried = ", ".join(f"{key:g}: {value:.1f} %" for key, value in scores.items())
            print(f"temperature {play.temperature:g} (last episode on training tasks: {tried})")
            if chosen.model.wants_target:
                print(f"target return {play.target_return:g}")


@dataclass(frozen=True)
class Evaluate:
    """Play whole lifetimes with a checkpoint, beginning with an empty context and making no gradient step."""

    checkpoint: Positional[Path]
    """Checkpoint folder, or a run's folder for its newest one."""
    best: bool = False
    """Of a run, play the checkpoint with the lowest training loss in place of the newest."""
    split: SplitName = "test"
    """Side of the task split: test (held out) or train."""
    episodes: int = 20
    """Episodes per lifetime."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One pass over all tasks each."""
    temperature: float | None = None
    """Of the sampled actions; the checkpoint's own if left out."""
    target_return: float | None = None
    """Return to aim at, for models that use the return-to-go."""
    env: str | None = None
    """Environment: must be the checkpoint's own, or any Gymnasium id if its data named none."""
    lengths: tuple[int, ...] = (1000, 20_000)
    """Corridors of T-mazes, which are played greedily if no temperature is given."""
    mazes: int = 20
    """Different T-mazes of about each length."""
    json: Path | None = None
    """File for the summary."""
    parquet: Path | None = None
    """File for the table with one row per method, task, seed and episode."""

    def run(self) -> None:
        from dmh_lib.checkpoints import load_checkpoint
        from dmh_lib.evaluation import evaluate_in_gym, evaluate_split
        from dmh_lib.files import write_json
        from dmh_lib.methods import label_of
        from dmh_lib.results import summarise, write_results

        checkpoint, bars = load_checkpoint(self._chosen()), watched()
        _warm_up()
        play = replace(
            checkpoint.play, **_given(temperature=self.temperature, target_return=self.target_return)
        )
        env_id = self.env or checkpoint.env_id
        if env_id is None:
            raise CheckpointError(
                f"{checkpoint.path}: field 'env_id' is missing; name the environment with --env"
            )
        if checkpoint.env_id is not None:
            checkpoint.require_env(env_id)
        if checkpoint.env_id in MAZES:
            self._play_mazes(checkpoint, play)
            return
        if checkpoint.env_id in RULES:
            table = evaluate_split(
                checkpoint.model, checkpoint.split, self.split, self.episodes, self.seeds, play, progress=bars
            )
        else:
            table = evaluate_in_gym(checkpoint.model, env_id, self.episodes, self.seeds, play, progress=bars)
        summary = {
            **summarise(table),
            "split": self.split if checkpoint.env_id in RULES else None,
            "checkpoint": str(checkpoint.path),
            "temperature": play.temperature,
            "without_memory": summarise(table, f"{label_of(checkpoint.model.config)} without memory"),
        }
        if self.parquet:
            write_results(table, self.parquet)
        if self.json:
            write_json(self.json, summary)
        _print_summary(summary)

    def _chosen(self) -> Path:
        from dmh_lib.run_folders import best_checkpoint

        found = best_checkpoint(self.checkpoint) if self.best else self.checkpoint
        if found is None:
            raise CheckpointError(f"{self.checkpoint}: no checkpoint in it says its loss; leave out --best")
        return found

    def _play_mazes(self, checkpoint: Any, play: Any) -> None:
        """Play T-mazes, greedily if no temperature is given: one other step in a corridor costs the goal."""
        from dmh_lib.files import write_json
        from dmh_lib.mazes import evaluate_mazes
        from dmh_lib.results import write_results

        play = replace(play, temperature=self.temperature or 0.0)
        active = MAZES[checkpoint.env_id].active
        table = evaluate_mazes(
            checkpoint.model, self.lengths, self.mazes, active=active, play=play, progress=watched()
        )
        means = {f"{length:,}": float(rows["return"].mean()) for length, rows in table.groupby("corridor")}
        if self.parquet:
            write_results(table, self.parquet)
        if self.json:
            about = {"env_id": checkpoint.env_id, "checkpoint": str(checkpoint.path), "mazes": self.mazes}
            write_json(self.json, {**about, "temperature": play.temperature, "mean_return": means})
        print(f"{checkpoint.env_id}, {self.mazes} mazes of each length: mean return")
        print_fields(means)


@dataclass(frozen=True)
class Run:
    """Execute a notebook headless through papermill."""

    notebook: Positional[Path]
    """Notebook to run; it is not changed."""
    parameters: Annotated[tuple[str, ...], arg(aliases=["-p"], metavar="KEY=VALUE"), UseAppendAction] = ()
    """A value for a name in the notebook's parameters cell; may be given several times."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Executed notebook; runs/notebooks/NAME.ipynb if left out."""
    timeout: int = 3600
    """Seconds that one cell may take."""

    def run(self) -> None:
        from dmh_lib.batch import run_notebook

        output = self.output or Path("runs/notebooks") / self.notebook.name
        values = dict(_parameter(text) for text in self.parameters)
        run_notebook(self.notebook, output, values, timeout=self.timeout, progress=watched())
        print(f"wrote {output}")


Command = (
    Annotated[Data, subcommand("data")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Run, subcommand("run")]
    | Annotated[Sweep, subcommand("sweep")]
    | Annotated[Bench, subcommand("bench")]
    | Annotated[Benchmark, subcommand("benchmark")]
)


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the `dmh` command."""
    try:
        command: Any = tyro.cli(
            Command,
            prog="dmh",
            description="Decision Mamba-Hybrid: data, training, evaluation and notebooks.",
            args=args,
            config=(OmitSubcommandPrefixes,),
        )
        command.run()
    except DMHError as error:
        print(f"error{'' if is_first() else ' in another process'}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


def _warm_up() -> None:
    """Compile the CPU kernels, with a bar, before a command seems to hang on them."""
    import torch

    from dmh_lib.warm_up import warm_up

    if not torch.cuda.is_available():
        warm_up(progress=watched())


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _parameter(text: str) -> tuple[str, Any]:
    """`key=value`, the value read as JSON where it is JSON and as text where it is not."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise SettingError(f"-p {text}: write it as key=value")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def _print_summary(summary: dict[str, Any]) -> None:
    has_optimum = summary["percent_of_optimum"] is not None
    key = "percent_by_episode" if has_optimum else "return_by_episode"
    print(
        f"{summary['env_id']}, {summary['tasks']} {summary['split'] or ''} tasks × {summary['seeds']} seeds"
    )
    print(f"{'episode':>8} {'return':>9} {'% of optimum' if has_optimum else '':>13} {'without memory':>15}")
    rows = zip(summary["return_by_episode"], summary[key], summary["without_memory"][key], strict=True)
    for episode, (value, percent, forgetful) in enumerate(rows, 1):
        shown = f"{percent:13.1f}" if has_optimum else " " * 13
        print(f"{episode:8d} {value:9.2f} {shown} {forgetful:15.1f}")
    if has_optimum:
        low, high = summary["interval_95"]
        print(
            f"last episode: {summary['percent_of_optimum']:.1f} % of optimum (95 %: {low:.1f} … {high:.1f})"
        )
    if "d4rl_score" in summary:
        low, high = summary["d4rl_interval_95"]
        print(f"last episode: D4RL's score {summary['d4rl_score']:.1f} (95 %: {low:.1f} … {high:.1f})")


if __name__ == "__main__":
    main()

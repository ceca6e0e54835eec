"""The `dmh` command, as a user types it: what it prints, writes and refuses."""

import json
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest

from dmh_lib import training
from dmh_lib.cli import main
from dmh_lib.data import read_hdf5
from dmh_lib.results import read_results

QUICK = ["--training.updates", "6", "--training.batch-size", "4", "--model.d-model", "16"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "room.hdf5"
    main(
        [
            "data",
            "make",
            "--out",
            str(path),
            "--num-train",
            "4",
            "--num-test",
            "2",
            "searcher",
            "--runs-per-task",
            "2",
        ]
    )
    return path


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "room"
    main(["train", "--data", str(data), "--out", str(folder), "small", *QUICK])
    return folder


def fails(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Run a command that must fail with exit code 2, and give its one line of error."""
    with pytest.raises(SystemExit) as caught:
        main(args)
    assert caught.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def test_make_and_info(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = json.loads(data.with_suffix(".split.json").read_text())
    assert (len(split["train"]), len(split["test"])) == (4, 2)
    main(["data", "info", str(data)])
    shown = capsys.readouterr().out
    for word in ("searcher", "dmh/Darkroom-v0", "4 train and 2 test tasks", "hash"):
        assert word in shown


def test_fetch_and_convert(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    folder, original = tmp_path / "d4rl", read_hdf5(data)
    folder.mkdir()
    shutil.copy(data, folder / "hopper_medium-v2.hdf5")  # by hand
    main(["data", "fetch", "hopper-medium-v2", "--folder", str(folder)])
    assert original.data_hash() in capsys.readouterr().out
    main(["data", "convert", str(data), "mine/rooms-v0"])
    main(["data", "convert", "mine/rooms-v0", str(tmp_path / "back.hdf5")])
    assert read_hdf5(tmp_path / "back.hdf5").data_hash() == original.data_hash()
    assert "no such dataset" in fails(capsys, "data", "convert", "mine/none-v0", str(tmp_path / "none.hdf5"))
    bad = tmp_path / "bad.pkl"
    bad.write_bytes(pickle.dumps(print))
    assert "which no array needs" in fails(capsys, "data", "convert", str(bad), str(tmp_path / "bad.hdf5"))


def test_behaviour_and_collect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ["--hidden", "8", "--batch-size", "8", "--rollout", "4", "--judged-episodes", "1"]
    learn = ["data", "behaviour", "ppo", "--env", "hopper", "--steps", "64", "--save-every", "32", *few]
    main(learn)
    assert "policies in runs/behaviour/hopper" in capsys.readouterr().out
    main(["data", "keep", "runs/behaviour/hopper", "data/policies/hopper"])
    assert "data/policies/hopper/policies/step-00000064.safetensors  score" in capsys.readouterr().out
    main(["data", "collect", "data/policies/hopper", "--kind", "expert", "--steps", "20"])
    assert "wrote data/hopper-expert.hdf5" in capsys.readouterr().out
    assert read_hdf5("data/hopper-expert.hdf5").metadata["kind"] == "expert"
    assert "holds a run already" in fails(capsys, *learn)
    main(["data", "behaviour", "--resume", *learn[2:5], "--steps", "96", *learn[7:]])
    assert "96" in capsys.readouterr().out


def test_the_paper_s_amount_of_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["data", "make", "--env", "darkroomeps", "--paper", "searcher", "--runs-per-task", "1"])
    split = json.loads(Path("data/darkroomeps-searcher-paper.split.json").read_text())
    assert (len(split["train"]), len(split["test"])) == (60, 16)
    about = read_hdf5("data/darkroomeps-searcher-paper.hdf5").metadata
    assert about["settings"]["runs_per_task"] == 1  # what was asked for goes first
    main(["data", "make", "--env", "darkroomeps", "--paper", "--num-train", "3", "searcher"])
    assert read_hdf5("data/darkroomeps-searcher-paper.hdf5").metadata["settings"]["runs_per_task"] == 42


@pytest.mark.parametrize("learner", ["expert", "mixed"])
def test_mazes_are_made(learner: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "maze.hdf5"
    command = ["data", "make", "--env", "tmaze", "--out", str(path), learner, "--episodes", "40"]
    main([*command, "--length", "30"])
    data = read_hdf5(path)
    assert data.metadata["behaviour"] == learner
    assert data.metadata["env_id"] == "dmh/TMaze-v0"
    assert set(data.lengths) == {31}
    assert (data.returns == 1).all() == (learner == "expert")
    assert "return_mean" in capsys.readouterr().out
    command[3] = "darkroom"
    assert "'darkroom' is not known; choose one of tmaze, tmazeactive" in fails(capsys, *command)


def test_mazes_are_trained_and_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = tmp_path / "maze.hdf5", tmp_path / "run"
    out, table = tmp_path / "e.json", tmp_path / "e.parquet"
    main(["data", "make", "--env", "tmazeactive", "--out", str(data), "expert", "--episodes", "4"])
    main(["train", "--data", str(data), "--out", str(run), "tmaze", *QUICK, "--contexts.active",
          "--contexts.longest", "100"])  # fmt: skip
    capsys.readouterr()
    main(
        [
            "evaluate",
            str(run),
            "--lengths",
            "7",
            "30",
            "--mazes",
            "4",
            "--json",
            str(out),
            "--parquet",
            str(table),
        ]
    )
    shown = capsys.readouterr().out
    assert "dmh/TMazeActive-v0, 4 mazes of each length" in shown
    summary = json.loads(out.read_text())
    rows = read_results(table)
    assert summary["mean_return"] == {
        str(length): pytest.approx(rows.loc[rows["corridor"] == length, "return"].mean())
        for length in (7, 30)
    }
    assert summary["temperature"] == 0
    assert "env_id' is dmh/TMazeActive-v0" in fails(
        capsys, "train", "--data", str(data), "--out", str(tmp_path / "other"), "tmaze", *QUICK
    )


@pytest.mark.parametrize(("preset", "label"), [("tmaze-dt", "DT"), ("tmaze-dm", "DM")])
def test_baselines_learn_mazes(
    preset: str, label: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, folder, table = tmp_path / "maze.hdf5", tmp_path / "run", tmp_path / "e.parquet"
    main(["data", "make", "--env", "tmaze", "--out", str(data), "expert", "--episodes", "2"])
    main(["train", "--data", str(data), "--out", str(folder), preset, *QUICK,
          "--model.context-len", "61", "--contexts.longest", "60"])  # fmt: skip
    main(["evaluate", str(folder), "--best", "--lengths", "20", "--mazes", "2", "--parquet", str(table)])
    assert "2 mazes of each length" in capsys.readouterr().out
    assert set(read_results(table)["method"]) == {label}
    about = json.loads((folder / "run.json").read_text())
    assert about["play"]["target_return"] == 1
    assert about["contexts"]["first_cap"] == 100


def test_train_then_evaluate(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, table = tmp_path / "e.json", tmp_path / "e.parquet"
    main(["evaluate", str(run), "--split", "test", "--episodes", "3", "--seeds", "5", "6",
          "--json", str(out), "--parquet", str(table)])  # fmt: skip
    shown = capsys.readouterr().out
    assert "last episode:" in shown
    summary = json.loads(out.read_text())
    assert len(summary["return_by_episode"]) == 3
    assert 0 <= summary["percent_of_optimum"] <= 100
    about = json.loads((next(run.glob("checkpoint-*")) / "checkpoint.json").read_text())
    assert summary["temperature"] == about["play"]["temperature"]
    rows = read_results(table)
    assert set(rows["method"]) == {"DM-H", "DM-H without memory", "oracle"}
    assert set(rows["seed"]) == {5, 6}


def test_the_best_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no checkpoint in it says its loss" in fails(capsys, "evaluate", str(tmp_path), "--best")


def test_train_resumes(run: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "--data", str(data), "--out", str(run), "small", *QUICK]
    assert "holds a run already" in fails(capsys, *command)
    main(["train", "--resume", *command[1:]])
    assert "trained 6 updates" in capsys.readouterr().out


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a terminal: what a script starts in the background ignores it, these tests among it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_training_is_interrupted_and_goes_on(
    sent: signal.Signals,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "small", *QUICK]
    command += ["--training.log-every", "2"]
    row = training._log_row

    def pressed(*args: Any) -> dict[str, float]:
        signal.raise_signal(sent)
        return row(*args)

    before = signal.getsignal(sent)
    monkeypatch.setattr(training, "_log_row", pressed)
    with pytest.raises(SystemExit) as caught:
        main(command)
    monkeypatch.undo()
    assert caught.value.code == 128 + sent
    assert signal.getsignal(sent) == before
    assert "stopped after 2 of 6 updates; " in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-00000002"]
    main(["train", "--resume", *command[1:]])
    assert "trained 6 updates" in capsys.readouterr().out


@pytest.mark.usefixtures("ctrl_c")
def test_what_is_interrupted_says_so_in_a_line(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dmh_lib.data.read_hdf5", lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(SystemExit) as caught:
        main(["data", "info", str(data)])
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("preset", ["paper", "official"])
def test_presets_train(preset: str, data: Path, tmp_path: Path) -> None:
    quick = [
        "--training.updates",
        "2",
        "--training.batch-size",
        "2",
        "--model.d-model",
        "16",
        "--contexts.n-episodes",
        "2",
    ]
    main(["train", "--data", str(data), "--out", str(tmp_path / preset), preset, *quick])
    about = json.loads((tmp_path / preset / "run.json").read_text())
    assert about["model"]["tokens"] == "paper"
    assert about["model"]["sliding_window"] is (preset == "official")


@pytest.mark.parametrize(
    ("preset", "method", "label"),
    [
        ("ad", "ad", "AD"),
        ("ad-mamba", "ad", "AD-Mamba"),
        ("dt", "dt", "DT"),
        ("dm", "dt", "DM"),
        ("at", "at", "AT"),
    ],
)
def test_a_baseline_trains_and_evaluates(
    preset: str, method: str, label: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out, table = tmp_path / "run", tmp_path / "e.json", tmp_path / "e.parquet"
    draws = ["--contexts.n-episodes", "4"] if method == "at" else ["--contexts.start", "first"]
    main(["train", "--data", str(data), "--out", str(folder), preset, *QUICK,
          "--model.context-len", "100", *draws])  # fmt: skip
    assert "temperature" in capsys.readouterr().out
    about = json.loads((folder / "run.json").read_text())
    assert about["method"] == method
    if method == "at":
        assert about["contexts"]["n_episodes"] == 4
    else:
        assert about["contexts"] == {"start": "first", "stride": 1}
    main(["evaluate", str(folder), "--episodes", "2", "--seeds", "5",
          "--json", str(out), "--parquet", str(table)])  # fmt: skip
    assert "last episode:" in capsys.readouterr().out
    assert json.loads(out.read_text())["method"] == label
    assert set(read_results(table)["method"]) == {label, f"{label} without memory", "oracle"}


@pytest.mark.parametrize(
    ("preset", "method", "label"), [("dpt", "dpt", "DPT"), ("bc", "bc", "BC"), ("bc-10", "bc", "BC-10%")]
)
def test_pretrained_and_cloned_baselines(
    preset: str, method: str, label: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "run", tmp_path / "e.json"
    main(["train", "--data", str(data), "--out", str(folder), preset, *QUICK])
    assert "temperature" in capsys.readouterr().out
    assert json.loads((folder / "run.json").read_text())["method"] == method
    main(["evaluate", str(folder), "--episodes", "2", "--seeds", "5", "--json", str(out)])
    summary = json.loads(out.read_text())
    assert (summary["method"], summary["without_memory"]["method"]) == (label, f"{label} without memory")


def test_bad_input_is_one_line(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "nowhere.hdf5: does not exist" in fails(capsys, "data", "info", str(tmp_path / "nowhere.hdf5"))
    cut = tmp_path / "cut.hdf5"
    cut.write_bytes(data.read_bytes()[:3000])
    assert "cut.hdf5" in fails(capsys, "train", "--data", str(cut), "--out", str(tmp_path / "a"))
    nan = tmp_path / "nan.hdf5"
    nan.write_bytes(data.read_bytes())
    with h5py.File(nan, "r+") as file:
        file["rewards"][25] = np.nan
    message = fails(capsys, "train", "--data", str(nan), "--out", str(tmp_path / "a"))
    assert "nan.hdf5" in message
    assert "'rewards', episode 1" in message
    assert not (tmp_path / "a").exists()
    assert "no checkpoint here" in fails(capsys, "evaluate", str(tmp_path))
    assert "not for dmh/DarkroomHard-v0" in fails(capsys, "evaluate", str(run), "--env", "darkroomhard")
    assert "environment: 'lightroom'" in fails(capsys, "data", "make", "--env", "lightroom")
    assert "do not fit" in fails(capsys, "data", "make", "--num-test", "81")
    assert "key=value" in fails(capsys, "run", str(tmp_path / "n.ipynb"), "-p", "seed")
    assert "does not exist" in fails(capsys, "run", str(tmp_path / "n.ipynb"))


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--training.updates", "0"], "updates"),
        (["--contexts.failures", "2"], "failures"),
        (["--model.heads", "0"], "heads"),
        (["--model.dropout", "1"], "dropout"),
    ],
)
def test_a_bad_setting_is_one_line(flags: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert word in fails(capsys, "train", "--data", "x.hdf5", "--out", "y", "small", *flags)


def test_too_much_data_is_refused_before_it_fills_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, "data", "make", "--env", "darkkeytodoor", "searcher", "--runs-per-task", "1000")
    assert "runs_per_task" in message


def shell(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dmh_lib.cli", *args], capture_output=True, text=True, check=False
    )


def test_help_and_exit_code_from_a_shell() -> None:
    helped = shell("--help")
    assert helped.returncode == 0
    for word in ("data", "train", "evaluate", "run"):
        assert word in helped.stdout
    failed = shell("evaluate", "/nowhere")
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: /nowhere: no checkpoint here")
    assert "Traceback" not in failed.stderr


def hopper_like_file(path: Path, env_id: str, steps: int) -> None:
    """A file in D4RL's schema from random play: continuous actions, unequal episodes, both kinds of end."""
    env = gym.make(env_id, max_episode_steps=40)
    env.action_space.seed(0)
    columns: dict[str, list[object]] = {
        name: []
        for name in ("observations", "actions", "rewards", "terminals", "timeouts", "next_observations")
    }
    seen, _ = env.reset(seed=0)
    for _ in range(steps):
        # small actions keep the hopper up longer, so that some episodes run out of time
        action = env.action_space.sample() * (0.1 if len(columns["rewards"]) % 400 < 200 else 1.0)
        after, reward, terminal, timeout, _ = env.step(action)
        for name, value in zip(columns, (seen, action, reward, terminal, timeout, after), strict=True):
            columns[name].append(value)
        seen = env.reset()[0] if terminal or timeout else after
    env.close()
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file.create_dataset(name, data=np.asarray(values), compression="gzip")
        file["metadata/algorithm"] = np.bytes_("random")


def test_a_d4rl_file_loads_trains_and_evaluates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, folder, out = tmp_path / "hopper_random-v2.hdf5", tmp_path / "run", tmp_path / "e.json"
    hopper_like_file(path, "Hopper-v5", 1200)
    with h5py.File(path) as file:
        assert file["terminals"][:].any()
        assert file["timeouts"][:].any()
    main(["data", "info", str(path)])
    assert "continuous" in capsys.readouterr().out
    main(["train", "--data", str(path), "--out", str(folder), "small", *QUICK, "--model.chunk-len", "20",
          "--model.use-return-to-go", "--contexts.n-episodes", "4"])  # fmt: skip
    assert "name the environment" in fails(capsys, "evaluate", str(folder))
    main(["evaluate", str(folder), "--env", "Hopper-v5", "--episodes", "2", "--seeds", "0", "1",
          "--target-return", "3600", "--json", str(out)])  # fmt: skip
    summary = json.loads(out.read_text())
    assert summary["env_id"] == "Hopper-v5"
    assert len(summary["return_by_episode"]) == 2
    assert all(np.isfinite(summary["return_by_episode"]))
    assert summary["split"] is None
    expected = 100 * (summary["return_by_episode"][-1] + 20.272305) / (3234.3 + 20.272305)
    assert summary["d4rl_score"] == pytest.approx(expected, abs=0.01)
    low, high = summary["d4rl_interval_95"]
    assert low <= summary["d4rl_score"] <= high
    assert "D4RL's score" in capsys.readouterr().out

"""YAML: sweeps over a notebook and over a training."""

import json
import re
from pathlib import Path
from random import Random

import yaml
from fuzz_hdf5 import ours
from fuzz_notebooks import notebook
from fuzz_seed import Seed
from fuzz_values import damaged_value, odd_value

from dmh_lib.sweep.gather import overview, read_lives
from dmh_lib.sweep.spec import read_sweep
from dmh_lib.sweep.store import folder_of

OF_A_NOTEBOOK = """\
notebook: notebook.ipynb
parameters: {quick: false}
product:
  seed: {range: 3}
  rate: [1e-3, 0.5]
zip:
  word: [a, ä]
  sizes: [[1, 2], []]
"""
OF_A_TRAINING = """\
train: data.hdf5
preset: small
episodes: 3
seeds: [0, 1]
parameters: {training.batch_size: 4}
product: {model.chunk_len: [5, 10], training.seed: {range: [1, 3]}}
"""
BOMB = ", ".join(
    ["&a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    + [f"&a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
)
VALUES = (
    "!!python/object/apply:os.system ['touch executed']",
    "!!python/object/new:subprocess.Popen [['touch', 'executed']]",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!binary aGFsbG8=",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!timestamp 2026-01-01",
    "!<tag:x,2000:y> z",
    "!x z",
    "&a [*a]",
    "&a {b: *a}",
    "{range: 1000000000000000000000}",
    "{range: [0, 99999, 1]}",
    "{range: [9, 0, -1]}",
    "{range: []}",
    "{range: 1e400}",
    "0x" + "f" * 10_000,
    "9" * 10_000,
    "1" + ":59" * 3000,
    "1e" + "9" * 1000,
    "[" * 5000,
    "[" * 400 + "]" * 400,
    "{a: " * 400 + "}" * 400,
    "? [a]\n  : b",
    "{<<: {a: 1}, b: 2}",
    "'\\x1b[2J'",
    '"\\e[2J\\n"',
    '"\\ud800"',
    "~",
    ".nan",
    "-.inf",
    "2026-13-45",
    "1_000",
    "0b1",
    "|\n  text\n  more",
    "../../outside",
    "/dev/zero",
    "%TAG",
    "@x",
    "`x`",
)


def of_a_notebook(folder: Path) -> Path:
    notebook(folder)
    (folder / "sweep.yaml").write_text(OF_A_NOTEBOOK, encoding="utf-8")
    return folder / "sweep.yaml"


def of_a_training(folder: Path) -> Path:
    ours(folder)
    (folder / "sweep.yaml").write_text(OF_A_TRAINING, encoding="utf-8")
    return folder / "sweep.yaml"


def read(path: Path, out: Path) -> None:
    """As the command does, up to the first run."""
    orders = read_sweep(path).orders()
    names = {order.name for order in orders}
    assert len(names) == len(orders)
    for order in orders:
        json.dumps(order.to_json(), allow_nan=False)
        place = folder_of(order, out)
        place.mkdir(parents=True)
        assert place.resolve().parent == (out / "runs").resolve()
    overview(orders[:50], out, read_lives(orders[:50], out))


def damage_yaml(rng: Random, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    choice = rng.randrange(10)
    if choice > 7:  # a value alone
        found = rng.choice([*re.finditer(r"(?<=[:,\[] )?[\w.-]+(?=[\],}\n])", text)])
        text = text[: found.start()] + rng.choice((*VALUES, "0", "7", "b", "true")) + text[found.end() :]
    elif choice < 3:
        value = damaged_value(rng, yaml.safe_load(text))
        text = yaml.safe_dump(
            value, allow_unicode=rng.random() < 0.5, default_flow_style=rng.choice((None, True))
        )
    elif choice < 5:
        lines = text.splitlines()
        place = rng.randrange(len(lines))
        name = rng.choice((lines[place].partition(":")[0], "seed", "product", "notebook", "train"))
        new = f"{name}: {rng.choice((*VALUES, str(odd_value(rng))))}"
        lines[place : place + rng.randrange(2)] = [new]
        text = "\n".join(lines)
    elif choice == 5:
        old = rng.choice(("[a, ä]", "{range: 3}", "[1, 2], []", "0.5", "[0, 1]", "5, 10", "small"))
        text = text.replace(old, f"[{BOMB}]" if old[0] in "[{" else BOMB)
    elif choice == 6:
        lines = text.splitlines()
        lines.insert(rng.randrange(len(lines)), rng.choice(lines))
        text = "\n".join(lines)
    else:
        many = rng.choice((10, 20_000))
        text += rng.choice((lambda n: f"x{n}: 1", lambda n: "- 1", lambda n: f"  x{n}: [1, 2]"))(0) * (
            many == 10
        )
        text += "".join(f"y{n}: 1\n" for n in range(many))
    path.write_bytes(text.encode("utf-8" if rng.random() < 0.97 else "utf-16", "surrogatepass"))


SEEDS = (
    Seed(of_a_notebook, read, damage_yaml, ()),
    Seed(of_a_training, read, damage_yaml, ()),
)

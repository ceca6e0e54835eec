"""safetensors: weights, the state of a training, and policies."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from fuzz_checkpoints import play, resume, run
from fuzz_seed import Seed
from fuzz_values import damaged_json, damaged_value, odd_value
from safetensors.torch import load_file, save_file

from dmh_lib.behaviour.policy import GaussianPolicy, load_policy, save_policy

Header = dict[str, Any]


def weights(folder: Path) -> Path:
    return run(folder) / "model.safetensors"


def state(folder: Path) -> Path:
    return run(folder) / "training.safetensors"


def policy(folder: Path) -> Path:
    torch.manual_seed(0)
    path = folder / "step-00000010.safetensors"
    save_policy(
        GaussianPolicy(3, [-1.0, 0.0], [1.0, 5.0], hidden=4), path, {"env_id": "Hopper-v5", "score": 1}
    )
    return path


def act(path: Path, _: Path) -> None:
    found, about = load_policy(path)
    actions = found.act(np.ones((2, found.obs_mean.shape[0])), torch.Generator().manual_seed(0))
    assert np.isfinite(actions).all()
    json.dumps(about)


# ---------------------------------------------------------------------- damage


def damage_safetensors(rng: Random, path: Path) -> None:
    """Change the tensors, or the header that says where they are."""
    if rng.random() < 0.4:
        _damage_tensors(rng, path)
        return
    contents = path.read_bytes()
    (length,) = struct.unpack("<Q", contents[:8])
    text, rest = contents[8 : 8 + length], contents[8 + length :]
    if rng.random() < 0.25:
        header = damaged_json(rng, text.decode())
    else:
        found = json.loads(text)
        rng.choice(_DAMAGES)(rng, found, rng.choice([name for name in found if name != "__metadata__"]))
        header = json.dumps(found).encode()
    length = len(header)
    if rng.random() < 0.1:
        length = rng.choice((0, 1, length - 1, length + 1, 2**31, 2**40, 2**63, 2**64 - 1))
    path.write_bytes(struct.pack("<Q", length) + header + rest)


def _shape(rng: Random, header: Header, name: str) -> None:
    header[name]["shape"] = rng.choice(
        (
            [],
            [0],
            [2**63],
            [2**32, 2**32],
            [10**12],
            [-1],
            [1.5],
            ["2"],
            None,
            [1] * 100,
            header[name]["shape"] * 2,
        )
    )


def _offsets(rng: Random, header: Header, name: str) -> None:
    start, end = header[name]["data_offsets"]
    header[name]["data_offsets"] = rng.choice(
        (
            [0, 0],
            [start, 2**40],
            [2**64 - 8, 2**64],
            [end, start],
            [-4, end],
            [start + 4, end + 4],
            [start],
            None,
        )
    )


def _overlap(rng: Random, header: Header, name: str) -> None:
    other = rng.choice([key for key in header if key != "__metadata__"])
    header[name] = header[other]


def _type(rng: Random, header: Header, name: str) -> None:
    header[name]["dtype"] = rng.choice(
        ("F64", "F16", "BF16", "I32", "U8", "BOOL", "C64", "F8_E4M3", "F4", "X", 3)
    )


def _renamed(rng: Random, header: Header, name: str) -> None:
    header[rng.choice(("x", "", "../x", "a\0b", name + ".x", "__class__"))] = header.pop(name)


def _dropped(_: Random, header: Header, name: str) -> None:
    del header[name]


def _metadata(rng: Random, header: Header, _: str) -> None:
    header["__metadata__"] = rng.choice(
        (None, {}, {"about": 3}, {"about": "["}, {"about": "{}"}, {"x": "y"}, [])
    )


def _about(rng: Random, header: Header, _: str) -> None:
    """What policies note in their header."""
    known = json.loads(header.get("__metadata__", {}).get("about", "{}"))
    header["__metadata__"] = {"about": json.dumps(damaged_value(rng, known))}


def _any(rng: Random, header: Header, name: str) -> None:
    header[name] = rng.choice((odd_value(rng), damaged_value(rng, header[name])))


_DAMAGES: tuple[Callable[[Random, Header, str], None], ...] = (
    *(
        _shape,
        _shape,
        _offsets,
        _offsets,
        _overlap,
        _type,
        _type,
        _renamed,
        _dropped,
        _metadata,
        _about,
        _any,
    ),
)


def _damage_tensors(rng: Random, path: Path) -> None:
    """Tensors of other kinds, sizes and values, correctly written."""
    tensors = load_file(path)
    for _ in range(rng.choice((1, 1, 2, 3))):
        name = rng.choice(list(tensors))
        found = tensors[name].clone()
        kinds = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
        choice = rng.randrange(6)
        if choice == 0:
            tensors[name] = found.to(rng.choice(kinds))
        elif choice == 1:
            tensors[name] = torch.zeros(rng.choice(((), (0,), (1,), (3,), (2, 2), (*found.shape, 1))))
        elif choice == 2 and found.is_floating_point() and found.numel():
            found.view(-1)[rng.randrange(found.numel())] = rng.choice(
                (torch.nan, torch.inf, -1.0, 1e30, 1e38)
            )
            tensors[name] = found
        elif choice == 3 and found.is_floating_point():
            tensors[name] = torch.full_like(found, rng.choice((torch.nan, -torch.inf, 1e30, -1.0, 0.0)))
        elif choice == 4:
            del tensors[name]
        else:
            tensors[rng.choice(("x", name + "x", "log:sums", "random:cpu"))] = found
        if not tensors:
            break
    about = json.dumps({"squash": rng.choice((True, False, "x", None))})
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, {"about": about})


BESIDE = ("checkpoint.json", "training.json")
SEEDS = (
    Seed(weights, play, damage_safetensors, BESIDE),
    Seed(weights, play, damage_safetensors, BESIDE),
    Seed(state, resume, damage_safetensors, BESIDE),
    Seed(policy, act, damage_safetensors),
)

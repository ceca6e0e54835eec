"""Several processes that train one model: each takes a part of every batch, as if one had taken it whole."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import distributed as dist

from dmh_lib.errors import SettingError
from dmh_lib.models import ActionModel

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def fabric_of(logs: Path, precision: str, devices: int = 1) -> "Fabric":
    """Where and in what precision a model is trained, and what writes its log.

    Args:
        logs: folder of the logs, CSV and TensorBoard.
        precision: number format, see `TrainConfig`.
        devices: processes on this machine, each with a GPU of its own, or with its share of the cores where
            there is none. torchrun says itself how many, on how many machines.

    Raises:
        SettingError: there are not so many, or this is a notebook, which no other process can run as well.
    """
    # two to three seconds to import, which those need not wait for who look at a trained model
    from lightning_fabric import Fabric
    from lightning_fabric.loggers.csv_logs import CSVLogger
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    machines = 1
    if dist.is_torchelastic_launched():
        devices, machines = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["GROUP_WORLD_SIZE"])
    found = torch.cuda.device_count() if torch.cuda.is_available() else os.cpu_count() or 1
    if not 1 <= devices <= found:
        what = "GPUs" if torch.cuda.is_available() else "cores"
        raise SettingError(f"devices: must be 1 to {found}, the number of {what} here, got {devices}")
    try:
        return Fabric(
            accelerator="cuda" if torch.cuda.is_available() else "cpu",
            devices=devices,
            num_nodes=machines,
            strategy="ddp" if devices * machines > 1 else "auto",
            precision=precision,  # type: ignore[arg-type]
            loggers=[
                CSVLogger(logs, name="", version="", flush_logs_every_n_steps=1),
                TensorBoardLogger(logs, name="tb", version=""),
            ],
        )
    except RuntimeError as error:
        if "interactive" not in str(error):
            raise
        raise SettingError(
            "devices: in a notebook there is one; use `dmh train --devices` for more"
        ) from error


def is_first() -> bool:
    """Whether this process is the one that speaks and writes; true where there is no other."""
    return not dist.is_initialized() or dist.get_rank() == 0


def part_randomness(model: ActionModel, seed: int, rank: int) -> None:
    """Give each process dropout of its own, and all of them the noise of sub-goals that one would draw."""
    device = model.obs_mean.device
    model.noise = torch.Generator(device)
    model.noise.set_state(
        torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
    )
    torch.manual_seed(int(np.random.SeedSequence([seed, rank]).generate_state(1)[0]))

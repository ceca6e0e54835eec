"""Damage that knows nothing of a format: bytes flipped, cut, doubled, moved and mixed."""

import struct
from collections.abc import Callable, Sequence
from random import Random

ODD_NUMBERS = (0, 1, -1, 2**7, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, -(2**63))


def flipped(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwritten(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    start, end = _span(rng, data)
    data[start:end] = rng.choice((rng.randbytes(end - start), bytes(end - start), b"\xff" * (end - start)))


def with_an_odd_number(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    number, kind = rng.choice(ODD_NUMBERS), rng.choice("BHIQ")
    written = struct.pack("<" + kind, number % 2 ** (8 * struct.calcsize("<" + kind)))
    start = rng.randrange(len(data))
    if rng.random() < 0.7:  # where a number of a format is likely to stand
        start -= start % len(written)
    data[start : start + len(written)] = written


def cut_short(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    del data[rng.randrange(len(data)) :]


def with_a_hole(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    start, end = _span(rng, data)
    del data[start:end]


def with_a_double(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    start, end = _span(rng, data)
    data[end:end] = data[start:end]


def spliced(rng: Random, data: bytearray, others: Sequence[bytes]) -> None:
    """The beginning of this file, then the end of another or this one."""
    other = rng.choice(others)
    data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]


def with_rubbish_behind(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    data += rng.randbytes(rng.randrange(1, 100))


DAMAGES: tuple[Callable[[Random, bytearray, Sequence[bytes]], None], ...] = (
    flipped,
    flipped,
    overwritten,
    with_an_odd_number,
    with_an_odd_number,
    cut_short,
    with_a_hole,
    with_a_double,
    spliced,
    with_rubbish_behind,
)


def damaged(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """The file with one to three damages; `others` are files of the same format."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if found:
            rng.choice(DAMAGES)(rng, found, others)
    return bytes(found)


def _span(rng: Random, data: bytearray) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice((1, 2, 4, 8, 64, 512)))

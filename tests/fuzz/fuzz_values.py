"""Damage to plain values (what JSON and YAML hold), and to the JSON text that they become."""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

EXECUTES = "__import__('os').system('touch executed')"
ODD_TEXTS = (
    "",
    "x",
    "..",
    "../../outside",
    "/outside",
    "C:\\outside",
    "CON",
    ".hidden",
    "~",
    "a\0b",
    "a\nb\x1b[2J",
    "\ud800",
    "ä" * 300,
    "x" * 100_000,
    "{x}",
    "%s",
    "$(touch executed)",
    "<script>alert(1)</script>",
    EXECUTES,
    "nan",
    "1",
    "__class__",
)
ODD_VALUES = (
    *(None, True, False, 0, 1, -1, 2, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**30, 10**400),
    *(0.5, -0.5, 1e308, 5e-324, float("nan"), float("inf"), float("-inf")),
    *([], {}, [[]], [None], [1, "a"], {"a": 1}, {"": None}, [0] * 1000),
)


def odd_value(rng: Random) -> Any:
    """A value that is rarely what was meant."""
    return deepcopy(rng.choice((*ODD_VALUES, *ODD_TEXTS)))


def damaged_value(rng: Random, value: Any) -> Any:
    """A copy with one to three damages, anywhere in it."""
    holder = [deepcopy(value)]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _damage(rng, holder)
    return holder[0]


def damaged_json(rng: Random, text: str) -> bytes:
    """JSON whose values are damaged, and now and then its text as well."""
    value = damaged_value(rng, json.loads(text))
    written = json.dumps(value, indent=rng.choice((None, 1)))
    if rng.random() < 0.25:
        return rng.choice(_TEXT_DAMAGES)(rng, written)
    return written.encode()


def _damage(rng: Random, holder: list[Any]) -> None:
    places = list(_places(holder))
    inside, key = rng.choice(places)
    choice = rng.randrange(10)
    if choice < 5:
        inside[key] = odd_value(rng)
    elif choice == 5 and inside is not holder:
        del inside[key]
    elif choice == 6 and isinstance(inside, dict):
        inside[rng.choice(ODD_TEXTS)] = inside.pop(key)
    elif choice == 7:
        inside[key] = rng.choice(([inside[key]], {"x": inside[key]}, str(inside[key])))
    elif choice == 8:
        other, place = rng.choice(places)
        inside[key] = deepcopy(other[place]) if place in other or isinstance(other, list) else None
    elif isinstance(inside, dict):
        inside[rng.choice(("x", "../x", "path", *ODD_TEXTS))] = odd_value(rng)
    else:
        inside.insert(key, odd_value(rng))


def _places(value: Any) -> Any:
    """(container, key) of all that is in there."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


def _twice(rng: Random, text: str) -> bytes:
    """Some key stands twice, first with another value."""
    keys = re.findall(r'"[^"\\]+"(?=:)', text)
    return text.replace("{", "{" + f"{rng.choice(keys)}: null, ", 1).encode() if keys else b""


_TEXT_DAMAGES: tuple[Callable[[Random, str], bytes], ...] = (
    _twice,
    lambda rng, text: text.encode("utf-16"),
    lambda rng, text: b"\xef\xbb\xbf" + text.encode(),
    lambda rng, text: text.replace('"', '"\xe9', 1).encode("latin-1"),
    lambda rng, text: b"[" * 100_000 + text.encode() + b"]" * 100_000,
    lambda rng, text: b'{"a":' * 100_000 + text.encode() + b"}" * 100_000,
    lambda rng, text: re.sub(
        r"\d+", rng.choice(("9" * 5000, "1e999", "-0", "00", "0x1", "NaN")), text
    ).encode(),
    lambda rng, text: text.encode() + b"\0" + text.encode(),
    lambda rng, text: text.replace("}", ",}").encode(),
    lambda rng, text: b"// so\n" + text.encode(),
)

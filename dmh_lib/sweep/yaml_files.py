"""YAML without surprises: nothing is executed, no key is lost, and 1e-3 is a number."""

import os
import re
from pathlib import Path
from typing import Any

import yaml

from dmh_lib.errors import SettingError

MOST_BYTES = 100_000  # which take two seconds
MOST_VALUES = 100_000  # where an alias stands for what it names
MOST_BITS = 1024  # of a whole number; a float holds no more


class _Loader(yaml.SafeLoader):
    """Plain values alone; as YAML 1.2 has them."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set[str]()
    for key in [loader.construct_object(key, deep=True) for key, _ in node.value]:
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is no text", node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key '{key}' stands twice", node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# YAML 1.1, which PyYAML reads, takes 1e-3 for a text
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The mapping in a YAML file; raises SettingError for anything else, naming the line."""
    file = Path(path)
    try:
        if file.stat().st_size > MOST_BYTES:
            raise SettingError(f"{file}: larger than {MOST_BYTES:,} bytes; a sweep is a page of text")
        found = yaml.load(file.read_text(encoding="utf-8"), _Loader)  # a SafeLoader
    except OSError as error:
        raise SettingError(f"{file}: cannot be read ({error.strerror}); check the path") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingError(f"{file}: not YAML ({' '.join(str(error).split())}); mend it there") from error
    if (problem := _problem_of(found)) is not None:
        raise SettingError(f"{file}: {problem}; mend it there")
    if not isinstance(found, dict):
        raise SettingError(f"{file}: must hold names and values, 'notebook: …' first")
    return found


def _problem_of(found: Any) -> str | None:
    """What is too large about the values, if something is: aliases of aliases, or of what they stand in."""
    todo, values = [found], 0
    while todo:
        one = todo.pop()
        values += 1
        if isinstance(one, dict):
            todo += one.values()
        elif isinstance(one, (list, tuple, set)):
            todo += one
        elif isinstance(one, (str, bytes)):
            values += len(one) // 10
        elif isinstance(one, int) and one.bit_length() > MOST_BITS:
            return f"holds a number of more than {MOST_BITS:,} bits"
        if values + len(todo) > MOST_VALUES:
            return f"holds more than {MOST_VALUES:,} values where aliases stand for what they name"
    return None

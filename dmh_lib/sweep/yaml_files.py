"""YAML without surprises: nothing is executed, no key is lost, and 1e-3 is a number."""

import os
import re
from pathlib import Path
from typing import Any

import yaml

from dmh_lib.errors import SettingError

MOST_BYTES = 1_000_000


class _Loader(yaml.SafeLoader):
    """Plain values alone; as YAML 1.2 has them."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for number, key in enumerate(keys):
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is no text", node.start_mark
            )
        if key in keys[:number]:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key '{key}' stands twice", node.start_mark
            )
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
            raise SettingError(f"{file}: larger than a megabyte; a sweep is a page of text")
        found = yaml.load(file.read_text(encoding="utf-8"), _Loader)  # a SafeLoader
    except OSError as error:
        raise SettingError(f"{file}: cannot be read ({error.strerror}); check the path") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingError(f"{file}: not YAML ({' '.join(str(error).split())}); mend it there") from error
    if not isinstance(found, dict):
        raise SettingError(f"{file}: must hold names and values, 'notebook: …' first")
    return found

"""The settings as they are written: the YAML file, and the names in the environment."""

import difflib
import json
from collections.abc import Collection, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

PREFIX = "GATEWAY_"
OTHERS = "GATEWAY_TEST_"
"""Begins the names that the tests' own tools use."""
MERGE = "tag:yaml.org,2002:merge"


class SettingsInvalid(Exception):
    """The settings cannot be used; the message names each wrong one."""


class _Loader(yaml.SafeLoader):
    """YAML in which no mapping has a key twice: the second would count, and the first look as if it did."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True) if key_node.tag != MERGE else None
            if key is not None and isinstance(key, Hashable) and key in seen:
                raise SettingsInvalid(f"line {key_node.start_mark.line + 1}: the key `{key}` stands twice")
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


def read(path: Path) -> dict[str, Any]:
    """Return what the file says. Raises `SettingsInvalid` where it is no mapping of settings."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise SettingsInvalid(f"{path}: {error}") from None
    except SettingsInvalid as error:
        raise SettingsInvalid(f"{path}: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SettingsInvalid(f"{path}: must be a mapping of settings, such as `port: 8000`")
    if (strange := next((key for key in document if not isinstance(key, str) or key != key.lower()), None)) is not None:
        raise SettingsInvalid(f"{path}: `{strange}` is no setting: their names are words in small letters")
    if "config" in document:
        raise SettingsInvalid(f"{path}: config: cannot stand in the file; GATEWAY_CONFIG names the file")
    return document


def misnamed(environment: Mapping[str, str], settings: Mapping[str, Collection[str]]) -> list[str]:
    """Return a complaint for each GATEWAY_ name that is no setting, or holds broken JSON.

    *settings* maps each setting to those inside it. An unknown name is refused: it is a known one misspelt.
    """
    known = {f"{PREFIX}{name}".upper() for name in settings}
    known |= {f"{PREFIX}{name}__{inner}".upper() for name, inners in settings.items() for inner in inners}
    written_as_json = {name for name, inners in settings.items() if inners} | {
        "deployments",
        "gpus",
        "webhooks",
        "trusted_proxies",
    }
    nested = {f"{name}__{inner}" for name, inners in settings.items() for inner in inners}
    written_as_json |= {name.rpartition("__")[0] for name in nested}
    complaints = []
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name.startswith(OTHERS):
            continue
        if name.upper() not in known:
            complaints.append(f"{name}: there is no such setting{nearest(name, known)}")
        elif value and name.removeprefix(PREFIX).lower() in written_as_json:
            complaints += _broken_json(name, value)
    return complaints


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a question that names the known name most like *name*, or nothing."""
    found = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean `{found[0]}`?" if found else ""


def _broken_json(name: str, value: str) -> list[str]:
    try:
        json.loads(value)
    except (ValueError, RecursionError) as error:
        return [f"{name}: is not valid JSON: {error}"]
    return []

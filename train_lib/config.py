"""Reading a recipe: the file, its variant, and what the command line sets in it."""

import ast
import difflib
import importlib.util
import pathlib
import traceback
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from train_lib.errors import InputError


class ConfigError(InputError):
    """Everything that is wrong with a configuration, found before data is touched."""

    def __init__(self, faults: list[str]):
        self.faults = faults
        lines = "\n".join(f"  {i}. {fault}" for i, fault in enumerate(faults, 1))
        count = f"{len(faults)} fault" + ("s" if len(faults) > 1 else "")
        super().__init__(f"the configuration has {count}:\n{lines}")


class Recipe(NamedTuple):
    """A config and where it came from.

    Attributes:
        config: Locked ConfigDict with all overrides set.
        default: The recipe's config without argument and overrides.
        variant: The recipe's config with its argument, without overrides.
        source: `file.py:variant`.
        faults: What could not be set, one sentence each.
    """

    config: ConfigDict
    default: ConfigDict
    variant: ConfigDict
    source: str
    faults: list[str]


def nearest(name: str, choices) -> str:
    """`; did you mean 'x'?` for the nearest choice, or nothing."""
    found = difflib.get_close_matches(str(name), list(choices), n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


def load_recipe(source: str, overrides: dict[str, str]) -> Recipe:
    """Loads `file.py` or `file.py:variant` and sets fields in it.

    Args:
        source: Path of the recipe, with its argument after a colon.
        overrides: Dotted field names with values as text, `{"train.epochs": "5"}`.

    Returns:
        The recipe; overrides that could not be set are among its faults.

    Raises:
        ConfigError: The file or the variant does not exist, or the file fails.
    """
    path, _, argument = source.partition(":")
    path = pathlib.Path(path)
    module = _load_module(path)
    try:
        config, default = module.get_config(argument), module.get_config()
        variant = module.get_config(argument)
    except Exception as error:
        raise ConfigError([_where(source, path, error)]) from error
    faults = [
        fault
        for name, text in overrides.items()
        if (fault := _override(config, name, text))
    ]
    config.lock()
    return Recipe(config, default, variant, source, faults)


def _load_module(path: pathlib.Path):
    if path.suffix != ".py" or not path.is_file():
        found = sorted(str(p) for p in pathlib.Path("configs").glob("*.py"))
        raise ConfigError(
            [
                f"got --config={path}, which is no file; expected a recipe such as "
                f"{', '.join(found) or 'configs/moco_effnet.py'}"
                f"{nearest(str(path), found)}"
            ]
        )
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError([_where(str(path), path, error)]) from error
    if not hasattr(module, "get_config"):
        raise ConfigError([f'{path} has no get_config(arg=""); a recipe needs one'])
    return module


def _where(source: str, path: pathlib.Path, error: Exception) -> str:
    """Says what a recipe's own code raised, and in which of its lines."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if pathlib.Path(frame.filename) == path
    ]
    if isinstance(error, ValueError):  # the recipe's own words, as for a variant
        return f"{source}: {error}"
    line = f", line {lines[-1]}" if lines else ""
    return f"{source}{line}: the recipe stops with {type(error).__name__}: {error}"


def _override(config: ConfigDict, name: str, text: str) -> str | None:
    """Sets one field; returns what is wrong, if anything."""
    node, parts = config, name.split(".")
    for i, part in enumerate(parts):
        if not isinstance(node, ConfigDict) or part not in node:
            where = ".".join(parts[:i])
            choices = list(node.keys()) if isinstance(node, ConfigDict) else []
            full = [f"{where}.{c}" if where else c for c in choices]
            hint = nearest(part, choices) or f"; choices: {', '.join(full) or 'none'}"
            return f"unknown field config.{name}{hint}"
        if i < len(parts) - 1:
            node = node[part]
    old = node[parts[-1]]
    if isinstance(old, ConfigDict):
        return f"config.{name} is a section; set one of its fields: {', '.join(old)}"
    value, fault = parse(text, old)
    if fault:
        return f"config.{name}: {fault}"
    with node.unlocked(), node.ignore_type():
        node[parts[-1]] = value
    return None


def parse(text: str, old: Any) -> tuple[Any, str | None]:
    """Reads text as a value of the type of `old`; returns it, or what is wrong."""
    if isinstance(old, str):
        return text, None
    try:
        words = {"true": True, "false": False, "none": None}
        value = words[text.lower()] if text.lower() in words else ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if isinstance(old, float) and type(value) is int:
        value = float(value)
    if isinstance(old, int) and type(value) is float and value.is_integer():
        value = int(value)
    if isinstance(old, tuple) and isinstance(value, list):
        value = tuple(value)
    if old is not None and type(value) is not type(old):
        kind = type(old).__name__
        article = "an" if kind == "int" else "a"
        return None, f"got {text!r}; expected {article} {kind} such as {old!r}"
    return value, None


def flatten(config: ConfigDict | dict, prefix: str = "") -> dict[str, Any]:
    """Dotted names and values of all fields."""
    flat = {}
    for key, value in config.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, (ConfigDict, dict)) and len(value):
            flat |= flatten(value, name)
        else:
            flat[name] = value
    return flat


def difference(config: ConfigDict, default: ConfigDict) -> dict[str, list]:
    """Fields in which two configs differ: name -> [default, here]."""
    here, there = flatten(config), flatten(default)
    names = sorted(here.keys() | there.keys())
    return {
        n: [there.get(n), here.get(n)] for n in names if here.get(n) != there.get(n)
    }

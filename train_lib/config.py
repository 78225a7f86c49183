"""Read a recipe: its file, its variant, all defaults, and the command line."""

import dataclasses
import importlib.util
import pathlib
import traceback
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

import field_types
from field_types import Config, nearest
from reporting.gates.judgment import DEFAULTS as GATE_DEFAULTS
from train_lib import parts
from train_lib.config_fields import difference, flatten
from train_lib.errors import InputError

# Sections whose `name` decides which fields there are.
NAMED = ("model", "objective", "data", "transform", "optimizer", "schedule")


__all__ = [
    "ConfigError", "Recipe", "declared", "difference", "field_of", "fill_defaults",
    "flatten", "load_recipe",
]  # fmt: skip


class ConfigError(InputError):
    """All faults of a configuration, found before data is touched."""

    def __init__(self, faults: list[str]):
        self.faults = faults
        lines = "\n".join(f"  {i}. {fault}" for i, fault in enumerate(faults, 1))
        count = f"{len(faults)} fault" + ("s" if len(faults) > 1 else "")
        super().__init__(f"the configuration has {count}:\n{lines}")


class Recipe(NamedTuple):
    """A config and where it came from; defaults of all parts are filled in.

    Attributes:
        config: Locked ConfigDict with all overrides set.
        default: The recipe's config without argument and overrides.
        variant: The recipe's config with its argument, without overrides.
        source: `file.py:variant`.
        faults: What could not be set, one sentence each.
    """

    config: Config
    default: Config
    variant: Config
    source: str
    faults: list[str]


def load_recipe(source: str, overrides: dict[str, str]) -> Recipe:
    """Load `file.py` or `file.py:variant` and set fields in it.

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
    configs = []
    for words in (argument, "", argument):
        try:
            config = module.get_config(words)
        except Exception as error:
            raise ConfigError([_where(source, path, error)]) from error
        if not isinstance(config, ConfigDict):
            raise ConfigError(
                [f"{source}: get_config returned {config!r}; expected a ConfigDict"]
            )
        configs.append(config.unlock())
    config, default, variant = configs
    faults = [
        fault for name in overrides if (fault := _choose(config, name, overrides))
    ]
    for filled in configs:
        fill_defaults(filled)
    faults += [
        fault
        for name, text in overrides.items()
        if not _is_choice(name) and (fault := _override(config, name, text))
    ]
    if "train.epochs" in overrides and "train.least_steps" not in overrides:
        config.train.least_steps = 0  # a length that is asked for is meant
    for filled in configs:
        filled.lock()
    return Recipe(config, default, variant, source, faults)


def fill_defaults(config: Config) -> None:
    """Give a config every field that it leaves out, with the default of its part.

    Sections that name no known part stay as they are; `validation.check` reports them.

    Args:
        config: Unlocked; changed in place.
    """
    if "seed" not in config:
        config.seed = parts.SEED.default
    for section in (*NAMED, *parts.FIXED):
        if section not in config and section not in parts.FIXED:
            continue
        _fill(config, section, section)
    for name in _sets(config):
        _fill(config.evaluate.sets, name, f"evaluate.sets.{name}")
    if "gates" not in config:
        config.gates = ConfigDict()
    for gate in config.gates.values():
        if isinstance(gate, ConfigDict):
            for name in GATE_DEFAULTS.keys() - gate.keys():
                gate[name] = GATE_DEFAULTS[name]


def _fill(parent: Config, key: str, section: str) -> None:
    values = parent.get(key, ConfigDict())
    if not isinstance(values, ConfigDict):
        return
    try:
        fields = parts.section_fields(section, values)
    except ValueError:
        return
    with parent.unlocked(), values.unlocked(), values.ignore_type():
        _fill_fields(values, fields)
        if key not in parent:
            parent[key] = values


def _fill_fields(values: Config, fields: Mapping[str, parts.Field]) -> None:
    for name, field in fields.items():
        nested = parts.nested_section(field.annotation)
        if nested is None:
            if name not in values and field.default is not parts.REQUIRED:
                values[name] = field.default
            continue
        if name not in values:
            if field.default is None or field.default is parts.REQUIRED:
                values[name] = None
                continue
            values[name] = ConfigDict()
            default = field.default
            if dataclasses.is_dataclass(default) and not isinstance(default, type):
                values[name].update(dataclasses.asdict(default))
            elif isinstance(default, Mapping):
                values[name].update(default)
        if isinstance(values[name], ConfigDict):
            _fill_fields(values[name], parts.signature_fields(nested))


def _sets(config: Config) -> list[str]:
    sets = config.evaluate.get("sets", {}) if "evaluate" in config else {}
    return list(sets) if isinstance(sets, ConfigDict) else []


def _is_choice(name: str) -> bool:
    return name.removesuffix(".name") in NAMED and name.endswith(".name")


def _choose(config: Config, name: str, overrides: Mapping[str, str]) -> str | None:
    """Set the name of a part; fields of the part before it go, if another is named."""
    if not _is_choice(name):
        return None
    section = name.removesuffix(".name")
    values = config.get(section)
    if not isinstance(values, ConfigDict) or values.get("name") == overrides[name]:
        return None
    try:
        fields = parts.section_fields(section, {"name": overrides[name]})
    except ValueError as error:
        return f"config.{name}: {error}"
    if problem := field_types.fault(overrides[name], fields["name"].annotation):
        return f"config.{name}: {problem}"
    kept = {"name": overrides[name]}
    if section in ("optimizer", "schedule"):
        kept = {k: v for k, v in values.items() if k in fields} | kept
    else:
        shared = ("path", "cache", "sync_batchnorm", "init_from")
        kept |= {k: v for k, v in values.items() if k in shared and k in fields}
    if section in ("optimizer", "schedule"):
        values.name = overrides[name]
    else:
        with config.ignore_type():
            config[section] = ConfigDict(kept)
    return None


def _load_module(path: pathlib.Path) -> ModuleType:
    if path.suffix != ".py" or not path.is_file():
        recipes = pathlib.Path("configs").glob("*.py")
        recipe_paths = sorted(str(p) for p in recipes if p.stem != "base")
        raise ConfigError(
            [
                f"got --config={path}, which is no file; expected a recipe such as "
                f"{', '.join(recipe_paths) or 'configs/moco_effnet.py'}"
                f"{nearest(str(path), recipe_paths)}"
            ]
        )
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError([_where(str(path), path, error)]) from error
    if not hasattr(module, "get_config"):
        raise ConfigError([f'{path} has no get_config(arg=""); a recipe needs one'])
    return module


def _where(source: str, path: pathlib.Path, error: Exception) -> str:
    """Return what a recipe's own code raised, and in which of its lines."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if pathlib.Path(frame.filename) == path
    ]
    if isinstance(error, ValueError):  # the recipe's own words, as for a variant
        return f"{source}: {error}"
    line = f", line {lines[-1]}" if lines else ""
    return f"{source}{line}: the recipe stops with {type(error).__name__}: {error}"


def _override(config: Config, name: str, text: str) -> str | None:
    """Set one field; return what is wrong, if anything."""
    node: Config = config
    path = name.split(".")
    for i, part in enumerate(path):
        if not isinstance(node, ConfigDict) or part not in node:
            where = ".".join(path[:i])
            choices = list(node.keys()) if isinstance(node, ConfigDict) else []
            full = [f"{where}.{c}" if where else c for c in choices]
            hint = nearest(part, choices) or f"; choices: {', '.join(full) or 'none'}"
            return f"unknown field config.{name}{hint}"
        if i < len(path) - 1:
            node = node[part]
    old = node[path[-1]]
    if isinstance(old, ConfigDict) and len(old):
        return f"config.{name} is a section; set one of its fields: {', '.join(old)}"
    field = field_of(config, name)
    value, problem = field_types.parse(text, field.annotation, old)
    if problem:
        return f"config.{name}: {problem}"
    with node.unlocked(), node.ignore_type():
        node[path[-1]] = value
    return None


def field_of(config: Config, name: str) -> parts.Field:
    """Return type and default of a field, `Any` where no part declares it.

    Args:
        config: Config with all sections.
        name: Dotted name, such as "train.epochs".
    """
    for section, fields in declared(config):
        if not name.startswith(f"{section}."):
            continue
        path = name.removeprefix(f"{section}.").split(".")
        for i, part in enumerate(path):
            if part not in fields:
                break
            if i == len(path) - 1:
                return fields[part]
            fields = parts.fields_below(fields[part].annotation, path[i + 1])
    return parts.SEED if name == "seed" else parts.Field(Any, None)


def declared(config: Config) -> Iterator[tuple[str, dict[str, parts.Field]]]:
    """Yield each section that has declared fields: its dotted name and they."""
    names = [*NAMED, *parts.FIXED, *(f"evaluate.sets.{name}" for name in _sets(config))]
    for section in sorted(names, key=len, reverse=True):
        values = config
        for part in section.split("."):
            values = values.get(part) if isinstance(values, ConfigDict) else None
        if not isinstance(values, ConfigDict):
            continue
        try:
            yield section, parts.section_fields(section, values)
        except ValueError:
            continue

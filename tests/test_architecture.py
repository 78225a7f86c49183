"""Folders import what docs/design.md says they may, and nothing else."""

import ast
import functools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# Every folder may import what describes the fields of a config.
STANDARD = {*__import__("sys").stdlib_module_names, "field_types"}
OURS = {
    "configs", "losses", "models", "objectives", "input_pipeline", "evaluators",
    "train_lib", "reporting", "benchmarks", "main",
}  # fmt: skip
# What a folder may import beside the standard library and itself.
ALLOWED = {
    "configs": {"ml_collections"},
    "losses": {"jax", "numpy"},
    "models": {"jax", "flax", "numpy", "safetensors", "annotated_types"},
    "objectives": {
        "jax", "flax", "numpy", "annotated_types", "losses", "models.layers.mlp",
    },
    "input_pipeline": {
        "numpy", "jax", "grain", "tensorflow_datasets", "array_record", "PIL", "pandas",
        "pyarrow", "tqdm", "absl", "h5py", "scipy", "skimage", "annotated_types",
        "tifffile", "pydicom", "av",
    },
    "evaluators": {"numpy", "scipy", "jax", "skimage", "annotated_types", "losses"},
    "reporting": {
        "numpy", "pandas", "matplotlib", "jinja2", "markupsafe", "PIL", "tabulate",
        "absl",
    },
    "train_lib": {
        "numpy", "jax", "flax", "optax", "orbax", "ml_collections", "absl", "tqdm",
        "clu", "tensorboard", "pandas", "scipy", "losses", "models", "objectives",
        "input_pipeline", "evaluators", "reporting", "annotated_types",
    },
    "main": {"jax", "absl", "train_lib", "reporting", "input_pipeline"},
    "field_types": {"annotated_types", "ml_collections"},
    "akin": {"numpy", "PIL", "train_lib", "reporting", "input_pipeline"},
}  # fmt: skip


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(folder):
    file = ROOT / f"{folder}.py"
    return [file] if file.is_file() else (ROOT / folder).rglob("*.py")


def allowed(name, folder):
    if name.split(".")[0] in STANDARD | {folder}:
        return True
    return any(name == a or name.startswith(f"{a}.") for a in ALLOWED[folder])


DEEPEST = 5  # longest chain of imports within a folder


@functools.cache
def import_graph():
    """Imports among the modules of the repository: module -> modules."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for folder in ALLOWED
        for path in files(folder)
    }
    return {
        module: {
            target
            for name in imports(path)
            for target in (name, name.rpartition(".")[0])
            if target in modules and target != module
        }
        for module, path in modules.items()
    }


def import_cycle(graph):
    """The modules of one cycle, or an empty list."""
    finished = set()

    def visit(module, path):
        if module in path:
            return [*path[path.index(module) :], module]
        if module not in finished:
            for target in sorted(graph[module]):
                if cycle := visit(target, [*path, module]):
                    return cycle
            finished.add(module)
        return []

    return next(filter(None, (visit(module, []) for module in graph)), [])


def import_levels(graph):
    """Level of each module in its folder: 1 + that of the deepest module it imports."""

    @functools.cache
    def level(module):
        folder = module.split(".")[0]
        inside = [name for name in graph[module] if name.split(".")[0] == folder]
        return 1 + max(map(level, inside), default=0)

    return {module: level(module) for module in graph}


def test_there_is_no_import_cycle():
    assert import_cycle(import_graph()) == []


@pytest.mark.parametrize("folder", ALLOWED)
def test_import_levels_within_folder_are_at_most_5(folder):
    levels = import_levels(import_graph())
    deep = {
        module: level
        for module, level in levels.items()
        if module.split(".")[0] == folder and level > DEEPEST
    }
    assert deep == {}


def test_no_module_starts_with_underscore():
    names = {path.stem for folder in ALLOWED for path in files(folder)}
    assert [name for name in names - {"__init__"} if name.startswith("_")] == []


@pytest.mark.parametrize(
    ("folder", "exported"),
    [
        ("input_pipeline/datasets", "load"),
        ("input_pipeline/transforms", "Transform"),
        ("models", "Model"),
        ("models/pretrained", "load"),
        ("objectives", "Objective"),
        ("evaluators", "Evaluator"),
        ("evaluators/baselines", "Baseline"),
        ("configs", "get_config"),
    ],
)
def test_folders_list_only_choices(folder, exported):
    for path in (ROOT / folder).glob("[!_]*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert exported in {getattr(node, "name", "") for node in tree.body}, path


@pytest.mark.parametrize("folder", ALLOWED)
def test_imports_follow_table(folder):
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files(folder)
        for name in imports(path)
        if not allowed(name, folder)
    ]
    assert not wrong, "\n".join(wrong)


def test_only_builders_and_validation_know_parts_by_folder():
    for path in (ROOT / "train_lib").glob("*.py"):
        if path.stem in ("builders", "validation"):
            continue
        named = {n for n in imports(path) if n.split(".")[0] in ("models", "losses")}
        assert not named, f"{path.name}: {named}"


def test_every_folder_is_in_table():
    folders = {p.name for p in ROOT.iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert folders - {"tests", "benchmarks", "docs"} <= set(ALLOWED)


def test_no_file_is_called_utils():
    assert not [p for p in ROOT.rglob("utils.py") if "venv" not in str(p)]


def test_reporting_reads_workdirs_without_jax():
    wrong = [
        path.name
        for path in files("reporting")
        for name in imports(path)
        if name.split(".")[0] in {"jax", "tensorflow", "flax"}
    ]
    assert not wrong

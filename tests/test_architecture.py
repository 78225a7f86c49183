"""Folders import what docs/design.md says they may, and nothing else."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
STANDARD = set(__import__("sys").stdlib_module_names)
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
        "pyarrow", "tqdm", "absl", "h5py", "scipy", "skimage",
    },
    "evaluators": {"numpy", "jax", "skimage", "annotated_types", "losses"},
    "reporting": {
        "numpy", "pandas", "matplotlib", "jinja2", "PIL", "tabulate", "absl",
    },
    "train_lib": {
        "numpy", "jax", "flax", "optax", "orbax", "ml_collections", "absl", "tqdm",
        "clu", "tensorboard", "pandas", "scipy", "losses", "models", "objectives",
        "input_pipeline", "evaluators", "reporting",
    },
    "main": {"jax", "absl", "train_lib", "reporting", "input_pipeline"},
}  # fmt: skip


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(folder):
    return [ROOT / "main.py"] if folder == "main" else (ROOT / folder).rglob("*.py")


def allowed(name, folder):
    if name.split(".")[0] in STANDARD | {folder}:
        return True
    return any(name == a or name.startswith(f"{a}.") for a in ALLOWED[folder])


@pytest.mark.parametrize("folder", ALLOWED)
def test_imports_follow_the_table(folder):
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files(folder)
        for name in imports(path)
        if not allowed(name, folder)
    ]
    assert not wrong, "\n".join(wrong)


def test_only_builders_and_validation_know_the_parts_by_folder():
    for path in (ROOT / "train_lib").glob("*.py"):
        if path.stem in ("builders", "validation"):
            continue
        named = {n for n in imports(path) if n.split(".")[0] in ("models", "losses")}
        assert not named, f"{path.name}: {named}"


def test_every_folder_is_in_the_table():
    folders = {p.name for p in ROOT.iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert folders - {"tests", "benchmarks"} <= set(ALLOWED)


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

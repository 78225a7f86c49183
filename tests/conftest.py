"""Settings that every test shares; they must be made before jax starts."""

import os
from importlib import metadata

# Eight virtual devices let one CPU stand for a sharded machine. Tests compile much and
# run little: optimized code would take longer to make than it saves.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    " --xla_backend_optimization_level=0"
)
# Without emitters of its own for fused loops XLA compiles in two thirds of the time; a
# flag that a later release does not know would end the process.
if metadata.version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax

from input_pipeline.cache.root import cache_root

# Files that take minutes come first, so that no worker ends with one of them alone.
LONG = (
    "test_recipes.py", "test_trainer.py", "test_seed_faults.py", "test_decisions.py",
    "test_stages.py", "test_storm.py", "test_workdirs.py", "test_own_cine.py",
)  # fmt: skip

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(cache_root() / "xla-tests"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def pytest_collection_modifyitems(items):
    """Puts the tests of long files first; the order is otherwise as it was."""
    items.sort(key=lambda item: item.path.name not in LONG)

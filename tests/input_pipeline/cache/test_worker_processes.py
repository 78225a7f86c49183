"""Processes that prepare data, started from scripts as users write them."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[3]
SCRIPT = """
import pathlib, sys
import numpy as np
from PIL import Image
from input_pipeline.datasets import image_folder

print("runs", flush=True)
folder = pathlib.Path(sys.argv[1], "images")
folder.mkdir()
for i in range(5):
    Image.fromarray(np.full((16, 16, 3), 40 * i, np.uint8)).save(folder / f"{i}.png")
data = image_folder.load(
    path=str(folder), size=16, cache=sys.argv[1], workers=2, progress=False
)
print(len(data.train) + len(data.validation), __file__ == sys.argv[0])
"""


def test_script_without_main_guard_prepares_in_several_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # Two blocks, so that two processes are started.
    changed = "image_folder._BLOCK_FILES = 3\nimage_folder._BLOCK_BYTES = 1\n"
    script = SCRIPT.replace('print("runs"', f'{changed}print("runs"')
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "runs\n5 True\n", done.stdout + done.stderr

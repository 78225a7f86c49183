"""What the tests of data share."""

import pytest

from tests.input_pipeline.image_files import write_image


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "logos"
    for k in range(12):
        write_image(root / f"{'deep/er/' if k % 2 else ''}{k:02d}.png", 20 * k)
    return root

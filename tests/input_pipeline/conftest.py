"""What the tests of data share."""

import pytest

from tests.input_pipeline.picture_folder import picture


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "marks"
    for k in range(12):
        picture(root / f"{'deep/er/' if k % 2 else ''}{k:02d}.png", 20 * k)
    return root

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from evaluators.metrics import structural_similarity as similarity


@pytest.mark.parametrize(("side", "window"), [(3, 3), (4, 3), (6, 5), (7, 7), (12, 7)])
def test_mean_ssim_of_small_frames_uses_smaller_window(side, window):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, side, side + 5), dtype=np.uint8)
    expected = structural_similarity(a, b, win_size=window, data_range=255)
    assert similarity.mean_ssim(a, b) == expected
    assert similarity.mean_ssim(a, a) == 1.0

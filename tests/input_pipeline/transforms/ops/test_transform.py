"""Changes of a transform's fields, and sections of views."""

import pytest

from input_pipeline.transforms.undersampling import MaskView, Transform

VIEWS = {
    "view1": {"acceleration": 4.0, "center_fraction": 0.08},
    "view2": MaskView(acceleration=8.0, center_fraction=0.04),
}


def test_section_may_be_mapping_or_instance():
    transform = Transform(size=16, coils=2, **VIEWS)
    assert transform.view1 == MaskView(acceleration=4.0, center_fraction=0.08)
    assert transform.view2 is VIEWS["view2"]


def test_changed_sets_fields_of_view_or_of_all_views():
    transform = Transform(size=16, coils=2, **VIEWS)
    changed = transform.changed("view1", acceleration=6.0, snr=5.0)
    assert changed.view1.acceleration == 6.0
    assert changed.view1.center_fraction == 0.08
    assert changed.view2.acceleration == 8.0
    assert changed.snr == 5.0
    assert (transform.view1.acceleration, transform.snr) == (4.0, 40.0)
    assert transform.changed(None) == transform


def test_changed_names_unknown_field():
    transform = Transform(size=16, coils=2, **VIEWS)
    with pytest.raises(ValueError, match="'noise'; choices: .*acceleration.*snr"):
        transform.changed("view1", noise=1.0)
    with pytest.raises(ValueError, match="'acceleration'; choices: coils"):
        transform.changed(None, acceleration=2.0)

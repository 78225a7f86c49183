"""The fields of a view of a picture: defaults, all off, and what they may be."""

import difflib
from collections.abc import Mapping

DEFAULTS = {
    "crop_scale": (1.0, 1.0),  # share of the area, uniform
    "crop_ratio": (1.0, 1.0),  # width / height, log-uniform
    "min_content": 0.0,  # share of the picture's ink that a crop must hold
    "flip": 0.0,  # probability, left to right
    "rotate": 0.0,  # probability
    "rotate_degrees": 15.0,  # uniform in both directions
    "channel_permute": 0.0,  # probability of one of the 6 orders of red, green, blue
    "invert": 0.0,  # probability of the negative
    "levels": 0.0,  # probability of other black and white points, uniform per channel
    "color_jitter": 0.0,  # probability of the four fields below, in random order
    "brightness": 0.4,  # factor uniform in 1 -+ this, not below 0
    "contrast": 0.4,
    "saturation": 0.2,
    "hue": 0.0,  # turns, at most 0.5
    "grayscale": 0.0,  # probability
    "blur": 0.0,  # probability
    "blur_sigma": (0.1, 2.0),  # pixels of the view, uniform
    "solarize": 0.0,  # probability
    "solarize_threshold": 0.5,  # of the range [0, 1]
}

_PROBABILITIES = frozenset(
    "flip rotate channel_permute invert levels color_jitter grayscale blur "
    "solarize".split()
)
_UNIT = _PROBABILITIES | {"min_content", "solarize_threshold"}
_RANGES = frozenset({"crop_scale", "crop_ratio", "blur_sigma"})


def complete(fields: Mapping, name: str = "view") -> dict:
    """Returns the fields of one view, completed from `DEFAULTS` and checked.

    Raises:
      ValueError: on an unknown field, with the nearest name, or a value out of range.
    """
    given = dict(fields)
    for key in given:
        if key not in DEFAULTS:
            near = difflib.get_close_matches(key, DEFAULTS, 1, 0.0)[0]
            raise ValueError(f"{name}.{key} is no field of a view; nearest: {near}")
    view = DEFAULTS | given
    for key, value in view.items():
        if key in _RANGES:
            value = view[key] = tuple(value)
            if len(value) != 2 or not 0 < value[0] <= value[1]:
                raise ValueError(f"{name}.{key}: 0 < low <= high, got {value}")
        elif key in _UNIT and not 0 <= value <= 1:
            raise ValueError(f"{name}.{key} must be in [0, 1], got {value}")
        elif not value >= 0:
            raise ValueError(f"{name}.{key} must not be negative, got {value}")
    if view["crop_scale"][1] > 1:
        raise ValueError(f"{name}.crop_scale goes to 1, got {view['crop_scale']}")
    if view["hue"] > 0.5:
        raise ValueError(f"{name}.hue is at most 0.5 turns, got {view['hue']}")
    return view

"""The fields of a view of an image."""

import dataclasses
from typing import Annotated

from annotated_types import Interval

Share = Annotated[float, Interval(ge=0, le=1)]
Probability = Share
Area = tuple[
    Annotated[float, Interval(gt=0, le=1)], Annotated[float, Interval(gt=0, le=1)]
]
Ratio = tuple[
    Annotated[float, Interval(gt=0, le=100)], Annotated[float, Interval(gt=0, le=100)]
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageView:
    """Fields of one view; by default every operation is off.

    Attributes:
        crop_scale: Share of the area, uniform from low to high.
        crop_ratio: Width over height, log-uniform from low to high.
        min_content: Least share of the image's ink inside the crop.
        flip: Probability of a horizontal flip.
        rotate: Probability of a rotation.
        rotate_degrees: Largest angle, uniform in both directions.
        channel_permute: Probability of one of the 6 orders of red, green and blue.
        invert: Probability of the negative.
        levels: Probability of new black and white points, uniform per channel.
        color_jitter: Probability of the four changes below, in random order.
        brightness: B: factor uniform in 1 - b .. 1 + b, not below 0.
        contrast: The same for the contrast.
        saturation: The same for the saturation.
        hue: Largest turn of the hue, in turns.
        grayscale: Probability of the image's luminance.
        blur: Probability of a Gaussian blur.
        blur_sigma: Standard deviation in pixels of the view, uniform from low to high.
        solarize: Probability of a solarization.
        solarize_threshold: Values from it on are inverted.
    """

    crop_scale: Area = (1.0, 1.0)
    crop_ratio: Ratio = (1.0, 1.0)
    min_content: Share = 0.0
    flip: Probability = 0.0
    rotate: Probability = 0.0
    rotate_degrees: Annotated[float, Interval(ge=0, le=180)] = 15.0
    channel_permute: Probability = 0.0
    invert: Probability = 0.0
    levels: Probability = 0.0
    color_jitter: Probability = 0.0
    brightness: Annotated[float, Interval(ge=0, le=10)] = 0.4
    contrast: Annotated[float, Interval(ge=0, le=10)] = 0.4
    saturation: Annotated[float, Interval(ge=0, le=10)] = 0.2
    hue: Annotated[float, Interval(ge=0, le=0.5)] = 0.0
    grayscale: Probability = 0.0
    blur: Probability = 0.0
    blur_sigma: tuple[
        Annotated[float, Interval(gt=0, le=100)],
        Annotated[float, Interval(gt=0, le=100)],
    ] = (0.1, 2.0)
    solarize: Probability = 0.0
    solarize_threshold: Share = 0.5

    def __post_init__(self):
        for name in ("crop_scale", "crop_ratio", "blur_sigma"):
            limits = tuple(getattr(self, name))
            object.__setattr__(self, name, limits)
            if len(limits) == 2 and not limits[0] <= limits[1]:
                raise ValueError(f"{name}: got {limits}; expected low <= high")

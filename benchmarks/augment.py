"""Two views of each image, against Pillow: `python -m benchmarks.augment`.

Both sides make MoCo v3's two views of the same images at full strength, in one
process, by turns. Pillow works image by image in as many threads as there are
cores, as a data loader would; ours is one jitted function of the batch. An image
counts once though two views are made of it.
"""

import argparse
import datetime
import functools
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from benchmarks.common.machine import machine
from input_pipeline.transforms import image as augment_lib
from train_lib.allocator import keep_large_buffers

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COMMON = {
    "crop_scale": (0.2, 1.0),
    "crop_ratio": (0.75, 4 / 3),
    "color_jitter": 0.8,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.2,
    "hue": 0.1,
    "grayscale": 0.2,
    "blur_sigma": (0.1, 2.0),
    "flip": 0.5,
}
VIEWS = (
    COMMON | {"blur": 1.0, "solarize": 0.0},
    COMMON | {"blur": 0.1, "solarize": 0.2},
)


def main() -> int:
    """Measure, print, and return 0 if we make as many a second as is required."""
    keep_large_buffers()  # as main.py does
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--source", type=int, default=160, help="side in pixels")
    parser.add_argument("--size", type=int, default=64, help="side of a view")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--required", type=float, default=1_500)
    args = parser.parse_args()

    threads = len(os.sched_getaffinity(0))
    shape = (args.batch, args.source, args.source, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    batch = {"image": jax.device_put(images), "id": np.arange(args.batch)}
    augment = augment_lib.Transform(
        size=args.size, mean=MEAN, std=STD, view1=VIEWS[0], view2=VIEWS[1]
    ).augment

    @jax.jit
    def make(rng, batch):
        out = augment(rng, batch)
        return out["view1"], out["view2"]

    with ThreadPoolExecutor(threads) as pool:
        both = functools.partial(_pillow_views, size=args.size)

        def ours(turn):
            jax.block_until_ready(make(jax.random.key(turn), batch))

        def theirs(turn):
            seeds = range(turn * args.batch, (turn + 1) * args.batch)
            return np.stack(list(pool.map(both, images, seeds)))

        times = [(_seconds(ours, i), _seconds(theirs, i)) for i in range(args.rounds)]
    times = times[1:]  # the first one compiles
    columns = list(zip(*times, strict=True))
    rates = [args.batch / statistics.median(column) for column in columns]
    best = [args.batch / min(column) for column in columns]
    print(
        f"{datetime.date.today()}, {machine()}, {threads} threads, jax "
        f"{jax.__version__} on {jax.default_backend()}\nbatches of {args.batch}, "
        f"{args.source} -> {args.size} px, median (best) of {len(times)} rounds"
    )
    for name, rate, top in zip(("akin", "Pillow"), rates, best, strict=True):
        print(
            f"{name:8}{rate:8.0f} ({top:.0f}) images/s, both views of each; "
            f"{2 * rate:.0f} ({2 * top:.0f}) views/s"
        )
    print(f"ratio   {rates[0] / rates[1]:8.2f}; required {args.required:g} images/s")
    return 0 if rates[0] >= args.required else 1


def _pillow_views(pixels, seed, *, size):
    rng = np.random.default_rng(seed)
    image = Image.fromarray(pixels)
    return np.stack([_pillow_view(image, view, rng, size) for view in VIEWS])


def _pillow_view(image, view, rng, size):
    box = _pillow_crop(image, view, rng)
    image = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    if rng.random() < view["color_jitter"]:
        for op in rng.permutation(4):
            image = _pillow_jitter(image, op, view, rng)
    if rng.random() < view["grayscale"]:
        image = image.convert("L").convert("RGB")
    if rng.random() < view["blur"]:
        sigma = rng.uniform(*view["blur_sigma"])
        image = image.filter(ImageFilter.GaussianBlur(sigma))
    if rng.random() < view["solarize"]:
        image = ImageOps.solarize(image)
    if rng.random() < view["flip"]:
        image = ImageOps.mirror(image)
    return (np.asarray(image, np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)


def _pillow_crop(image, view, rng):
    wide, high = image.size
    for _ in range(10):
        area = wide * high * rng.uniform(*view["crop_scale"])
        aspect = np.exp(rng.uniform(*np.log(view["crop_ratio"])))
        w, h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if w <= wide and h <= high:
            left, top = rng.integers(wide - w + 1), rng.integers(high - h + 1)
            return left, top, left + w, top + h
    return 0, 0, wide, high


def _pillow_jitter(image, op, view, rng):
    if op == 3:
        hue, saturation, value = image.convert("HSV").split()
        turn = round(255 * rng.uniform(-view["hue"], view["hue"])) % 256
        hue = hue.point(lambda h: (h + turn) % 256)
        return Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    name = ("brightness", "contrast", "saturation")[op]
    kind = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[op]
    return kind(image).enhance(rng.uniform(1 - view[name], 1 + view[name]))


def _seconds(function, turn) -> float:
    start = time.perf_counter()
    function(turn)
    return time.perf_counter() - start


if __name__ == "__main__":
    raise SystemExit(main())

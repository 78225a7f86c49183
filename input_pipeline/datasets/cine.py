"""Ultrasound cine: frames of clips from files, as small gray images.

Amplitudes become B-mode images once, |A| over the largest of the sequence, in
decibels, and are kept as uint8 in the cache, from which training reads.
"""

import functools
import pathlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Annotated, Any

from annotated_types import Interval

import field_types
from input_pipeline import dataset, field_checks
from input_pipeline.formats import arrays as array_format
from input_pipeline.formats.cine import arrays as cine_arrays
from input_pipeline.formats.cine import axes as cine_axes
from input_pipeline.formats.cine import files as cine_files
from input_pipeline.formats.cine import images as cine_images
from input_pipeline.formats.cine import sources as cine_sources
from input_pipeline.formats.cine import table as cine_table
from input_pipeline.formats.movies import animation, dicom, tiff, video
from input_pipeline.formats.stored import Stored
from input_pipeline.physics import bmode as bmode_lib
from input_pipeline.records import frames as frames_lib

_EXPECTED = (
    f"an array ({', '.join(array_format.SUFFIXES)}), a TIFF stack, an animated image "
    f"(.gif, .webp), a video ({', '.join(video.SUFFIXES)}), a DICOM cine, or a folder "
    f"of such files or of images ({', '.join(cine_images.SUFFIXES)})"
)


def load(
    *,
    path: str = "",
    key: str = "",
    axes: str = "",
    size: tuple[frames_lib.Side, frames_lib.Side] = (64, 80),
    bmode: cine_files.Bmode = "auto",
    envelope: bmode_lib.Envelope = "auto",
    db: Annotated[float, Interval(gt=0, le=1000)] = 60.0,
    table: str = "",
    clip: str = "clip",
    frame: str = "frame",
    time: str = "",
    label: str = "",
    bins: Annotated[int, Interval(ge=0, le=10**6)] = 0,
    period: Annotated[float, Interval(ge=0, le=1e9)] = 0.0,
    split: frames_lib.Sides = "auto",
    val_filter: str = "",
    val_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.2,
    gap: Annotated[float, Interval(ge=0, le=1e9)] = 0.0,
    delta: Annotated[int, Interval(ge=0, le=10**6)] = 1,
    pseudo: Mapping | None = None,
    reference: str = "",
    max_rejected: Annotated[float, Interval(ge=0, le=1)] = 0.0,
    cache: str = "",
    seed: int = 0,
    progress: bool = False,
) -> dataset.Data:
    """Return frames as records.

    Args:
        path: `.mat` (7.3 or 5), `.h5`, `.hdf5`, `.npz` or `.npy` file; folder of such
            files, each a clip; or folder of images (PNG, JPEG, BMP, TIFF), where each
            folder in it is a clip and frames are in the natural order of names.
        key: Where the array lies in a file, as "Acq/Amp"; "" for the only one that can
            be frames.
        axes: Names of the array's axes, of frame, channel, depth, line and clip, joined
            by commas, in the order of the program that wrote it; see `axes.name_axes`.
            "" guesses, and says what.
        size: (h, w) of the images, to which frames are stretched.
        bmode: "sequence": amplitudes, over the largest of their clip; "frame": over the
            largest of the frame; "none": images already; "auto": "none" for uint8, else
            "sequence".
        envelope: How echoes become amplitudes, see `bmode.envelope`; "auto": "hilbert"
            for real values of which more than a tenth is negative, else "abs". Channels
            are joined by the root of their sum of squares, colors by their luminance.
        db: Dynamic range in decibels.
        table: Table (CSV, TSV, JSON lines, parquet) with a row for each frame or clip,
            or with columns for frame and clip; "" for one next to `path`, if there is.
        clip: Column of the table that names clips.
        frame: Column of the table that counts the frames of a clip.
        time: Column of the table with seconds; "" for the first of `time`, `time_s`,
            `seconds` and the like, or the times that the files have.
        label: Column that becomes the label; see `frames.split`, also for the fields
            down to `delta`.
        bins: Number of bins of a numeric label; 0 for none.
        period: Period of a circular label; 0 for none.
        split: By "clip", or by contiguous "time" in each; "auto": by clip where that
            leaves two clips on each side.
        val_filter: "column=value,value".
        val_fraction: Share that is held out.
        gap: Seconds between the sides; with `split="auto"`, 0 is a tenth of what is
            held out.
        delta: Frames to the next.
        pseudo: Fields of the pseudo-labels.
        reference: Image file that pseudo-labels compare with.
        max_rejected: Share of the frames, and of the files, that may be left out for
            their faults.
        cache: Folder for prepared frames.
        seed: Random seed of the held-out clips.
        progress: Whether to show a progress bar.

    Raises:
        DataError: If files, table or fields do not fit; lists the choices.
    """
    field_types.check_ranges(load, locals(), "data", dataset.DataError)
    check(label=label, reference=reference)
    cine = _read(
        path,
        key=key,
        axes=axes,
        recipe=bmode_lib.Recipe(tuple(size), bmode, float(db), envelope),
        columns={"table": table, "clip": clip, "frame": frame, "time": time},
        max_rejected=max_rejected,
        cache=cache,
        progress=progress,
    )
    if reference:
        gray = cine_images.gray_image(reference, tuple(size))
        pseudo = {**(pseudo or {}), "reference": gray}
    return frames_lib.split(
        cine,
        delta=delta,
        label=label,
        bins=bins,
        period=period,
        split=split,
        val_filter=val_filter,
        val_fraction=val_fraction,
        gap=gap,
        pseudo=pseudo,
        seed=seed,
    )


def check(**fields: Any) -> None:
    """Check constraints between the fields of `load`, without touching data.

    Raises:
        DataError: A reference is given without pseudo-labels.
    """
    given = field_checks.with_defaults(load, fields)
    if given["reference"] and given["label"] != frames_lib.PSEUDO:
        raise dataset.DataError(
            f"data.reference: got {given['reference']} with data.label="
            f"{given['label']!r}; expected data.label={frames_lib.PSEUDO}, which alone "
            "compares with an image"
        )


def read_records(
    path: str, *, data: Mapping[str, Any], transform: Any = None
) -> tuple[dataset.Split, dict]:
    """Return all frames of a file or folder, or the one of an image, and facts.

    Frames at fault are left out and counted.

    Args:
        path: File or folder that `load` reads, or an image file.
        data: Fields of the dataset in training, of which `size` and those of reading
            count; `table` if its `path` is the same.
        transform: Not used.

    Raises:
        DataError: If there is nothing that can be read.
    """
    del transform
    fields = load.__kwdefaults__ | dict(data)
    size = fields["size"]
    file = pathlib.Path(path).expanduser()
    if not file.is_dir() and _is_image(file):
        image = cine_images.gray_image(file, tuple(size))[..., None]
        return dataset.single({"image": image}, file.name, str(path)), {}
    if pathlib.Path(fields["path"]).expanduser().resolve() != file.resolve():
        fields["table"] = ""  # belongs to the frames of training
    cine = _read(
        path,
        key=fields["key"],
        axes=fields["axes"],
        recipe=bmode_lib.Recipe(
            tuple(size), fields["bmode"], float(fields["db"]), fields["envelope"]
        ),
        columns={name: fields[name] for name in ("table", "clip", "frame", "time")},
        max_rejected=1.0,
        cache=fields["cache"],
        progress=False,
    )
    return frames_lib.whole(cine, str(path)), cine.facts


def _is_image(file: pathlib.Path) -> bool:
    """Return whether a file is named as an image and is no stack of them."""
    if file.suffix.lower() not in cine_images.SUFFIXES:
        return False
    return not file.is_file() or _kind(file) == "image"


def _read(
    path: str,
    *,
    key: str,
    axes: str,
    recipe: bmode_lib.Recipe,
    columns: dict[str, str],
    max_rejected: float,
    cache: str,
    progress: bool,
) -> frames_lib.Cine:
    if not path:
        raise dataset.DataError(f"data.path: got none; expected {_EXPECTED}")
    place = pathlib.Path(path).expanduser()
    table_file = columns.pop("table")
    prepared = prepare(
        place,
        key=key,
        axes=axes,
        recipe=recipe,
        max_rejected=max_rejected,
        cache=cache,
        progress=progress,
    )
    file = cine_table.find(place, table_file)
    table, facts = cine_table.join(
        prepared.table, file, **columns, named=bool(table_file)
    )
    kept = table.iloc[prepared.kept].reset_index(drop=True)
    return frames_lib.Cine(prepared.frames, kept, {**prepared.facts, **facts})


def prepare(
    place: pathlib.Path,
    *,
    key: str,
    axes: str,
    recipe: bmode_lib.Recipe,
    max_rejected: float,
    cache: str,
    progress: bool,
) -> cine_files.Prepared:
    """Return the frames of a file or folder in the cache, without their table.

    Args:
        place: File or folder.
        key: Name of the array of frames, "" for the only one.
        axes: Order of the axes, "" to guess it.
        recipe: How amplitudes become images.
        max_rejected: Share of the files that may be left out.
        cache: Folder for prepared data.
        progress: Whether to show a progress bar.

    Raises:
        DataError: If there are no frames, or too many cannot be read.
    """
    cine_files.check(recipe, max_rejected)

    def convert(source: cine_sources.Source, out: pathlib.Path) -> dict:
        return cine_arrays.convert(
            out,
            open_stored=functools.partial(_open, source, key),
            name_axes=functools.partial(cine_axes.name_axes, axes=axes),
            recipe=recipe,
            progress=progress,
        )

    return cine_files.prepare(
        place,
        cine_sources.find(place, kind_of=_kind, expected=_EXPECTED, cache=cache),
        convert=convert,
        spec=[key, axes],
        recipe=recipe,
        max_rejected=max_rejected,
        cache=cache,
        progress=progress,
    )


def _kind(file: pathlib.Path) -> cine_sources.Kind:
    """Return what a file is, by its ending and, where that is not enough, content."""
    suffix = file.suffix.lower()
    if suffix in array_format.SUFFIXES:
        return "array"
    if suffix in video.SUFFIXES:
        return "movie"
    for module in (tiff, animation):
        if suffix in module.SUFFIXES and module.count_frames(file) > 1:
            return "movie"
    if suffix in cine_images.SUFFIXES:
        return "image"
    if suffix in dicom.SUFFIXES or (file.name != "DICOMDIR" and dicom.is_dicom(file)):
        return "movie" if dicom.count_frames(file) != 1 else "still"
    return ""


def _open(
    source: cine_sources.Source, key: str, scratch: pathlib.Path
) -> AbstractContextManager[Stored]:
    """Open the frames of a source."""
    file = source.files[0]
    suffix = file.suffix.lower()
    if source.kind == "array":
        return array_format.open_array(file, key, scratch)
    if suffix in video.SUFFIXES:
        return video.open_video(file)
    if suffix in tiff.SUFFIXES:
        return tiff.open_stack(file)
    if suffix in animation.SUFFIXES:
        return animation.open_animation(file)
    return dicom.open_dicom(*source.files)

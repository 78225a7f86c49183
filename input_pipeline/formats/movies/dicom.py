"""DICOM cine through pydicom, which is installed only where it is needed.

Of the header only what describes the images is used: no name, number or date of a
patient, study or device gets into the cache or a report.
"""

import contextlib
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from input_pipeline.formats import stored as stored_lib
from input_pipeline.formats.stored import ArrayError, Stored

SUFFIXES = (".dcm", ".dicom", ".ima")
_MAGIC, _PREAMBLE = b"DICM", 128
_CENTIMETERS = 3  # PhysicalUnitsXDirection
_TISSUE, _TWO_DIMENSIONAL = 1, 1  # RegionDataType, RegionSpatialFormat


def is_dicom(path: pathlib.Path) -> bool:
    """Return whether a file begins as DICOM files do, whatever its name."""
    try:
        with open(path, "rb") as file:
            return file.read(_PREAMBLE + 4)[_PREAMBLE:] == _MAGIC
    except OSError:
        return False


def count_frames(path: pathlib.Path) -> int:
    """Return the number of frames; 0 where it cannot be read."""
    try:
        return _frames(_header(_pydicom(), path))
    except ArrayError:  # the reader says it again
        return 0


@contextlib.contextmanager
def open_dicom(*paths: pathlib.Path) -> Iterator[Stored]:
    """Open a DICOM cine as an array [frame, depth, line] or with colors.

    Args:
        *paths: One file, or single images in the order of frames.

    Raises:
        ArrayError: If it holds no images that can be read, or pydicom is missing.
    """
    pydicom = _pydicom()
    headers = [_header(pydicom, path) for path in paths]
    places = [
        (path, header, k)
        for path, header in zip(paths, headers, strict=True)
        for k in range(_frames(header))
    ]
    sample = _read(pydicom, *places[0])

    def read_frame(number: int) -> np.ndarray:
        path, header, k = places[number]
        values = _read(pydicom, path, header, k)
        if (values.shape, values.dtype) != (sample.shape, sample.dtype):
            raise ArrayError(
                f"{path.name} holds {values.dtype} {list(values.shape)}, where the "
                f"first image is {sample.dtype} {list(sample.shape)}; put images of "
                "another kind into another folder"
            )
        return values

    yield Stored(
        "PixelData",
        (len(places), *sample.shape),
        sample.dtype,
        stored_lib.one_by_one(read_frame, len(places)),
        names=("frame", "depth", "line", "channel")[: 1 + sample.ndim],
        images=True,
        white=255 if sample.dtype == np.uint8 else None,
        seconds=_seconds(headers[0], len(places)) if len(paths) == 1 else (),
        details=_details(headers[0]),
    )


def _pydicom() -> Any:
    try:
        import pydicom
        import pydicom.pixels
    except ImportError:
        raise ArrayError(
            "DICOM files are read by pydicom, which is not installed; run: "
            "pip install pydicom"
        ) from None
    return pydicom


def _header(pydicom: Any, path: pathlib.Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            shape = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    except Exception as error:  # the text could quote what is private
        raise ArrayError(
            f"the DICOM file is cut off or damaged ({type(error).__name__}); copy it "
            "again"
        ) from None
    if not all(shape):
        raise ArrayError(
            "the file holds no DICOM image (no Rows and Columns); leave it out"
        )
    return header


def _frames(header: Any) -> int:
    return max(1, int(header.get("NumberOfFrames") or 1))


def _read(pydicom: Any, path: pathlib.Path, header: Any, number: int) -> np.ndarray:
    """Return one frame, brighter where values are larger; colors as RGB."""
    several = _frames(header) > 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = pydicom.pixels.pixel_array(path, index=number if several else None)
            photometric = str(header.get("PhotometricInterpretation", ""))
            if photometric == "PALETTE COLOR":
                values = pydicom.pixels.apply_color_lut(values, header)
                if values.dtype.itemsize > 1:
                    values = np.uint8(values >> (8 * (values.dtype.itemsize - 1)))
    except (RuntimeError, NotImplementedError):
        syntax = getattr(header.file_meta.get("TransferSyntaxUID"), "name", "unknown")
        raise ArrayError(
            f"frame {number} cannot be unpacked; its transfer syntax is {syntax}: run "
            "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg, and if that "
            "does not help, copy it again"
        ) from None
    except Exception as error:
        raise ArrayError(
            f"frame {number} of the DICOM file is cut off or damaged "
            f"({type(error).__name__}); copy it again"
        ) from None
    if values.dtype.kind == "i":
        values = values.astype(np.int32) + 2 ** (int(header.BitsStored) - 1)
    if photometric == "MONOCHROME1":
        values = np.asarray(2 ** int(header.BitsStored) - 1 - values, values.dtype)
    return values


def _seconds(header: Any, count: int) -> tuple[float, ...]:
    """Return the time of each frame where the header says it."""
    steps = header.get("FrameTimeVector")
    if steps is not None and np.size(steps) == count > 1:
        return tuple(np.cumsum([float(step) for step in steps]) / 1000)
    milliseconds = float(header.get("FrameTime") or 0)
    rate = header.get("CineRate") or header.get("RecommendedDisplayFrameRate")
    if not milliseconds and rate and float(rate) > 0:
        milliseconds = 1000 / float(rate)
    if not milliseconds > 0:
        return ()
    return tuple(k * milliseconds / 1000 for k in range(count))


def _details(header: Any) -> dict[str, Any]:
    """Return size and place of calibrated regions, for the report."""
    details: dict[str, Any] = {}
    regions = [
        {
            "columns": [int(r.RegionLocationMinX0), int(r.RegionLocationMaxX1)],
            "rows": [int(r.RegionLocationMinY0), int(r.RegionLocationMaxY1)],
            "spacing_mm": [
                round(10 * abs(float(r.PhysicalDeltaY)), 6),
                round(10 * abs(float(r.PhysicalDeltaX)), 6),
            ],
        }
        for r in header.get("SequenceOfUltrasoundRegions") or ()
        if _is_calibrated(r)
    ]
    spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    if regions:
        details["calibrated_regions"] = regions
        details["spacing_mm"] = regions[0]["spacing_mm"]
    elif spacing is not None:
        details["spacing_mm"] = [float(side) for side in spacing]
    if str(header.get("BurnedInAnnotation", "")).upper() == "YES":
        details["burned_in_annotation"] = (
            "the file says that text is drawn into its images; it may name the patient"
        )
    return details


def _is_calibrated(region: Any) -> bool:
    """Return whether a region is a B-mode image whose pixels have a known size."""
    return (
        region.get("RegionDataType", _TISSUE) == _TISSUE
        and region.get("RegionSpatialFormat", _TWO_DIMENSIONAL) == _TWO_DIMENSIONAL
        and region.get("PhysicalUnitsXDirection") == _CENTIMETERS
        and region.get("PhysicalUnitsYDirection") == _CENTIMETERS
        and all(
            region.get(f"RegionLocation{corner}") is not None
            for corner in ("MinX0", "MaxX1", "MinY0", "MaxY1")
        )
        and "PhysicalDeltaX" in region
        and "PhysicalDeltaY" in region
    )

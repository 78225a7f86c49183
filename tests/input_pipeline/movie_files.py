"""Stacks, animations, videos and DICOM cines of known frames."""

import datetime

import numpy as np
import pydicom
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage

PRIVATE = {
    "PatientName": "Doe^Jane",
    "PatientID": "MRN-424242",
    "PatientBirthDate": "19700102",
    "StudyDate": "20240203",
    "AccessionNumber": "ACC-99",
    "InstitutionName": "Saint Elsewhere",
}


def moving(frames=24, shape=(40, 48), seed=0):
    """A texture that moves to and fro, uint8 [n, h, w] from 1 to 255."""
    rng = np.random.default_rng(seed)
    ground = rng.random((shape[0] + 16, shape[1]))
    ground = np.cumsum(ground - 0.5, 0) + rng.random(ground.shape)
    ground = (ground - ground.min()) / np.ptp(ground)
    shifts = np.rint(8 + 7 * np.sin(np.arange(frames) / 3)).astype(int)
    return np.stack([np.uint8(1 + 254 * ground[s : s + shape[0]]) for s in shifts])


def write_stack(path, frames, **fields):
    """A TIFF whose pages are the frames."""
    tifffile.imwrite(path, frames, photometric="minisblack", **fields)


def write_gif(path, frames, milliseconds=40):
    """A GIF of gray frames."""
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=milliseconds)


def write_video(path, frames, rate=25):
    """A lossless video of gray frames."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "gray"
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, "gray")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def write_dicom(path, frames, photometric="MONOCHROME2", bits=8, **fields):
    """A DICOM of frames [n, h, w] or [n, h, w, 3], with a patient's data."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    file = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    file.SOPClassUID = meta.MediaStorageSOPClassUID
    file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    file.NumberOfFrames = len(frames)
    file.Rows, file.Columns = frames.shape[1:3]
    file.SamplesPerPixel = 3 if frames.ndim == 4 else 1
    if file.SamplesPerPixel == 3:
        file.PlanarConfiguration = 0
    file.PhotometricInterpretation = photometric
    file.BitsAllocated = 8 * frames.dtype.itemsize
    file.BitsStored, file.HighBit, file.PixelRepresentation = bits, bits - 1, 0
    file.PixelData = frames.tobytes()
    file.ContentDate = datetime.date(2024, 2, 3).strftime("%Y%m%d")
    for name, value in (PRIVATE | fields).items():
        setattr(file, name, value)
    file.save_as(path, enforce_file_format=True)


def calibrated_region(spacing_cm=(0.02, 0.01), place=(4, 2, 40, 30)):
    """A B-mode region of a DICOM cine: (depth, width) of a pixel, corners."""
    region = Dataset()
    region.RegionSpatialFormat = region.RegionDataType = 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaY, region.PhysicalDeltaX = spacing_cm
    region.RegionLocationMinX0, region.RegionLocationMinY0 = place[:2]
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = place[2:]
    return Sequence([region])

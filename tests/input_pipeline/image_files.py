"""Folders of images that several test files share."""

from PIL import Image

from input_pipeline import dataset
from input_pipeline.datasets import image_folder


def write_image(path, value=0, size=(16, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 255 - value, 7)).save(path)


def load(root, **fields):
    fields = {"cache": root.parent / "cache", "size": 16, "workers": 1} | fields
    return image_folder.load(
        path=str(root), progress=False, **{"memory_mb": 0} | fields
    )


def both(data):
    return dataset.concatenate(data.train, data.validation)


def write_labels(root, rows, header="filename,codes,name,source"):
    (root / "labels.csv").write_text("\n".join([header, *rows]) + "\n")

"""The images of one shard of a data set, one after another: image files, TFRecord or Parquet, on any file system."""

import posixpath
from collections.abc import Iterator
from typing import Any

from keras_coda.auditing.exported import Item
from keras_coda.data.records import read_tfrecord

FORMATS = ("images", "tfrecord", "parquet")
IMAGE_FIELDS = {"images": None, "tfrecord": "image/encoded", "parquet": "image"}


def read_items(
    files: list[list[str]], form: str, image_field: str | None, name_field: str | None, batch_size: int
) -> Iterator[Item]:
    """Yield the images of some files; one that cannot be read comes with the reason.

    Args:
        files: ``[name, path]`` of each.
        form: one of :data:`FORMATS`.
        image_field: the feature or column with the image file.
        name_field: that with its name; None: the name of the file and the number of the row, from 0.
        batch_size: rows of a Parquet file that are read at a time.
    """
    for name, path in files:
        if form == "images":
            yield _image(name, path)
            continue
        records = read_tfrecord(path) if form == "tfrecord" else _parquet(path, image_field, name_field, batch_size)
        number = 0
        try:
            for number, record in enumerate(records):
                yield _item(record, image_field, name_field, f"{name}:{number}")
        except Exception as error:  # of TensorFlow, pyarrow and file systems, for damaged files
            yield Item(f"{name}:{number}", None, f"The file cannot be read from here on: {_first_line(error)}")


def _image(name, path):
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    try:
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            return Item(name, file.read())
    except OSError as error:
        return Item(name, None, error.strerror or _first_line(error))


def _item(record, image_field, name_field, default):
    name = record.get(name_field, default) if name_field else default
    name = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)
    image = record.get(image_field)
    image = image.get("bytes") if isinstance(image, dict) else image  # as Hugging Face stores images
    is_file = isinstance(image, bytes) and len(image) > 0
    return Item(name, image) if is_file else Item(name, None, f"There is no image in {image_field!r}")


def _parquet(path, image_field, name_field, batch_size) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    columns = [image_field, *([name_field] if name_field else [])]
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        for batch in pq.ParquetFile(file).iter_batches(batch_size, columns=columns):
            yield from batch.to_pylist()


def name_in(path: str, root: str) -> str:
    """Return the path from a folder, with ``/``."""
    return posixpath.relpath(path, root) if "://" not in path else path.removeprefix(root).lstrip("/")


def _first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

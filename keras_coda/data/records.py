"""TFRecord files of `tf.train.Example`."""

from collections.abc import Iterator


def read_tfrecord(path: str) -> Iterator[dict[str, bytes | None]]:
    """Yield the first value of each bytes feature of every record by name; None where there is none.

    Args:
        path: on any file system of TensorFlow; ``.gz`` for compressed files.

    Raises:
        tf.errors.DataLossError: where the file is damaged.
    """
    import tensorflow as tf

    for record in tf.data.TFRecordDataset(path, compression_type="GZIP" if path.endswith(".gz") else ""):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        yield {name: (feature.bytes_list.value or [None])[0] for name, feature in features.items()}

"""Event files for TensorBoard, written with the package ``tensorboard`` alone, on every backend of Keras."""

import struct
import time
from pathlib import Path

import keras

from keras_coda.utils.optional import import_optional


def require_tensorboard() -> None:
    """Raise an ``ImportError`` that says what to install unless the package ``tensorboard`` is there."""
    import_optional("tensorboard", extra="tensorboard", purpose="Writing summaries for TensorBoard")


class EventFile:
    """A new event file; its summaries equal those of ``tf.summary.image`` and ``tf.summary.scalar``.

    Args:
        folder: the folder of the file, created if it does not exist; TensorBoard shows it as one run.

    Raises:
        ImportError: if ``tensorboard`` is not installed.
    """

    def __init__(self, folder: Path):
        require_tensorboard()
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(folder))

    def image(self, tag: str, png: bytes, step: int) -> None:
        """Write a picture.

        Args:
            tag: its name.
            png: the contents of a PNG file.
            step: int, for instance the epoch.
        """
        from tensorboard.compat.proto import tensor_pb2, types_pb2
        from tensorboard.plugins.image import metadata

        width, height = struct.unpack(">II", png[16:24])  # of the PNG's header
        strings = [str(width).encode(), str(height).encode(), png]
        tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=strings)
        tensor.tensor_shape.dim.add(size=len(strings))
        self._write(tag, tensor, metadata, step)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Write a number, stored as float32."""
        from tensorboard.compat.proto import tensor_pb2, tensor_shape_pb2, types_pb2
        from tensorboard.plugins.scalar import metadata

        shape = tensor_shape_pb2.TensorShapeProto()  # of a scalar
        tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[value], tensor_shape=shape)
        self._write(tag, tensor, metadata, step)

    def flush(self) -> None:
        """Make what was written visible to TensorBoard."""
        self._writer.flush()

    def close(self) -> None:
        """Write the rest, and close the file."""
        self._writer.close()

    def _write(self, tag, tensor, metadata, step):
        from tensorboard.compat.proto import event_pb2, summary_pb2

        described = metadata.create_summary_metadata(display_name=None, description=None)
        value = summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=described)
        self._writer.add_event(
            event_pb2.Event(wall_time=time.time(), step=step, summary=summary_pb2.Summary(value=[value]))
        )


def tensorboard(log_dir: Path) -> keras.callbacks.Callback:
    """Return the callback that writes the values of every epoch for TensorBoard: Keras' own needs TensorFlow."""
    if keras.backend.backend() == "tensorflow":
        return keras.callbacks.TensorBoard(str(log_dir), write_graph=False)
    return Scalars(log_dir)


class Scalars(keras.callbacks.Callback):
    """Writes the values of every epoch as ``keras.callbacks.TensorBoard`` does, on every backend of Keras.

    Args:
        log_dir: gets the folders ``train`` and ``validation``.

    Raises:
        ImportError: if ``tensorboard`` is not installed.
    """

    def __init__(self, log_dir: Path):
        super().__init__()
        require_tensorboard()
        self._log_dir = log_dir
        self._files: dict[str, EventFile] = {}

    def on_epoch_end(self, epoch, logs=None):
        """Write the values and the learning rate."""
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        for name, value in {**(logs or {}), "learning_rate": rate}.items():
            part = "validation" if name.startswith("val_") else "train"
            if part not in self._files:
                self._files[part] = EventFile(self._log_dir / part)
            self._files[part].scalar(f"epoch_{name.removeprefix('val_')}", float(value), epoch)
        for file in self._files.values():
            file.flush()

    def on_train_end(self, logs=None):
        """Close the files."""
        while self._files:
            self._files.popitem()[1].close()

"""What TensorBoard's event files hold."""

import tensorflow as tf


def events(log_dir):
    """Return all events below a folder, in the order of the files' names."""
    from tensorflow.core.util import event_pb2

    records = (record for path in sorted(log_dir.rglob("events*")) for record in tf.data.TFRecordDataset(str(path)))
    return [event_pb2.Event.FromString(record.numpy()) for record in records]


def summaries(log_dir):
    """Return ``{tag: {step: tensor}}``."""
    found = {}
    for event in events(log_dir):
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
    return found

"""Warm-up files written with the official protos, valid or not."""

import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"


def write_records(folder, requests):
    """Replace the warm-up requests of a SavedModel: pairs of a signature's name and arrays by the input's name."""
    with tf.io.TFRecordWriter(str(folder / WARMUP_FILE)) as writer:
        for name, inputs in requests:
            log = PredictionLog()
            log.predict_log.request.model_spec.signature_name = name
            for key, array in inputs.items():
                log.predict_log.request.inputs[key].CopyFrom(tf.make_tensor_proto(array))
            writer.write(log.SerializeToString())

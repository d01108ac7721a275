"""Ask for maps over gRPC with the official protos: ``python grpc_client.py IMAGE [MODEL]``.

It needs ``tensorflow-serving-api`` (which brings TensorFlow) and ``grpcio``.
"""

import sys
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

SERVER = "127.0.0.1:8500"
LARGEST_MESSAGE = 64 * 2**20  # bytes; a client takes 4 MiB unless told otherwise


def explain_files(files: list[bytes], model: str = "digits", server: str = SERVER) -> dict[str, np.ndarray]:
    """Return the outputs of ``contributions_bytes``, one row per image file."""
    request = PredictRequest()
    request.model_spec.name = model
    request.model_spec.version_label = "stable"
    request.model_spec.signature_name = "contributions_bytes"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(files, tf.string, (len(files),)))
    options = [("grpc.max_receive_message_length", LARGEST_MESSAGE)]
    with grpc.insecure_channel(server, options) as channel:  # a program that asks often keeps one
        answer = PredictionServiceStub(channel).Predict(request, timeout=30, wait_for_ready=True)
    return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}


if __name__ == "__main__":
    outputs = explain_files([Path(sys.argv[1]).read_bytes()], *sys.argv[2:])
    sums = outputs["contributions"].sum((2, 3)) + outputs["bias"][:, None]
    for name, index, total in zip(outputs["class_names"][0], outputs["classes"][0], sums[0], strict=True):
        print(f"{name.decode()}: logit {outputs['logits'][0, index]:.2f}, sum of the map and bias {total:.2f}")

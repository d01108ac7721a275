"""Clients of model servers: predictions and exact explanations from TF Serving, checked on arrival.

A network exported by :meth:`keras_coda.CoDANet.export` and loaded by TF Serving (or whatever else speaks its REST or
gRPC API) answers with the same arrays as the network itself. Both clients do the same; they differ in how requests
travel. Both need ``pip install "keras-coda[serving]"``.

- Arguments are checked before anything is sent.
- Every call ends within its ``timeout``. Broken connections and servers that are unavailable are tried again, with
  growing, jittered pauses; whatever a server refuses is not.
- Answers are checked: all outputs present, of the right shapes and types, finite, consistent with the request and with
  each other. Contributions that do not sum to their logit raise :class:`IncompleteMaps`.
- All that can go wrong with a server is a :class:`ServingError`, and holds what the server said.

Example::

    from keras_coda.serving import GrpcClient

    with GrpcClient("127.0.0.1:8500", "digits") as client:
        client.wait_until_ready()
        explanation = client.explain(images)  # (B, H, W, c), pixels in [0, 255]
        explanation.plot()
"""

from keras_coda.serving.answers import Prediction
from keras_coda.serving.connect import connect
from keras_coda.serving.errors import (
    DeadlineExceeded,
    IncompleteMaps,
    InvalidAnswer,
    InvalidRequest,
    ModelNotFound,
    ServingError,
    Unavailable,
)
from keras_coda.serving.grpc import GrpcClient
from keras_coda.serving.metadata import ModelMetadata, SignatureMetadata, TensorMetadata, VersionStatus
from keras_coda.serving.rest import RestClient

__all__ = [
    "DeadlineExceeded",
    "GrpcClient",
    "IncompleteMaps",
    "InvalidAnswer",
    "InvalidRequest",
    "ModelMetadata",
    "ModelNotFound",
    "Prediction",
    "RestClient",
    "ServingError",
    "SignatureMetadata",
    "TensorMetadata",
    "Unavailable",
    "VersionStatus",
    "connect",
]

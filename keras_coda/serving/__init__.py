"""Clients of model servers: predictions and exact explanations from TF Serving, checked on arrival.

A network that :meth:`keras_coda.CoDANet.export` wrote, and that TF Serving (or another server with its REST or gRPC
API) has loaded, answers with the same arrays as the network itself. There is one client for each of the two protocols,
with the same methods. Both need ``pip install "keras-coda[serving]"``.

- Arguments are checked before anything is sent.
- Every call ends within its ``timeout``, also if the server sends a byte now and then. After a broken connection, or if
  the server is unavailable, a client tries again, with growing, jittered pauses. A request that the server refuses is
  not sent again.
- Answers are checked: all outputs present, of the right shapes and types, finite, consistent with the request and with
  each other. Contributions that do not sum to their logit raise :class:`IncompleteMaps`.
- Answers that are larger, once decoded, than the outputs of the signature can be are not read to their end.
- All errors of a server are a :class:`ServingError`, and hold the server's own message.

Example::

    from keras_coda.serving import GrpcClient

    with GrpcClient("127.0.0.1:8500", "digits") as client:
        client.wait_until_ready()
        explanation = client.explain(images)  # (B, H, W, c), pixels in [0, 255]
        explanation.plot()
"""

from keras_coda.serving.client import Client as Client
from keras_coda.serving.connect import connect as connect
from keras_coda.serving.errors import DeadlineExceeded as DeadlineExceeded
from keras_coda.serving.errors import IncompleteMaps as IncompleteMaps
from keras_coda.serving.errors import InvalidAnswer as InvalidAnswer
from keras_coda.serving.errors import InvalidRequest as InvalidRequest
from keras_coda.serving.errors import ModelNotFound as ModelNotFound
from keras_coda.serving.errors import ServingError as ServingError
from keras_coda.serving.errors import Unavailable as Unavailable
from keras_coda.serving.grpc import GrpcClient as GrpcClient
from keras_coda.serving.metadata import ModelMetadata as ModelMetadata
from keras_coda.serving.metadata import SignatureMetadata as SignatureMetadata
from keras_coda.serving.metadata import TensorMetadata as TensorMetadata
from keras_coda.serving.metadata import VersionStatus as VersionStatus
from keras_coda.serving.responses import Prediction as Prediction
from keras_coda.serving.rest import RestClient as RestClient

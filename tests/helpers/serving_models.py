"""SavedModels in sessions, and which of them a model server holds: what both stand-ins of TF Serving share."""

import threading

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from tests.helpers.serving_json import Refused, invalid

STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


class LoadedVersion:
    """A SavedModel in a session, as TF Serving runs it: which means that feeds are not checked for their shapes."""

    def __init__(self, folder):
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        with graph.as_default():
            self.signatures = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder)).signature_def
        self._callables, self._lock = {}, threading.Lock()

    def run(self, signature, inputs):
        wanted, sent = sorted(self.signatures[signature].inputs), sorted(inputs)
        if wanted != sent:
            raise invalid(
                f"input size does not match signature: {len(sent)}!={len(wanted)} len({sent}) != len({wanted})"
            )
        try:
            values = self._callable(signature)(*(inputs[name] for name in sent))
        except tf.errors.OpError as error:
            raise Refused(STATUS_CODES[error.error_code].name, error.message) from error
        return dict(zip(sorted(self.signatures[signature].outputs), values, strict=True))

    def _callable(self, signature):
        with self._lock:
            if signature not in self._callables:
                inputs, outputs = self.signatures[signature].inputs, self.signatures[signature].outputs
                feed, fetch = ([infos[name].name for name in sorted(infos)] for infos in (inputs, outputs))
                options = config_pb2.CallableOptions(feed=feed, fetch=fetch)
                self._callables[signature] = self._session._make_callable_from_options(options)  # noqa: SLF001 - TensorFlow's
            return self._callables[signature]


class Models:
    """The models of a server: ``versions[name][number]`` and ``labels[name, label]``, to be changed while it runs."""

    def __init__(self, name, versions, labels=()):
        self.versions = {name: dict(versions)}
        self.labels = {(name, label): version for label, version in dict(labels).items()}
        self.load_errors = {}

    def find(self, name, version=None, label=None):
        """Return ``(number, LoadedVersion)``, the newest if nothing is chosen."""
        if label:
            if (name, label) not in self.labels:
                raise invalid(f"Unrecognized servable version label: {label}")
            version = self.labels[name, label]
        held = dict(self.versions.get(name, {}))
        if not held or (version is not None and version not in held):
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise Refused("NOT_FOUND", f"Servable not found for request: {wanted}")
        number = max(held) if version is None else version
        return number, held[number]

    def status(self, name, version=None):
        answer = get_model_status_pb2.GetModelStatusResponse()
        states = dict.fromkeys(self.versions.get(name, {}), "") | self.load_errors
        if version is not None and version not in states:
            raise Refused("NOT_FOUND", f"Could not find version {version} of model {name}")
        if not states:
            raise Refused("NOT_FOUND", f"Could not find any versions of model {name}")
        for number, error in sorted(states.items(), reverse=True):
            if version in (None, number):
                entry = answer.model_version_status.add(version=number, state="END" if error else "AVAILABLE")
                entry.status.error_code, entry.status.error_message = ("UNKNOWN" if error else "OK"), error
        return answer

    def metadata(self, name, version=None, label=None):
        answer, signatures = get_model_metadata_pb2.GetModelMetadataResponse(), get_model_metadata_pb2.SignatureDefMap()
        number, loaded = self.find(name, version, label)
        for key, definition in loaded.signatures.items():
            signatures.signature_def[key].CopyFrom(definition)
        answer.model_spec.name, answer.model_spec.version.value = name, number
        answer.metadata["signature_def"].Pack(signatures)
        return answer, signatures

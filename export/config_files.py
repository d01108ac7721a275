"""Parse the files of this folder as the programs do that read them: TF Serving, Docker, Kubernetes, Prometheus."""

import dataclasses
from pathlib import Path

FOLDER = Path(__file__).parent

# TF Serving parses these two as protos that tensorflow-serving-api leaves out: their fields, as it documents them.
_INT64, _STRING = "google.protobuf.Int64Value", "google.protobuf.StringValue"
_MESSAGES = {
    "BatchingParameters": {
        "max_batch_size": _INT64,
        "batch_timeout_micros": _INT64,
        "max_enqueued_batches": _INT64,
        "num_batch_threads": _INT64,
        "thread_pool_name": _STRING,
        "allowed_batch_sizes": "repeated int64",
        "pad_variable_length_inputs": "bool",
    },
    "PrometheusConfig": {"enable": "bool", "path": "string"},
    "MonitoringConfig": {"prometheus_config": "tensorflow.serving.PrometheusConfig"},
    # What `config.pbtxt` has of Triton's ModelConfig
    "ModelTensorReshape": {"shape": "repeated int64"},
    "ModelTensor": {
        "name": "string",
        "data_type": "enum tensorflow.serving.DataType",
        "dims": "repeated int64",
        "reshape": "tensorflow.serving.ModelTensorReshape",
    },
    "ModelDynamicBatching": {},
    "ModelConfig": {
        "name": "string",
        "platform": "string",
        "max_batch_size": "int32",
        "dynamic_batching": "tensorflow.serving.ModelDynamicBatching",
        "input": "repeated tensorflow.serving.ModelTensor",
        "output": "repeated tensorflow.serving.ModelTensor",
    },
}
_DATA_TYPES = (
    "INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64",
    "STRING", "BF16",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Deployment:
    """All files of a deployment folder.

    Attributes:
        folder: where they lie.
        models: the ``ModelConfig`` protos of ``models.config``.
        batching: ``BatchingParameters``.
        monitoring: ``MonitoringConfig``.
        compose: ``compose.yaml``.
        kubernetes: the documents of ``kubernetes.yaml``.
        prometheus: ``prometheus.yml``.
    """

    folder: Path
    models: list
    batching: object
    monitoring: object
    compose: dict
    kubernetes: list[dict]
    prometheus: dict


def read(folder: Path = FOLDER) -> Deployment:
    """Parse all files.

    Raises:
        ImportError: without PyYAML or ``tensorflow-serving-api``.
        OSError: if a file is missing.
        ValueError: if one does not parse.
    """
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

    messages = _message_classes()
    return Deployment(
        folder=folder,
        models=list(_text_proto(folder / "models.config", ModelServerConfig).model_config_list.config),
        batching=_text_proto(folder / "batching_parameters.txt", messages["BatchingParameters"]),
        monitoring=_text_proto(folder / "monitoring.config", messages["MonitoringConfig"]),
        compose=_yaml(folder / "compose.yaml")[0],
        kubernetes=_yaml(folder / "kubernetes.yaml"),
        prometheus=_yaml(folder / "prometheus.yml")[0],
    )


def triton_config(path: Path):
    """Parse a ``config.pbtxt`` of Triton.

    Raises:
        ValueError: if it does not parse, or has fields that Triton does not know or this module does not describe.
    """
    return _text_proto(path, _message_classes()["ModelConfig"])


def _yaml(path: Path) -> list:
    try:
        import yaml
    except ImportError as error:
        raise ImportError('Checking YAML needs PyYAML. Install it: `pip install "keras-coda[test]"`.') from error
    try:
        return list(yaml.safe_load_all(path.read_text()))
    except yaml.YAMLError as error:
        raise ValueError(f"The file must be YAML. Received: '{path}' ({error})") from error


def _text_proto(path: Path, message_class):
    from google.protobuf import text_format

    try:
        return text_format.Parse(path.read_text(), message_class())
    except text_format.ParseError as error:
        name = message_class.DESCRIPTOR.name
        raise ValueError(f"The file must be a {name} in text format. Received: '{path}' ({error})") from error


def _message_classes() -> dict[str, type]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

    pool = descriptor_pool.DescriptorPool()  # one of its own: the default one belongs to installed packages
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="server_files.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    types = file.enum_type.add(name="DataType")
    for number, name in enumerate(_DATA_TYPES):
        types.value.add(name=f"TYPE_{name}", number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            _add_field(message, field, number, kind)
    pool.AddSerializedFile(file.SerializeToString())
    found = {name: pool.FindMessageTypeByName(f"tensorflow.serving.{name}") for name in _MESSAGES}
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}


def _add_field(message, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number, label="LABEL_OPTIONAL")
    if kind.startswith("repeated "):
        field.label, kind = field.LABEL_REPEATED, kind.removeprefix("repeated ")
    if kind.startswith("enum "):
        field.type, field.type_name = field.TYPE_ENUM, f".{kind.removeprefix('enum ')}"
    elif "." in kind:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{kind}"
    else:
        field.type = getattr(field, f"TYPE_{kind.upper()}")

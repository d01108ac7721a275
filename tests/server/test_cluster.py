"""The InferenceService of `export/` is one by the models of KServe and Kubernetes, and starts the server as it is."""

import copy
import re

import pytest

pytest.importorskip("yaml", reason="PyYAML is in the extra `test`")
pytest.importorskip("kserve", reason="needs keras-coda[serve]")

import kserve
import kubernetes.client
import yaml

from export.config_files import FOLDER
from keras_coda_cli import common, serve

PLAIN = {"str": str, "int": int, "bool": bool}


@pytest.fixture(scope="module")
def service():
    return yaml.safe_load((FOLDER / "kserve.yaml").read_text(encoding="utf-8"))


def read(document, kind):
    """Return the object that a part of the file describes; raise for unknown fields and values of another type.

    KServe's own models name the type of each field; the parts that are Kubernetes' are pydantic models.
    """
    if kind in PLAIN:
        assert type(document) is PLAIN[kind], f"{document!r} must be {kind}"
        return document
    if kind == "dict(str, str)":
        return {read(key, "str"): read(value, "str") for key, value in document.items()}
    if found := re.fullmatch(r"list\[(\w+)\]", kind):
        return [read(entry, found[1]) for entry in document]
    if not hasattr(kserve, kind):
        model = getattr(kubernetes.client, kind).from_dict(document)
        assert model.model_dump(by_alias=True, exclude_none=True) == document
        return model
    model = getattr(kserve, kind)
    names = {json: name for name, json in model.attribute_map.items()}
    return model(**{names[key]: read(value, model.openapi_types[names[key]]) for key, value in document.items()})


def test_the_file_is_an_inference_service(service):
    found = read(service, "V1beta1InferenceService")
    assert found.api_version == f"{kserve.constants.KSERVE_GROUP}/{kserve.constants.KSERVE_V1BETA1_VERSION}"
    assert found.kind == kserve.constants.KSERVE_KIND_INFERENCESERVICE
    assert found.spec.predictor.containers[0].name == "kserve-container"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "predictor", "minReplica"), 2),
        (("spec", "predictor", "minReplicas"), "2"),
        (("spec", "predictor", "containers", 0, "argumnets"), []),
        (("spec", "predictor", "containers", 0, "ports", 0, "containerPort"), "http"),
        (("metadata", "annotations"), {"a": 1}),
    ],
)
def test_fields_that_there_are_not_are_noticed(service, path, value):
    wrong = part = copy.deepcopy(service)
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    with pytest.raises((AssertionError, KeyError, ValueError)):
        read(wrong, "V1beta1InferenceService")


def test_the_container_starts_the_command_and_is_probed_where_it_answers(service):
    predictor = service["spec"]["predictor"]
    (container,) = predictor["containers"]
    command, *arguments = container["args"]
    assert command == "serve"
    parser = common.Parser("serve")
    serve.add_arguments(parser)
    args = parser.parse_args(arguments)
    assert args.name == service["metadata"]["name"]
    assert args.host == "0.0.0.0"
    assert {port["containerPort"] for port in container["ports"]} == {args.port}
    assert service["metadata"]["annotations"]["prometheus.io/port"] == str(args.port)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        get = container[probe]["httpGet"]
        assert get["port"] == args.port
        assert get["path"] in ("/v2/health/ready", "/v2/health/live", f"/v2/models/{args.name}/ready")
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert predictor["terminationGracePeriodSeconds"] > args.grace_s + pause

"""Check that the files of the deployment folder agree on names, ports, paths and limits."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from export.config_files import Deployment
from keras_coda.exporters import warmup

LABELS = ("stable", "canary")
_REST_PATH = re.compile(r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?")
_PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+")
_CONFIG_FLAGS = ("model_config_file", "batching_parameters_file", "monitoring_config_file")


def problems(deployment: Deployment) -> list[str]:
    """Return one sentence for each disagreement; an empty list if the files agree."""
    rules = (_models, _batching, _monitoring, _compose, _kubernetes, _same_server, _prometheus)
    return [problem for rule in rules for problem in rule(deployment)]


def _models(deployment: Deployment) -> Iterator[str]:
    names = [model.name for model in deployment.models]
    if not names or len(set(names)) < len(names):
        yield f"models.config must name every model once. Received: {names}."
    for model in deployment.models:
        versions = set(model.model_version_policy.specific.versions)
        if model.model_platform != "tensorflow":
            yield f"The platform of '{model.name}' must be tensorflow. Received: '{model.model_platform}'."
        if PurePosixPath(model.base_path).name != model.name or not model.base_path.startswith("/"):
            yield f"The base path must be absolute and end in '{model.name}'. Received: '{model.base_path}'."
        if set(model.version_labels) != set(LABELS) or not set(model.version_labels.values()) <= versions:
            labels = dict(model.version_labels)
            yield f"'{model.name}' must label versions that it loads as {LABELS}. Received: {labels}, {versions=}."


def _batching(deployment: Deployment) -> Iterator[str]:
    batching = deployment.batching
    sizes, largest = list(batching.allowed_batch_sizes), batching.max_batch_size.value
    if not sizes or sizes != sorted(set(sizes)) or sizes[-1] != largest:
        yield f"Allowed batch sizes must grow, and end with max_batch_size {largest}. Received: {sizes}."
    if not set(warmup.BATCH_SIZES) <= set(sizes):
        yield f"Batch sizes that models are warmed up with, {warmup.BATCH_SIZES}, must be allowed. Received: {sizes}."
    for name in ("batch_timeout_micros", "num_batch_threads", "max_enqueued_batches"):
        if getattr(batching, name).value < 1:
            yield f"{name} must be given, and positive. Received: {getattr(batching, name).value}."


def _monitoring(deployment: Deployment) -> Iterator[str]:
    config = deployment.monitoring.prometheus_config
    if not config.enable or not config.path.startswith("/"):
        yield f"Metrics must be enabled, at an absolute path. Received: {config.enable}, '{config.path}'."


def _compose(deployment: Deployment) -> Iterator[str]:
    service = deployment.compose["services"]["serving"]
    flags = _flags(service["command"])
    mounts = {target: source for source, target in map(_mount, service["volumes"])}
    yield from _server("compose.yaml", service["entrypoint"], flags, mounts, deployment)
    inside = {port.split(":")[-1] for port in service["ports"]}
    if inside != {flags.get("port"), flags.get("rest_api_port")}:
        yield f"compose.yaml must publish the server's two ports. Received: {service['ports']}."
    test = service["healthcheck"]["test"][-1]
    if f"/dev/tcp/127.0.0.1/{flags.get('rest_api_port')}" not in test:
        yield f"The health check must ask the REST port. Received: '{test}'."
    for path in re.findall("GET ([^ ]+) ", test) or [""]:
        yield from _rest_path("The health check", path, deployment)
    for name, other in deployment.compose["services"].items():
        yield from _container(f"'{name}' of compose.yaml", other["image"])
        for port in other["ports"]:
            if not port.startswith("127.0.0.1:"):
                yield f"Ports must be bound to 127.0.0.1: there are no passwords. Received: '{port}' of '{name}'."
        for volume in other["volumes"]:
            if not volume.endswith(":ro"):
                yield f"Volumes must be read-only. Received: '{volume}' of '{name}'."


def _kubernetes(deployment: Deployment) -> Iterator[str]:
    documents = {document["kind"]: document for document in deployment.kubernetes}
    pod = documents["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    flags = _flags(container["args"])
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    yield from _server("kubernetes.yaml", container["command"], flags, mounts, deployment)
    yield from _container("kubernetes.yaml", container["image"])
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    if set(mounts.values()) != volumes:
        yield f"Volumes and mounts must match. Received: {sorted(volumes)}, {mounts}."
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    if ports != {"grpc": flags.get("port"), "rest": flags.get("rest_api_port")}:
        yield f"kubernetes.yaml must name the server's two ports. Received: {ports}."
    for name in ("startupProbe", "readinessProbe"):
        probe = container[name]["httpGet"]
        yield from _rest_path(f"The {name}", probe["path"], deployment)
        if probe["port"] not in ("rest", int(ports.get("rest", 0))):
            yield f"The {name} must ask the REST port. Received: {probe['port']}."
    service = documents["Service"]["spec"]
    selected = pod["metadata"]["labels"]
    if not service["selector"].items() <= selected.items():
        yield f"The Service must select the pods. Received: {service['selector']}, {selected}."
    targets = {port["targetPort"]: str(port["port"]) for port in service["ports"]}
    if targets != ports:
        yield f"The Service must offer both ports under their numbers. Received: {targets}, {ports}."
    notes = pod["metadata"]["annotations"]
    told = (notes["prometheus.io/port"], notes["prometheus.io/path"])
    if told != (ports.get("rest"), deployment.monitoring.prometheus_config.path):
        yield f"The annotations must tell Prometheus where metrics are. Received: {told}."


def _same_server(deployment: Deployment) -> Iterator[str]:
    service = deployment.compose["services"]["serving"]
    (pod,) = (document for document in deployment.kubernetes if document["kind"] == "Deployment")
    (container,) = pod["spec"]["template"]["spec"]["containers"]
    ours, theirs = (service["image"], service["command"]), (container["image"], container["args"])
    if ours != theirs:
        yield f"compose.yaml and kubernetes.yaml must start the same server. Received: {ours}, {theirs}."


def _prometheus(deployment: Deployment) -> Iterator[str]:
    flags = _flags(deployment.compose["services"]["serving"]["command"])
    (job,) = deployment.prometheus["scrape_configs"]
    expected = (deployment.monitoring.prometheus_config.path, [f"serving:{flags.get('rest_api_port')}"])
    received = (job["metrics_path"], job["static_configs"][0]["targets"])
    if received != expected:
        yield f"prometheus.yml must read {expected}. Received: {received}."


# === What compose and Kubernetes share ===


def _server(where: str, command, flags: dict, mounts: dict, deployment: Deployment) -> Iterator[str]:
    if command != ["tensorflow_model_server"]:
        yield f"{where} must start tensorflow_model_server. Received: {command}."
    for flag in _CONFIG_FLAGS:
        path = PurePosixPath(flags.get(flag, ""))
        if str(path.parent) not in mounts or not (deployment.folder / path.name).is_file():
            yield f"--{flag} of {where} must be a file of this folder in a mounted one. Received: '{path}'."
    for flag in ("enable_batching", "allow_version_labels_for_unavailable_models"):
        if flags.get(flag) != "true":
            yield f"{where} must set --{flag}=true. Received: {flags.get(flag)}."
    for model in deployment.models:
        if str(PurePosixPath(model.base_path).parent) not in mounts:
            yield f"{where} must mount the folder of '{model.base_path}'. Received: {sorted(mounts)}."


def _container(where: str, image: str) -> Iterator[str]:
    if not _PINNED.fullmatch(image):
        yield f"The image of {where} must be pinned to a version. Received: '{image}'."


def _rest_path(who: str, path: str, deployment: Deployment) -> Iterator[str]:
    match = _REST_PATH.fullmatch(path)
    models = {model.name: model for model in deployment.models}
    if match is None or match["model"] not in models:
        yield f"{who} must ask for the status of a model among {sorted(models)}. Received: '{path}'."
        return
    model = models[match["model"]]
    if match["label"] and match["label"] not in model.version_labels:
        yield f"{who} must ask for a label among {sorted(model.version_labels)}. Received: '{path}'."
    if match["version"] and int(match["version"]) not in model.model_version_policy.specific.versions:
        yield f"{who} must ask for a version that is loaded. Received: '{path}'."


def _flags(arguments: list[str]) -> dict[str, str]:
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


def _mount(volume: str) -> tuple[str, str]:
    """Return source and target of "source:target:ro"; the source may hold a "${NAME:-default}"."""
    source, target, _ = volume.rsplit(":", 2)
    return source, target

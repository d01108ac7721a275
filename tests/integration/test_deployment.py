"""The deployment folder holds together, and what does not hold together is noticed."""

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("yaml", reason="PyYAML is in the extra `test`")

from export import batching, check, config_files, consistency, signature_table
from export.client_examples import grpc_client, rest
from keras_coda import CoDANet
from tests.helpers.serving_doubles import GrpcDouble, RestDouble, real_server_binary
from tests.helpers.serving_models import LoadedVersion, Models
from tests.helpers.waiting import free_ports, wait_until

pytestmark = pytest.mark.slow

SIZES = [1, 2, 4, 8, 16, 32]


@pytest.fixture(scope="module")
def digits_folder(tmp_path_factory):
    """The models of the server, `digits` alone."""
    folder = tmp_path_factory.mktemp("models")
    CoDANet.from_preset("coda_digits").export(folder / "digits" / "1", top_k=3, warmup=True)
    return folder


@pytest.fixture
def deployment(tmp_path):
    return shutil.copytree(config_files.FOLDER, tmp_path / "export", ignore=shutil.ignore_patterns("*.py*"))


# === Files ===


def test_the_files_of_the_folder_fit_together():
    assert [row for row in check.check_files() if not row.passed] == []


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        ("models.config", 'name: "cifar10"', 'name: "digits"', "must name every model once"),
        ("models.config", 'model_platform: "tensorflow"', 'model_platform: "caffe"', "platform of 'digits'"),
        ("models.config", "/models/digits", "models/digits", "must be absolute and end in 'digits'"),
        ("models.config", "/models/cifar10", "/models/cifar-10", "must be absolute and end in 'cifar10'"),
        ("models.config", "/models/digits", "/data/digits", "must mount the folder of '/data/digits'"),
        ("models.config", "value: 1", "value: 2", "must label versions that it loads"),
        ("models.config", 'key: "canary"', 'key: "beta"', "must label versions that it loads"),
        ("models.config", 'key: "stable"', 'key: "main"', "must ask for a label among"),
        (
            "batching_parameters.txt",
            "max_batch_size { value: 16 }",
            "max_batch_size { value: 64 }",
            "max_batch_size 64",
        ),
        ("batching_parameters.txt", "sizes: 8", "sizes: 3", "must grow, and end"),
        ("batching_parameters.txt", "sizes: 8", "sizes: 9", "warmed up with"),
        ("batching_parameters.txt", "num_batch_threads { value: 2 }", "", "num_batch_threads must be given"),
        ("monitoring.config", "enable: true", "enable: false", "Metrics must be enabled"),
        ("monitoring.config", "prometheus/metrics", "metrics", "prometheus.yml must read"),
        ("monitoring.config", "prometheus/metrics", "metrics", "annotations must tell Prometheus"),
        ("prometheus.yml", "serving:8501", "serving:8500", "prometheus.yml must read"),
        ("compose.yaml", "serving:2.19.1", "serving:latest", "must be pinned to a version"),
        ("compose.yaml", "serving:2.19.1", "serving:2.18.0", "must start the same server"),
        ("compose.yaml", '"127.0.0.1:8501:8501"', '"8501:8501"', "must be bound to 127.0.0.1"),
        ("compose.yaml", '"127.0.0.1:8501:8501"', '"127.0.0.1:8501:8502"', "must publish the server's two ports"),
        ("compose.yaml", "rest_api_port=8501", "rest_api_port=8502", "health check must ask the REST port"),
        ("compose.yaml", "GET /v1/models/digits/", "GET /v1/models/digit/", "status of a model among"),
        ("compose.yaml", "GET /v1/models/digits/labels/stable", "GET /health", "status of a model among"),
        ("compose.yaml", "/config/models.config", "/config/model.config", "must be a file of this folder"),
        ("compose.yaml", "}:/models:ro", "}:/models:rw", "Volumes must be read-only"),
        ("compose.yaml", "--enable_batching=true", "--enable_batching=false", "must set --enable_batching=true"),
        ("compose.yaml", "entrypoint: [tensorflow_model_server]", "entrypoint: [bash]", "must start tensorflow_model"),
        ("kubernetes.yaml", "path: /v1/models/cifar10,", "path: /v1/models/imagenet,", "The startupProbe must ask"),
        ("kubernetes.yaml", "digits/labels/stable", "digits/versions/7", "a version that is loaded"),
        ("kubernetes.yaml", "digits/labels/stable, port: rest", "digits, port: grpc", "must ask the REST port"),
        ("kubernetes.yaml", "containerPort: 8501", "containerPort: 8502", "must name the server's two ports"),
        ("kubernetes.yaml", "targetPort: rest", "targetPort: http", "Service must offer both ports"),
        ("kubernetes.yaml", "selector: {app: coda-serving}", "selector: {app: coda}", "must select the pods"),
        ("kubernetes.yaml", "name: scratch, mountPath", "name: temporary, mountPath", "Volumes and mounts must match"),
        ("kubernetes.yaml", "mountPath: /config,", "mountPath: /configuration,", "in a mounted one"),
    ],
)
def test_files_that_do_not_fit_together_are_noticed(deployment, name, old, new, complaint):
    path = deployment / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert complaint in " ".join(consistency.problems(config_files.read(deployment)))
    assert not check.check_files(deployment)[-1].passed


@pytest.mark.parametrize("name", ["models.config", "batching_parameters.txt", "monitoring.config", "compose.yaml"])
def test_files_that_do_not_parse_are_named(deployment, name):
    (deployment / name).write_text("no_such_field: {")
    (row,) = check.check_files(deployment)
    assert not row.passed
    assert name in row.detail
    (deployment / name).unlink()
    assert name in check.check_files(deployment)[0].detail


def test_the_readme_has_the_signatures_of_an_exported_model(digits_folder):
    assert signature_table.is_up_to_date(digits_folder / "digits" / "1")
    table = signature_table.render(digits_folder / "digits" / "1")
    assert "| `contributions` | float32 | (B, 3, 8, 8) |" in table
    assert "**Completeness.**" in table


def test_the_readme_names_only_files_that_exist():
    text = (config_files.FOLDER / "README.md").read_text()
    for path in config_files.FOLDER.rglob("*"):
        known = path.is_dir() or path.suffix == ".pyc" or path.name in ("README.md", "__init__.py")
        assert known or path.name in text, f"README.md does not mention {path.name}"


# === What the server does to requests ===


def test_a_model_passes_all_checks_where_models_config_says_it_lies(digits_folder):
    rows = check.check_model("coda_digits", digits_folder / "digits" / "2", SIZES)
    assert [f"{row.name}: {row.detail}" for row in rows if not row.passed] == []
    assert rows[-2].name == "coda_digits: batches as requests"


def test_batches_are_padded_to_an_allowed_size_and_split_again():
    requests = [{"x": np.array([[1.0]])}, {"x": np.array([[2.0], [3.0]])}]
    joined = batching.join(requests, [1, 4])["x"]
    np.testing.assert_array_equal(joined[:, 0], [1, 2, 3, 1])
    first, second = batching.split({"y": joined * 10}, [1, 2])
    np.testing.assert_array_equal(first["y"], [[10]])
    np.testing.assert_array_equal(second["y"], [[20], [30]])
    with pytest.raises(ValueError, match="at most 2 rows. Received: 3 rows"):
        batching.join(requests, [1, 2])


def test_answers_that_depend_on_the_company_of_a_request_are_noticed():
    requests = [{"x": np.array([[1.0]])}, {"x": np.array([[4.0]])}]
    assert batching.largest_difference(lambda inputs: {"y": inputs["x"]}, requests, SIZES) == 0
    assert batching.largest_difference(lambda inputs: {"y": inputs["x"] - inputs["x"].mean(0)}, requests, SIZES) == 1.5
    with pytest.raises(ValueError, match="the same 'y'"):
        batching.largest_difference(lambda inputs: {"y": np.full(len(inputs["x"]), len(inputs["x"]))}, requests, SIZES)


def test_a_bad_row_fails_its_whole_batch(digits_folder):
    run = tf.saved_model.load(str(digits_folder / "digits" / "1")).signatures["serving_default"]
    images = np.zeros((3, 8, 8, 1), "float32")
    run(images=tf.constant(images))
    images[1, 2, 2] = 256
    with pytest.raises(tf.errors.InvalidArgumentError, match="pixels in"):
        run(images=tf.constant(images))


def test_images_of_several_sizes_cannot_be_joined():
    requests = [{"images": np.zeros((1, 8, 8, 1))}, {"images": np.zeros((1, 9, 9, 1))}]
    with pytest.raises(ValueError, match="dimensions"):
        batching.join(requests, SIZES)


# === Client examples ===


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.png"
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 1), dtype="uint8")
    path.write_bytes(tf.io.encode_png(pixels).numpy())
    return path, pixels


def test_the_examples_get_the_maps_that_keras_computes(digits_folder, image):
    path, pixels = image
    models = Models("digits", {1: LoadedVersion(digits_folder / "digits" / "1")}, {"stable": 1})
    explanation = CoDANet.from_preset("coda_digits").explain(pixels[None], top_k=3)
    with RestDouble(models) as rest_server, GrpcDouble(models) as grpc_server:
        answer = rest.explain_file(str(path), server=f"http://{rest_server.address}")
        outputs = grpc_client.explain_files([path.read_bytes()], server=grpc_server.address)
        with pytest.raises(RuntimeError, match="The server must answer. Received: 400"):
            rest.predict("digits", "serving_default", [[[0.0]]], f"http://{rest_server.address}")
        shell = [str(config_files.FOLDER / "client_examples" / "rest.sh"), str(path)]
        if shutil.which("curl"):
            environment = {"SERVER": f"http://{rest_server.address}", "PATH": "/usr/local/bin:/usr/bin:/bin"}
            text = subprocess.run(shell, env=environment, capture_output=True, text=True, check=True).stdout
            printed, _ = json.JSONDecoder().raw_decode(text)
            np.testing.assert_allclose(printed["predictions"][0]["logits"], explanation.logits[0], rtol=1e-4, atol=1e-4)
    for found in (np.array(answer["contributions"])[None], outputs["contributions"]):
        np.testing.assert_allclose(found, explanation.contributions, rtol=1e-4, atol=1e-4)


def test_the_examples_need_nothing_of_this_package():
    for path in (config_files.FOLDER / "client_examples").glob("*.py"):
        assert "keras_coda" not in path.read_text()
    code = "import sys; import export.client_examples.rest; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# === TF Serving itself, where it is installed ===


@pytest.mark.skipif(real_server_binary() is None, reason="tensorflow_model_server is not installed")
def test_the_server_starts_with_these_files_and_explains(digits_folder, deployment, image):
    text = (deployment / "models.config").read_text().replace("/models/", f"{digits_folder}/")
    (deployment / "models.config").write_text(text)
    shutil.copytree(digits_folder / "digits", digits_folder / "cifar10")  # any model will do
    command = config_files.read(deployment).compose["services"]["serving"]["command"]
    ports = free_ports(2)
    flags = [flag.replace("/config/", f"{deployment}/") for flag in command if "port=" not in flag]
    command = [real_server_binary(), *flags, f"--port={ports[0]}", f"--rest_api_port={ports[1]}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server = f"http://127.0.0.1:{ports[1]}"
        assert wait_until(lambda: is_available(f"{server}/v1/models/digits/labels/stable"), process)
        answer = rest.explain_file(str(image[0]), server=server)
        metrics = urllib.request.urlopen(f"{server}/monitoring/prometheus/metrics", timeout=10).read()
    finally:
        process.terminate()
        process.wait(30)
    assert max(answer["residual"]) <= 1e-3
    assert b"tensorflow" in metrics


def is_available(url):
    try:
        return b"AVAILABLE" in urllib.request.urlopen(url, timeout=5).read()
    except (urllib.error.URLError, ConnectionError):
        return False

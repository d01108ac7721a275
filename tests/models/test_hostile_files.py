"""Claims about files that are damaged or made to do harm: one type of error, nothing large is built or read."""

import hashlib
import io
import json
import shutil
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest

from experiments import fuzzing
from keras_coda import CoDANet, Explanation
from keras_coda.models import UnreadableFileError, load_coda_checkpoint
from keras_coda.models.files import load_keras_file
from keras_coda.models.presets import preset_folder
from keras_coda.models.weights_files import array_shapes
from keras_coda.tuning import TuningResult
from keras_coda.utils import reading
from keras_coda.utils.run_folder import RunFolder
from tests.helpers.networks import pixels, small

ELSEWHERE = {"class_name": "system", "module": "os", "config": "true", "registered_name": None}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "whole"
    small().save_to_preset(folder)
    return folder


@pytest.fixture
def preset(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "net")
    return tmp_path / "net"


def change(preset, contents=(), **config):
    path = preset / "config.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "config": {**found["config"], **config}, **dict(contents)}))


@pytest.mark.parametrize(
    "config",
    [
        {"filters": [10**9, 5, 3]},
        {"filters": [10**30, 5, 3]},
        {"filters": [5, 5, 3]},
        {"filters": [5, 3]},
        {"filters": {"a": 1}},
        {"ranks": [10**9, 3, 3]},
        {"kernel_sizes": 10**6},
        {"input_shape": [None, None, 10**9]},
        {"input_shape": 5},
        {"num_classes": "3"},
        {"num_classes": 10**9},
        {"temperature": [1]},
        {"temperature": float("nan")},
        {"logit_bias": "x"},
        {"rescaling": {}},
        {"class_names": 5},
        {"pixel_dropout": "a"},
        {"dtype": ELSEWHERE},
        {"dtype": "nonsense"},
        {"name": {"a": 1}},
        {"name": "../../x"},
        {"later": 1},
    ],
    ids=str,
)
def test_configurations_that_do_not_fit_their_weights_are_refused(preset, config):
    change(preset, **config)
    with pytest.raises(UnreadableFileError, match="Received: ") as caught:
        CoDANet.from_preset(preset)
    assert len(str(caught.value)) < 1000
    with pytest.raises(ValueError, match=r"."):
        CoDANet.from_preset(preset, class_names=None if "class_names" not in config else 5)


def test_sizes_are_checked_before_a_network_is_built(preset, monkeypatch):
    monkeypatch.setattr("keras_coda.models.coda_net.DAUConv2D", None)  # nothing can be built
    change(preset, filters=[10**9, 5, 3])
    for options in ({}, {"load_weights": False}, {"num_classes": 2}):
        with pytest.raises(UnreadableFileError, match=r"weights of shape .* are missing"):
            CoDANet.from_preset(preset, **options)


@pytest.mark.parametrize(
    "contents",
    [
        {"config": [1]},
        {"config": None},
        {"training_figures": "x"},
        {"weights_sha256": 5},
        {"class": {"a": 1}},
        {"class": "keras_coda>DAUConv2D"},
        {"class": "os.system"},
    ],
    ids=str,
)
def test_other_contents_than_those_of_a_preset_are_refused(preset, contents):
    change(preset, contents)
    with pytest.raises(ValueError, match="Received: "):
        CoDANet.from_preset(preset)


@pytest.mark.parametrize("text", [b"[1, 2]", b'{"config":' + b"[" * 200_000, b'{"config": ' + b"9" * 5000 + b"}",
                                  b'\xff\xfe{"a"', b"", b"null", b" " * (2**24 + 1)])  # fmt: skip
def test_configurations_that_are_no_json_are_refused(preset, text):
    (preset / "config.json").write_bytes(text)
    with pytest.raises(UnreadableFileError, match="must be as `save_to_preset` wrote it"):
        CoDANet.from_preset(preset)


def external_link(file, name, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["secret"] = file[name][()]
    del file[name]
    file[name] = h5py.ExternalLink(str(folder / "other.h5"), "secret")


def soft_link(file, name, folder):
    file["elsewhere"] = file[name]
    del file[name]
    file[name] = h5py.SoftLink("/elsewhere")


def external_numbers(file, name, folder):
    (folder / "secret.bin").write_bytes(file[name][()].tobytes())
    shape, size = file[name].shape, file[name].nbytes
    del file[name]
    file.create_dataset(name, shape, "float32", external=[(str(folder / "secret.bin"), 0, size)])


def virtual(file, name, folder):
    layout = h5py.VirtualLayout(file[name].shape, "float32")
    layout[...] = h5py.VirtualSource(str(folder / "other.h5"), "secret", file[name].shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


def bomb(file, name, folder):
    del file[name]
    file.create_dataset(name, (10**6, 10**4), "float32", chunks=(1000, 1000), compression="gzip", fillvalue=1)


def text(file, name, folder):
    del file[name]
    file[name] = "numbers"


def missing(file, name, folder):
    del file[name]


def endless(file, name, folder):
    file["layers/again"] = file["layers"]


@pytest.mark.parametrize(
    "harm",
    [external_link, soft_link, external_numbers, virtual, bomb, text, missing, endless],
    ids=lambda f: f.__name__,
)
def test_weights_that_are_not_in_their_file_are_refused(preset, tmp_path, harm):
    path = preset / "model.weights.h5"
    assert array_shapes(path)
    with h5py.File(path, "r+") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        harm(file, names[0], tmp_path)
    change(preset, {"weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    with pytest.raises(UnreadableFileError, match=r"model\.weights\.h5|'.*net'"):
        CoDANet.from_preset(preset)


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000, "../" * 2000, "http://nowhere/x", "", "\ud800"])
def test_names_that_cannot_be_paths_are_unknown_presets(name):
    with pytest.raises(ValueError, match="Received: "):
        preset_folder(name)


# === Keras files ===


def rewrite(path, change):
    """Write a Keras file again with the text of its configuration changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = change(members["config.json"].decode()).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("wrap", [False, True])
def test_keras_files_are_checked_before_a_network_is_built(tmp_path, monkeypatch, wrap):
    model, path = small(), tmp_path / "net.keras"
    (keras.Sequential([keras.Input((8, 7, 2)), model]) if wrap else model).save(path)
    np.testing.assert_array_equal(load_keras_file(path).get_weights()[0], model.get_weights()[0])
    monkeypatch.setattr("keras_coda.models.coda_net.DAUConv2D", None)  # nothing can be built
    for change in (
        lambda text: text.replace('"filters": [4', '"filters": [1000000000'),
        lambda text: text.replace('"ranks": [3', '"ranks": ["x"'),
        lambda text: "[" * 100_000,
        lambda text: "{",
    ):
        rewrite(path, change)
        with pytest.raises(UnreadableFileError, match=r"Received: '.*net\.keras'"):
            load_keras_file(path)


def test_keras_files_that_hold_far_more_than_their_size_are_refused(tmp_path, monkeypatch):
    small().save(tmp_path / "net.keras")
    monkeypatch.setattr(reading, "_SMALL", 2**20)
    rewrite(tmp_path / "net.keras", lambda text: text + " " * 2**25)
    with pytest.raises(UnreadableFileError, match="must hold at most"):
        load_keras_file(tmp_path / "net.keras")


# === Archives, and JSON elsewhere ===


def npy(shape, data=b"\0" * 100):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue() + data


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


READERS = {
    "npz": reading.read_npz,
    "explanation": Explanation.load,
    "checkpoint": lambda path: load_coda_checkpoint(path, strides=1),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_archives_that_claim_more_than_they_hold_are_refused(tmp_path, monkeypatch, read):
    monkeypatch.setattr(reading, "_SMALL", 2**20)
    objects = np.empty(1, object)
    np.savez(tmp_path / "objects.npz", bias=objects)
    paths = [
        tmp_path / "objects.npz",
        archive(tmp_path / "bomb.npz", bias=npy((2**22,), b"\0" * 2**24)),
        archive(tmp_path / "large.npz", bias=npy((25 * 10**9,))),
        archive(tmp_path / "larger.npz", bias=npy((10**30,))),
        archive(tmp_path / "negative.npz", bias=npy((-5,))),
        archive(tmp_path / "empty.npz"),
        archive(tmp_path / "header.npz", bias=b"\x93NUMPY\x01\x00" + b"(" * 5000),
    ]
    for path in paths:
        if path.name == "empty.npz" and read is reading.read_npz:
            continue
        with pytest.raises(ValueError, match="Received: "):
            read(path)


def test_explanations_whose_arrays_do_not_fit_are_refused(tmp_path):
    small().explain(pixels(), verbose=False).save(tmp_path / "right.npz")
    fields = reading.read_npz(tmp_path / "right.npz")
    assert Explanation.load(tmp_path / "right.npz").classes.tolist() == fields["classes"].tolist()
    for changed in ({"classes": fields["classes"][:1]}, {"bias": np.zeros(3)}, {"contributions": np.zeros(2)},
                    {"probabilities": fields["probabilities"][:, :1]}, {"other": np.zeros(2)}):  # fmt: skip
        np.savez(tmp_path / "wrong.npz", **{**fields, **changed})
        with pytest.raises(UnreadableFileError, match="must hold an explanation. Received: "):
            Explanation.load(tmp_path / "wrong.npz")


def test_pickles_that_repeat_one_number_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    key = "0.weight_mod.weighting_f.0.weight"
    for number, state in enumerate([{key: torch.zeros(1).expand(10**5, 10**5)}, {1: torch.zeros(2)}, {key: 5}, [1]]):
        torch.save(state, tmp_path / f"{number}.pt")
        with pytest.raises(UnreadableFileError, match="cannot be read"):
            load_coda_checkpoint(tmp_path / f"{number}.pt", strides=1)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\ud800", "[1]"])
def test_json_that_is_damaged_is_an_unreadable_file(tmp_path, text):
    path = tmp_path / "run.json"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ValueError, match="Received: "):
        TuningResult.from_json(path)
    with pytest.raises(UnreadableFileError, match=r"run\.json"):
        RunFolder(tmp_path, {"a": 1}, file="run.json", what="training")


# === A few of the mutations that `python -m experiments.reliability fuzz` makes by the hundred ===


IMAGES = pytest.param("images", 100, marks=pytest.mark.slow)


@pytest.mark.parametrize(("kind", "number"), [("presets", 40), ("checkpoints", 40), ("answers", 25), IMAGES])
def test_random_mutations_end_in_a_right_result_or_a_documented_error(tmp_path, kind, number):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Keras, about names in damaged files
        counts, problems = fuzzing.run(kind, number, tmp_path)
    assert not problems
    assert sum(counts.values()) == number
    assert min(counts.values()) > 0

"""The C API loads and runs an export: the code with which TF Serving does it, without Python's TensorFlow."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_coda import CoDANet
from keras_coda.exporters.protos import read_meta_graph
from tests.helpers.networks import pixels

# Runs in a process of its own: TensorFlow's library must not be there twice.
C_API = """
import ctypes, json, sys
import numpy as np

library, folder, spec, images, out = sys.argv[1:]
tf = ctypes.CDLL(library)
pointer = ctypes.c_void_p

class Output(ctypes.Structure):
    _fields_ = [("operation", pointer), ("index", ctypes.c_int)]

def function(name, result, *arguments):
    found = getattr(tf, name)
    found.restype, found.argtypes = result, arguments
    return found

new_status, new_graph = function("TF_NewStatus", pointer), function("TF_NewGraph", pointer)
new_options = function("TF_NewSessionOptions", pointer)
code, message = function("TF_GetCode", ctypes.c_int, pointer), function("TF_Message", ctypes.c_char_p, pointer)
load = function("TF_LoadSessionFromSavedModel", pointer, pointer, pointer, ctypes.c_char_p,
                ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, pointer, pointer, pointer)
operation = function("TF_GraphOperationByName", pointer, pointer, ctypes.c_char_p)
shape_of = ctypes.POINTER(ctypes.c_int64)
allocate = function("TF_AllocateTensor", pointer, ctypes.c_int, shape_of, ctypes.c_int, ctypes.c_size_t)
data, dtype = function("TF_TensorData", pointer, pointer), function("TF_TensorType", ctypes.c_int, pointer)
rank, size = function("TF_NumDims", ctypes.c_int, pointer), function("TF_Dim", ctypes.c_int64, pointer, ctypes.c_int)
run = function("TF_SessionRun", None, pointer, pointer, ctypes.POINTER(Output), ctypes.POINTER(pointer), ctypes.c_int,
               ctypes.POINTER(Output), ctypes.POINTER(pointer), ctypes.c_int, pointer, ctypes.c_int, pointer, pointer)
DTYPES = {1: np.float32, 3: np.int32}

status, graph = new_status(), new_graph()

def check():
    if code(status):
        sys.exit(f"{code(status)} {message(status).decode()}")

def port(name):
    operation_name, index = name.split(":")
    found = operation(graph, operation_name.encode())
    assert found, name
    return Output(found, int(index))

def to_tensor(array):
    array = np.ascontiguousarray(array)
    number = {value: key for key, value in DTYPES.items()}[array.dtype.type]
    tensor = allocate(number, (ctypes.c_int64 * array.ndim)(*array.shape), array.ndim, array.nbytes)
    ctypes.memmove(data(tensor), array.ctypes.data, array.nbytes)
    return tensor

def to_array(tensor):
    shape = [size(tensor, axis) for axis in range(rank(tensor))]
    array = np.empty(shape, DTYPES[dtype(tensor)])
    ctypes.memmove(array.ctypes.data, data(tensor), array.nbytes)
    return array

session = load(new_options(), None, folder.encode(), (ctypes.c_char_p * 1)(b"serve"), 1, graph, None, status)
check()
results = {}
with open(spec) as file:
    signatures = json.load(file)
for name, (image, outputs) in signatures.items():
    values = (pointer * len(outputs))()
    run(session, None, (Output * 1)(port(image)), (pointer * 1)(to_tensor(np.load(images))), 1,
        (Output * len(outputs))(*map(port, outputs.values())), values, len(outputs), None, 0, None, status)
    check()
    results.update({f"{name}/{key}": to_array(value) for key, value in zip(outputs, values)})
np.savez(out, **results)
assert "tensorflow" not in sys.modules
"""
LIBRARY = Path(tf.__file__).with_name("libtensorflow_cc.so.2")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LIBRARY.is_file(), reason="TensorFlow's C API is in no library of its own here"),
]


def run_with_c_api(folder, images, scratch):
    """Return the finished process and, if it went well, the numeric outputs by ``signature/name``."""
    found = read_meta_graph(folder).signature_def
    spec = {
        name: (
            found[name].inputs["images"].name,
            {key: info.name for key, info in found[name].outputs.items() if info.dtype != tf.string.as_datatype_enum},
        )
        for name in ("serving_default", "contributions")
    }
    (scratch / "spec.json").write_text(json.dumps(spec))
    np.save(scratch / "images.npy", np.asarray(images, "float32"))
    command = [sys.executable, "-c", C_API, LIBRARY, folder, *(scratch / n for n in ("spec.json", "images.npy"))]
    done = subprocess.run([*map(str, command), str(scratch / "out.npz")], capture_output=True, text=True)
    return done, dict(np.load(scratch / "out.npz")) if done.returncode == 0 else {}


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    model, folder = CoDANet.from_preset("coda_digits"), tmp_path_factory.mktemp("digits") / "1"
    model.export(folder, top_k=2, warmup=False)
    return model, folder


@pytest.mark.parametrize("kind", ["digits", "two_channels"])
def test_the_c_api_serves_what_keras_explains(kind, request, tmp_path):
    model, folder = request.getfixturevalue(kind)
    images = pixels(3, model.input_shape[1:])
    done, outputs = run_with_c_api(folder, images, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    explanation = model.explain(images, top_k=2)
    np.testing.assert_array_equal(outputs["contributions/classes"], explanation.classes)
    np.testing.assert_array_equal(outputs["serving_default/top_classes"], explanation.classes)
    for name in ("logits", "probabilities", "contributions"):
        expected = getattr(explanation, name)
        np.testing.assert_allclose(outputs[f"contributions/{name}"], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs["serving_default/logits"], explanation.logits, rtol=1e-5, atol=1e-5)
    total = outputs["contributions/contributions"].sum((2, 3)) + outputs["contributions/bias"][:, None]
    np.testing.assert_allclose(total, explanation.explained_logits, rtol=1e-5, atol=1e-4)
    assert (outputs["contributions/residual"] <= 1e-4).all()


def test_the_c_api_refuses_images_that_are_not_finite(two_channels, tmp_path):
    done, _ = run_with_c_api(two_channels.folder, np.full((1, 8, 7, 2), np.nan), tmp_path)
    assert done.returncode == 1
    assert "must be finite, pixels in [0, 255]" in done.stderr

import json
import os
import subprocess
import sys

import pytest

from keras_coda.utils.optional import import_optional, is_installed, require_installed


def test_modules_that_are_there_are_imported():
    assert import_optional("json", extra="video") is json
    assert is_installed("json")


def test_the_error_names_the_extra(monkeypatch):
    with pytest.raises(ImportError) as info:
        import_optional("no_such_module.inner", extra="serving", purpose="Warm-up", package="such-module",
                        alternative="export with `warmup=False`")  # fmt: skip
    assert str(info.value) == (
        "Warm-up needs such-module. Received: No module named 'no_such_module'. "
        'Install it: pip install "keras-coda[serving]", or export with `warmup=False`.'
    )
    assert info.value.name == "no_such_module.inner"
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"Reading videos needs av\. Received: .*keras-coda\[video\]\"\.$"):
        import_optional("av", extra="video", purpose="Reading videos")
    require_installed("json", extra="video")
    with pytest.raises(
        ImportError, match=r"function needs no_such_module\. Received: No module .*keras-coda\[explore\]"
    ):
        require_installed("no_such_module", extra="explore")
    assert not is_installed("no_such_module")
    assert not is_installed("no_such_module.inner")


CODE = """
import sys
for name in ("matplotlib", "keras_tuner"):  # hidden, since Keras imports the former where it finds it
    sys.modules[name] = None
import keras_coda.exporters.single_file, keras_coda.tuning.temperature, keras_coda.visualization
print({"tf_explain", "onnx", "tf2onnx", "onnxruntime", "ai_edge_litert", "quantus"} & set(sys.modules))
for name in ("tune", "CoDAHyperModel"):
    try: getattr(keras_coda.tuning, name)
    except ImportError as error: print(error)
print(hasattr(keras_coda.tuning, "tuna"))
"""


@pytest.mark.slow
def test_no_room_needs_or_imports_what_is_optional_until_it_is_used():
    environment = {**os.environ, "KERAS_BACKEND": "jax"}  # is imported faster
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    imported, *missing, other = done.stdout.splitlines()
    assert imported == "set()"
    assert len(missing) == 2
    for message in missing:
        assert message.startswith("Hyperparameter search needs KerasTuner.")
        assert 'pip install "keras-coda[tune]"' in message
    assert other == "False"

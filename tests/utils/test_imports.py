import subprocess
import sys


def test_utils_need_only_numpy_at_import():
    code = """
import importlib, pkgutil, sys, types
import importlib.util
spec = importlib.util.find_spec("keras_coda")
root = types.ModuleType("keras_coda")
root.__path__ = spec.submodule_search_locations
sys.modules["keras_coda"] = root  # without running keras_coda/__init__.py, which imports Keras
utils = importlib.import_module("keras_coda.utils")
for module in pkgutil.iter_modules(utils.__path__):
    importlib.import_module(f"keras_coda.utils.{module.name}")
print(sorted({"keras", "tensorflow", "torch", "jax", "matplotlib"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

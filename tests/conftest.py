import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Never look for a GPU of the machine: tests compare to float32 rounding.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# XLA's last optimizations take longer than these small networks ever run.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

import hypothesis
import keras
import pytest

pytest.register_assert_rewrite("tests.helpers")  # what fails in a helper shows its values, too

hypothesis.settings.register_profile(
    "tests",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=10,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("tests")


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def eagerly():
    """Run what TensorFlow would trace as it comes: for claims that do not depend on it, since tracing takes longer."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def digits():
    keras.utils.set_random_seed(0)
    import keras_coda

    data = keras_coda.data.load("digits")
    model = keras_coda.CoDANet.from_preset("coda_digits", load_weights=False)
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    model.fit(data.train, epochs=5, verbose=0)
    return model, data.validation

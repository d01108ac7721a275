import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from keras_coda.exporters import warmup
from tests.helpers.networks import small
from tests.helpers.warmup_records import write_records

pytestmark = pytest.mark.slow

SHAPE = (8, 7, 3)
SIGNATURES = ("serving_default", "contributions", "contributions_for_classes")
SIGNATURES += tuple(f"{name}_bytes" for name in SIGNATURES)


class Plain(tf.Module):
    """A SavedModel of somebody else's."""

    def __init__(self, shape, dtype=tf.float32):
        super().__init__()
        spec = tf.TensorSpec((None, *shape), dtype, name="pictures")
        self.flatten = tf.function(
            lambda pictures: {"rows": tf.reshape(pictures, (tf.shape(pictures)[0], -1))}, input_signature=[spec]
        )

    def save(self, folder):
        tf.saved_model.save(self, str(folder), signatures={"serving_default": self.flatten})


def test_there_is_a_record_of_the_official_protos_for_every_signature_and_batch_size(color):
    dataset = tf.data.TFRecordDataset(str(color.folder / "assets.extra" / "tf_serving_warmup_requests"))
    requests = [PredictionLog.FromString(record.numpy()).predict_log.request for record in dataset]
    found = {(request.model_spec.signature_name, batch_size(request)) for request in requests}
    assert found == {(name, size) for name in SIGNATURES for size in (1, 8)}
    assert len(requests) == len(found)


def batch_size(request):
    sizes = {len(tf.make_ndarray(tensor)) for tensor in request.inputs.values()}
    assert len(sizes) == 1
    return sizes.pop()


def test_records_hold_valid_images_files_and_classes(color):
    for name, inputs in warmup.read_warmup(color.folder):
        arrays = inputs
        assert ("images" in arrays) != name.endswith("_bytes")
        if "images" in arrays:
            assert arrays["images"].shape[1:] == SHAPE
            assert arrays["images"].dtype == np.float32
            assert ((arrays["images"] >= 0) & (arrays["images"] <= 255)).all()
        else:
            assert all(tf.io.decode_png(data).shape == SHAPE for data in arrays["image_bytes"])
        if "for_classes" in name:
            np.testing.assert_array_equal(np.unique(arrays["classes"]), [0, 1])


def test_replay_runs_every_record_in_bare_tensorflow_and_measures_residuals(color):
    replay = warmup.replay_warmup(color.folder)
    assert [(record.signature, record.batch_size) for record in replay.records] == [
        (name, size) for size in (1, 8) for name in sorted(SIGNATURES)
    ]
    for record in replay.records:
        assert (record.residual is None) == record.signature.startswith("serving_default")
    assert 0 <= replay.largest_residual <= 1e-4


def test_replay_fails_where_a_record_would_make_the_server_refuse_the_model(copied):
    requests = warmup.read_warmup(copied)
    name, inputs = next(request for request in requests if request[0] == "contributions_for_classes")
    write_records(copied, [(name, {**inputs, "classes": np.array([[0, 3]], "int32")})])
    with pytest.raises(RuntimeError, match=r"must run in bare TensorFlow. Received: .*"):
        warmup.replay_warmup(copied)


def test_replay_measures_residuals_itself(tmp_path):
    spec = tf.TensorSpec((None, 4, 4, 1), tf.float32, name="images")

    def explain(images):
        rows = tf.reshape(images[:, 0, 0, 0], (-1, 1))
        maps = tf.ones_like(images)[:, None, :, :, 0]
        classes = tf.zeros_like(rows, tf.int32)
        return {"logits": rows * 0, "classes": classes, "contributions": maps, "bias": rows[:, 0] * 0}

    module = tf.Module()
    module.explain = tf.function(explain, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"contributions": module.explain})
    assert warmup.replay_warmup(tmp_path / "1").largest_residual == 16.0  # 4 x 4 ones where the logit is 0


def test_any_exported_folder_with_images_gets_warm_up(tmp_path):
    Plain((4, 5, 6)).save(tmp_path / "1")
    path = warmup.write_warmup(tmp_path / "1", batch_sizes=(3,))
    ((name, inputs),) = warmup.read_warmup(tmp_path / "1")
    assert name == "serving_default"
    assert inputs["pictures"].shape == (3, 4, 5, 6)
    assert warmup.replay_warmup(tmp_path / "1").records == (warmup.Replayed("serving_default", 3, residual=None),)
    assert [other.name for other in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("shape", "dtype"), [((5,), tf.float32), ((4, 4, 1), tf.uint8), ((), tf.int32)])
def test_inputs_of_another_kind_are_refused(tmp_path, shape, dtype):
    Plain(shape, dtype).save(tmp_path / "1")
    with pytest.raises(ValueError, match="must be images, image files or classes. Received: name='pictures'"):
        warmup.write_warmup(tmp_path / "1")
    assert not (tmp_path / "1" / warmup.WARMUP_FILE).exists()


def test_images_of_any_size_have_no_warm_up(any_size):
    assert not (any_size.folder / "assets.extra").exists()
    with pytest.raises(ValueError, match="need images of one size. Received: .* Export with `image_size`"):
        warmup.write_warmup(any_size.folder)


def test_more_records_than_the_server_takes_are_refused_and_the_file_is_kept(copied):
    before = (copied / warmup.WARMUP_FILE).read_bytes()
    with pytest.raises(ValueError, match="At most 1000 .* Received: requests=1002"):
        warmup.write_warmup(copied, batch_sizes=range(1, 168))
    with pytest.raises(ValueError, match="`batch_sizes` must be a positive integer. Received: batch_sizes=0"):
        warmup.write_warmup(copied, batch_sizes=(1, 0))
    assert (copied / warmup.WARMUP_FILE).read_bytes() == before


def test_warm_up_stays_small_for_large_images(tmp_path):
    Plain((224, 224, 3)).save(tmp_path / "1")
    assert warmup.write_warmup(tmp_path / "1", batch_sizes=(1, 8, 32)).stat().st_size < 1000


def test_a_damaged_file_is_an_error(copied):
    path = copied / warmup.WARMUP_FILE
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 0xFF
    path.write_bytes(contents)
    with pytest.raises(ValueError, match="must be a TFRecord of PredictionLog. Received: "):
        warmup.read_warmup(copied)
    path.write_bytes(b"too short")
    with pytest.raises(ValueError, match="must be a TFRecord of PredictionLog. Received: .* records=0"):
        warmup.read_warmup(copied)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="must have warm-up requests. Received: "):
        warmup.read_warmup(copied)


def test_records_of_another_log_are_refused(copied):
    with tf.io.TFRecordWriter(str(copied / warmup.WARMUP_FILE)) as writer:
        writer.write(PredictionLog().SerializeToString())
    with pytest.raises(ValueError, match=r"predict_log records. Received: records=\['empty'\]"):
        warmup.read_warmup(copied)


def test_the_missing_extra_is_named(color, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)
    for function in (warmup.write_warmup, warmup.read_warmup):
        with pytest.raises(ImportError, match=r'pip install "keras-coda\[serving\]"'):
            function(color.folder)
    small().export(tmp_path / "1")  # without the extra, exports have no warm-up
    assert not (tmp_path / "1" / warmup.WARMUP_FILE).exists()
    with pytest.raises(ImportError, match=r"keras-coda\[serving\]"):
        small().export(tmp_path / "2", warmup=True)
    assert not (tmp_path / "2").exists()

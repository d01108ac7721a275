import sys

import keras
import numpy as np
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from keras_coda import AddInverse, DAUConv2D, GlobalSumPooling2D
from keras_coda.exporters import (
    Signatures,
    checks_table,
    export_saved_model,
    lint_saved_model,
    require_servable,
    schema,
    verify_saved_model,
    warmup,
)
from keras_coda.exporters.protos import read_signatures
from tests.helpers.networks import small
from tests.helpers.warmup_records import write_records

pytestmark = pytest.mark.slow


def network(**arguments):
    return small(input_shape=(8, 7, 3), **arguments)


@pytest.mark.parametrize("kind", ["color", "color_with_linear_map", "two_channels", "any_size"])
def test_exports_of_every_kind_have_no_findings(kind, request):
    folder = request.getfixturevalue(kind).folder
    assert lint_saved_model(folder) == []
    require_servable(folder)


def write_out(folder, endpoints, model=None):
    archive = keras.export.ExportArchive()
    if model is not None:
        archive.track(model)
    for name, (function, specs) in endpoints.items():
        archive.add_endpoint(name, function, input_signature=specs)
    archive.write_out(str(folder), verbose=False)


@pytest.mark.parametrize("rank", [2, 0])
def test_signatures_of_other_names_only_need_what_tf_serving_asks_of_all(rank, tmp_path):
    signatures = Signatures.of(network(), top_k=2)
    images = signatures.specs({"images": read_table().inputs["images"]})

    def least(images):
        return {"least": keras.ops.min(images, axis=(2, 3) if rank else None)}

    write_out(tmp_path / "1", {**signatures.serving(), "least": (least, images)})
    found = [(finding.rule, "'least' of 'least'" in finding.message) for finding in lint_saved_model(tmp_path / "1")]
    assert found == ([] if rank else [("batch", True)])


def read_table():
    return schema.SIGNATURES[schema.PREDICT]


# === What makes a finding: one broken folder per rule ===


def graph_change(function):
    def change(folder):
        path = folder / "saved_model.pb"
        saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
        function(saved_model.meta_graphs[0])
        path.write_bytes(saved_model.SerializeToString())

    return change


@graph_change
def without_signature(graph):
    del graph.signature_def["contributions_bytes"]


@graph_change
def unnamed_output(graph):
    outputs = graph.signature_def["serving_default"].outputs
    outputs["output_0"].CopyFrom(outputs["logits"])
    del outputs["logits"]


@graph_change
def another_number_of_maps(graph):
    graph.signature_def["contributions"].outputs["classes"].tensor_shape.dim[1].size = 3


@graph_change
def unknown_rank(graph):
    graph.signature_def["contributions"].outputs["bias"].tensor_shape.Clear()
    graph.signature_def["contributions"].outputs["bias"].tensor_shape.unknown_rank = True


@graph_change
def half_floats(graph):
    graph.signature_def["serving_default"].outputs["logits"].dtype = types_pb2.DT_HALF


@graph_change
def fixed_batch(graph):
    graph.signature_def["serving_default"].inputs["images"].tensor_shape.dim[0].size = 1


@graph_change
def scalar(graph):
    del graph.signature_def["contributions"].outputs["bias"].tensor_shape.dim[:]


@graph_change
def compiled_function(graph):
    graph.graph_def.library.function[0].attr["_XlaMustCompile"].b = True


@graph_change
def compiled_call(graph):
    graph.graph_def.library.function[0].node_def[0].attr["_XlaMustCompile"].b = True


@graph_change
def compiled_node(graph):
    graph.graph_def.node[0].attr["_XlaMustCompile"].b = True


@graph_change
def training_graph(graph):
    graph.meta_info_def.tags[:] = ["train"]


def no_proto(folder):
    (folder / "saved_model.pb").write_bytes(b"no proto at all")


def without_graph(folder):
    (folder / "saved_model.pb").unlink()


def without_index(folder):
    (folder / "variables" / "variables.index").unlink()


def without_shard(folder):
    (folder / "variables" / "variables.data-00000-of-00001").unlink()


def cut_weights(folder):
    path = folder / "variables" / "variables.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:100])


def no_checkpoint(folder):
    (folder / "variables" / "variables.index").write_bytes(b"no table")


def half_a_neighbor(folder):
    (folder.parent / "2" / "variables").mkdir(parents=True)


def damaged_warmup(folder):
    (folder / warmup.WARMUP_FILE).write_bytes(b"no records")


def records(change):
    return lambda folder: write_records(folder, change(warmup.read_warmup(folder)))


@pytest.mark.parametrize(
    ("spoil", "rule", "message"),
    [
        (without_graph, "layout", "must have saved_model.pb"),
        (without_index, "layout", "must have variables/variables.index"),
        (without_shard, "layout", "All shards .* must be there"),
        (half_a_neighbor, "neighbors", "is a version to load. Received: '.*/2'"),
        (no_proto, "proto", "must be a SavedModel proto"),
        (training_graph, "proto", r"tag 'serve' alone. Received: tags=\[\['train'\]\]"),
        (without_signature, "signatures", "without 'contributions_bytes'"),
        (unnamed_output, "signatures", r"missing=\['logits'\], unknown=\['output_0'\]"),
        (another_number_of_maps, "signatures", r"must have shape \(B, K\), one size per letter. Received: \(None, 3\)"),
        (unknown_rank, "signatures", r"'bias' of .* must have shape \(B\), .* Received: None"),
        (unknown_rank, "batch", "begin with a batch dimension of free size. Received: 'bias' .* shape None"),
        (half_floats, "dtype", "'logits' of the outputs of 'serving_default' must be float32. Received: float16"),
        (half_floats, "dtype", "REST serves no half floats"),
        (fixed_batch, "batch", r"Received: 'images' of 'serving_default', shape \(1, 8, 7, 3\)"),
        (scalar, "batch", r"Received: 'bias' of 'contributions', shape \(\)"),
        (compiled_function, "xla", "_XlaMustCompile on function"),
        (compiled_call, "xla", "_XlaMustCompile on node '.+' of '(?!graph').+'"),
        (compiled_node, "xla", "_XlaMustCompile on node '.*' of 'graph'"),
        (cut_weights, "weights", "must be whole, .* Received: 100 bytes"),
        (no_checkpoint, "weights", "must be a readable checkpoint"),
        (damaged_warmup, "warmup", "must be a TFRecord"),
        (records(lambda requests: requests * 84), "warmup", "At most 1000 .* Received: 1008"),
        (records(lambda requests: [("predict", requests[0][1])]), "warmup", "record 0, 'predict'"),
        (records(lambda requests: [(requests[0][0], {})]), "warmup", "must have the inputs of 'contributions'"),
        (
            records(lambda _: [("contributions", {"images": np.zeros((1, 9, 9, 3), "float32")})]),
            "warmup",
            "must have the inputs of 'contributions'",
        ),
    ],
)
def test_every_rule_finds_the_folder_that_breaks_it(copied, spoil, rule, message):
    spoil(copied)
    found = [finding for finding in lint_saved_model(copied) if finding.rule == rule]
    assert found
    with pytest.raises(ValueError, match=message):
        raise ValueError(" ".join(map(str, found)))
    with pytest.raises(ValueError, match="must be one that TF Serving loads. Received: folder=.*"):
        require_servable(copied)


@pytest.mark.parametrize("name", ["latest", "v1", "-1", "1.0", "9223372036854775808"])
def test_a_folder_that_is_no_version_is_found(copied, name):
    renamed = copied.rename(copied.with_name(name))
    (finding,) = lint_saved_model(renamed)
    assert finding.is_error
    assert "only sees folders named by an integer" in str(finding)


def test_leftovers_of_a_killed_export_are_pointed_out_and_harmless(copied):
    (copied.parent / ".tmp-2-0123abcd" / "variables").mkdir(parents=True)
    (finding,) = lint_saved_model(copied)
    assert (finding.rule, finding.is_error) == ("neighbors", False)
    require_servable(copied)


def test_weights_stored_twice_are_found(tmp_path):
    model = network()
    write_out(tmp_path / "1", Signatures.of(model).serving(), model)  # tracking it stores them a second time
    (finding,) = lint_saved_model(tmp_path / "1")
    needed = 4 * model.count_params()
    assert (finding.rule, finding.is_error) == ("weights", False)
    assert f"once, {needed} bytes for what signatures use. Received: {2 * needed} bytes" in finding.message


def test_warm_up_that_cannot_be_read_here_is_no_error(color, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)
    (finding,) = lint_saved_model(color.folder)
    assert (finding.rule, finding.is_error) == ("warmup", False)
    assert "keras-coda[serving]" in finding.message


def test_signatures_are_read_without_loading(color):
    found = read_signatures(color.folder)
    assert list(found) == sorted(found)
    assert found["contributions"].outputs["contributions"].shape == (None, 2, 8, 7)
    assert found["serving_default_bytes"].inputs["image_bytes"].dtype == "string"


# === verify ===


def test_verify_runs_an_export_and_compares_it_with_its_network(color):
    rows = verify_saved_model(color.folder, color.model)
    assert [row.name for row in rows] == ["lint", "runs in bare TensorFlow", "maps sum to logits", "agrees with Keras"]
    assert [row.detail for row in rows if not row.passed] == []
    lines = checks_table(rows).splitlines()
    assert len(lines) == 4
    assert all(line.startswith("ok  ") for line in lines)


def test_verify_says_which_step_failed(copied):
    records(lambda _: [("contributions", {"images": np.full((1, 8, 7, 3), 256, "float32")})])(copied)
    (copied.parent / "2").mkdir()
    rows = verify_saved_model(copied)
    assert [(row.name, row.passed) for row in rows] == [("lint", False), ("runs in bare TensorFlow", False)]
    assert checks_table(rows).count("FAIL") == 2


def test_verify_needs_no_warm_up_file_to_run_a_model(copied):
    (copied / warmup.WARMUP_FILE).unlink()
    rows = verify_saved_model(copied)
    assert all(row.passed for row in rows)
    assert rows[1].detail.startswith("12 requests: contributions, ")


def of_any_size():
    return small(input_shape=(None, None, 1))


def sequential():
    layers = [keras.layers.Rescaling(1 / 255), AddInverse(), DAUConv2D(3, 3, 2), GlobalSumPooling2D()]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])


@pytest.mark.parametrize(("make", "options"), [(of_any_size, {"image_size": (9, 8)}), (sequential, {})])
def test_verify_compares_images_of_the_size_exported(make, options, tmp_path):
    model = make()
    export_saved_model(model, tmp_path / "1", **options)
    assert [row.detail for row in verify_saved_model(tmp_path / "1", model) if not row.passed] == []

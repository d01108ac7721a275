import hashlib
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from keras_coda import CoDANet
from keras_coda.auditing import audit, schema, verify_audit, writing
from keras_coda.explanations import inputs
from tests.helpers.audits import rows_of
from tests.helpers.commands import run, write_image
from tests.helpers.networks import two_layers
from tests.helpers.waiting import wait_until


def test_every_image_has_a_row_with_what_explain_says(audited, model, photos):
    out, manifest = audited
    rows = {row["image"]: row for row in rows_of(out)}
    assert len(rows) == manifest.images == 123
    assert [shard["rows"] for shard in manifest.shards] == [25, 25, 25, 25, 23]
    for name in ("bright/000.png", "other.png"):
        row, found = rows[name], model.explain(photos / name)
        np.testing.assert_allclose(row["logits"], found.logits[0], rtol=1e-5)
        assert row["decision"] == [row["predicted"]] == found.classes[0].tolist()
        one_map = np.reshape(row["map"], row["map_size"]) * row["map_scale"]
        np.testing.assert_allclose(one_map, found.contributions[0, 0], atol=1e-3 * row["map_scale"])
        assert row["image_hash"] == hashlib.sha256((photos / name).read_bytes()).hexdigest()
        assert row["residual"] < 1e-5
    assert [rows[name]["labels"] for name in ("bright/000.png", "dark/001.png", "other.png")] == [[0], [1], None]


def test_an_unreadable_file_is_a_row_with_its_reason(audited):
    out, manifest = audited
    (bad,) = (row for row in rows_of(out) if row["error"])
    assert manifest.unreadable == 1
    assert (bad["image"], bad["labels"], bad["logits"]) == ("dark/cut.png", [1], None)
    assert "the file is cut off" in bad["error"]
    assert len(bad["image_hash"]) == 64


def test_files_hold_the_schema_and_their_time(audited):
    for path in audited[0].glob("rows/*.parquet"):
        found = pq.read_schema(path)
        assert found.equals(schema())
        assert found.metadata[writing.WRITTEN].startswith(b"20")


def test_an_interrupted_audit_goes_on_with_identical_rows(audited, model, photos, tmp_path, monkeypatch):
    options = {"shard_size": 25, "batch_size": 8, "keep_maps": True, "verbose": False}
    original = writing.write_shard

    def stopping(path, batches):
        if path.name.startswith("part-00002"):
            raise KeyboardInterrupt
        original(path, batches)

    monkeypatch.setattr(writing, "write_shard", stopping)
    with pytest.raises(KeyboardInterrupt):
        audit(model, photos, tmp_path / "out", **options)
    first = tmp_path / "out" / "rows" / "part-00000-of-00005.parquet"
    before = first.stat().st_mtime_ns
    assert not (tmp_path / "out" / writing.MANIFEST).exists()
    with pytest.raises(ValueError, match=r"must hold a finished audit.*missing='manifest.json'"):
        verify_audit(tmp_path / "out", model, photos)
    monkeypatch.setattr(writing, "write_shard", original)
    with pytest.raises(ValueError, match="resumed only with the arguments.*keep_maps=False"):
        audit(model, photos, tmp_path / "out", **{**options, "keep_maps": False})
    manifest = audit(model, photos, tmp_path / "out", **options)
    assert first.stat().st_mtime_ns == before
    assert manifest.audit_hash == audited[1].audit_hash
    assert rows_of(tmp_path / "out") == rows_of(audited[0])
    assert audit(model, photos, tmp_path / "out", **options) == manifest


def test_images_are_read_when_their_file_is_written(model, photos, tmp_path, monkeypatch):
    """Memory does not grow with the number of images: no file has more rows, and no image is read before its turn."""
    read, written = [], []
    original_read, original_write = inputs.read_image, writing.write_shard

    def read_image(content, channels, **options):
        read.append(options["name"])
        return original_read(content, channels, **options)

    def write_shard(path, batches):
        assert len(read) == 25 * len(written)
        original_write(path, batches)
        written.append(path)

    monkeypatch.setattr(inputs, "read_image", read_image)
    monkeypatch.setattr(writing, "write_shard", write_shard)
    audit(model, photos, tmp_path / "out", shard_size=25, batch_size=8, verbose=False)
    assert len(read) == len(set(read)) == 123
    assert len(written) == 5


def test_other_images_are_another_audit(model, tmp_path):
    write_image(tmp_path / "in" / "a.png")
    audit(model, tmp_path / "in", tmp_path / "out", verbose=False)
    write_image(tmp_path / "in" / "b.png")
    with pytest.raises(ValueError, match=r"images=2 \(it was 1\)"):
        audit(model, tmp_path / "in", tmp_path / "out", verbose=False)


def test_networks_for_any_size_and_for_several_labels(tmp_path):
    model = two_layers(class_names=("cat", "dog"))
    model.compile(multi_label=True)
    model.thresholds = (1e-6, 1.0)
    write_image(tmp_path / "a.png", size=(9, 7), mode="L")
    write_image(tmp_path / "b.png", size=(30, 12), mode="L")
    (tmp_path / "labels.csv").write_text("file,dog,cat\nb.png,1,0\na.png,1,1\n")
    audit(model, tmp_path / "labels.csv", tmp_path / "out", max_side=20, verbose=False)
    rows = {row["image"]: row for row in rows_of(tmp_path / "out")}
    assert {name: row["labels"] for name, row in rows.items()} == {"b.png": [1], "a.png": [0, 1]}
    assert rows["b.png"]["map_size"] == [8, 20]
    assert all(row["decision"] == [0] and row["thresholds"] == pytest.approx([1e-6, 1]) for row in rows.values())
    assert verify_audit(tmp_path / "out", model, tmp_path / "labels.csv", verbose=False) == []


def test_an_image_for_which_the_network_fails_is_a_row(tmp_path):
    model = two_layers()
    write_image(tmp_path / "a.png", mode="L")
    model.set_weights([np.full_like(weights, 1e30) for weights in model.get_weights()])
    manifest = audit(model, tmp_path, tmp_path / "out", verbose=False)
    assert manifest.unreadable == 1
    assert "finite" in rows_of(tmp_path / "out")[0]["error"]


@pytest.mark.slow
def test_a_killed_command_goes_on_with_identical_rows(audited, photos, model, tmp_path):
    model.save_to_preset(tmp_path / "model")
    options = ["--model", tmp_path / "model", "--data", photos, "--out", tmp_path / "out", "--maps"]
    options = ["audit", *map(str, options), "--shard-size", "25", "--batch-size", "8"]
    process = subprocess.Popen([sys.executable, "-m", "keras_coda", *options], stderr=subprocess.DEVNULL)
    assert wait_until(lambda: list(tmp_path.glob("out/rows/part-00000*")), process)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "out" / writing.MANIFEST).exists()
    assert run(*options) == 0
    assert rows_of(tmp_path / "out") == rows_of(audited[0])
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.startswith(".")]


def test_commands_record_and_verify(model, tmp_path, capsys):
    write_image(tmp_path / "in" / "dark" / "a.png")
    model.save_to_preset(tmp_path / "model")
    of_model = ["--model", tmp_path / "model", "--data", tmp_path / "in"]
    assert run("audit", *of_model, "--out", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    found = writing.Manifest.from_json(tmp_path / "out" / writing.MANIFEST).audit_hash
    assert f"hash        {found}" in shown
    verify = ["verify-audit", *of_model, "--audit", tmp_path / "out", "--hash"]
    assert run(*verify, found) == 0
    assert "all rows were computed again" in capsys.readouterr().out
    assert run(*verify, "0") == 1
    assert f"the hash of the audit is {found}, not 0" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "out")
    assert run(*verify, found) == 1
    assert "--audit must be a folder with a finished audit" in capsys.readouterr().err


def test_another_network_is_found_before_rows_are_compared(audited, photos):
    other = CoDANet(2, input_shape=(8, 8, 3), filters=(5, 2), ranks=2, class_names=("bright", "dark"))
    (finding,) = verify_audit(audited[0], other, photos, verbose=False)
    assert "the network has the hash" in finding.what

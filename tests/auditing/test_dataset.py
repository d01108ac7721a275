"""Claims about the Beam pipeline: the rows of an audit, each once, also after kills; damaged images are set apart."""

import json
import os
import re
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from keras_coda.auditing import WorkerEndedError, dataset, explain_dataset, exported
from keras_coda.auditing.writing import read_rows
from keras_coda_cli.main import main
from tests.helpers.commands import run
from tests.helpers.page_commands import DOCS, commands
from tests.helpers.waiting import wait_until

pytest.importorskip("apache_beam", reason="needs keras-coda[beam]")
pytestmark = pytest.mark.slow

# What the two cannot have in common: an exported network has no folder of classes, and its own hash.
OTHER = ("model_hash", "preparation", "labels", "row_hash", "versions")


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "1"
    model.export(folder, warmup=False, verbose=False)
    return str(folder)


def table(out, kind="rows"):
    """The rows of a folder by the name of the image; each name is there once."""
    rows = [row for path in sorted((Path(out) / kind).glob("*.parquet")) for row in read_rows(path)]
    named = {row["image"]: row for row in rows}
    assert len(named) == len(rows)
    return named


@pytest.fixture(scope="module")
def explained(saved, photos, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("explained") / "out")
    options = {"shard_size": 25, "batch_size": 8, "keep_maps": True}
    return out, options, explain_dataset(saved, [f"{photos}/**.png"], out, **options)


def check_rows(rows, expected):
    assert sorted(rows) == sorted(name for name, row in expected.items() if row["error"] is None)
    for name, row in rows.items():
        for column, value in row.items():
            want = expected[name][column]
            if column in OTHER or (value is None and column.startswith("map")):
                continue
            if value is None or isinstance(value, str) or column in ("boxes", "decision", "predicted", "map_size"):
                assert value == want, (name, column)
            else:
                np.testing.assert_allclose(value, want, rtol=1e-3, atol=1e-5, err_msg=f"{name} {column}")


def test_rows_are_those_of_an_audit(explained, audited):
    out, _, found = explained
    audit_folder, manifest = audited
    expected = {row["image"]: row for path in sorted(audit_folder.rglob("*.parquet")) for row in read_rows(path)}
    check_rows(table(out), expected)
    assert (found.images, found.unreadable, found.began_with) == (manifest.images - 1, 1, 0)
    (bad,) = table(out, "unreadable").values()
    assert bad["image"] == "dark/cut.png"
    assert bad["image_hash"] == expected["dark/cut.png"]["image_hash"]
    assert bad["error"]
    assert bad["logits"] is None


def test_a_finished_data_set_is_left_and_its_arguments_are_kept(explained, saved, photos, capsys):
    out, _, found = explained
    before = {path: path.stat().st_mtime_ns for path in (Path(out) / "rows").iterdir()}
    command = ["explain-dataset", "--model", saved, "--inputs", f"{photos}/**.png", "--out", out, "--maps"]
    assert run(*command, "--shard-size", "25", "--workers", "2") == 0
    shown = capsys.readouterr().out
    assert f"{found.images} in 5 Parquet files, 5 of them from before" in shown
    assert {path: path.stat().st_mtime_ns for path in (Path(out) / "rows").iterdir()} == before
    assert run(*command, "--shard-size", "20") == 1
    assert "shard_size=20. Repeat them as they were or choose another folder" in capsys.readouterr().err


def test_the_command_of_the_page(explained, saved, photos, tmp_path, monkeypatch, capsys):
    (tmp_path / "models" / "photos").mkdir(parents=True)
    (tmp_path / "models" / "photos" / "1").symlink_to(saved)
    (tmp_path / "photos").symlink_to(photos)
    monkeypatch.chdir(tmp_path)
    ((_, arguments),) = commands("many_images.md", "explain-dataset")
    assert run(*arguments) == 0
    assert "122 in 1 Parquet files, 0 of them from before" in capsys.readouterr().out
    check_rows(table("explained"), table(explained[0]))


def test_the_page_names_options_that_beam_has():
    from apache_beam.options.pipeline_options import PipelineOptions

    page = (DOCS / "many_images.md").read_text(encoding="utf-8")
    names = re.findall(r"--(\w+)=", "".join(re.findall(r"--beam-options='(.*?)'", page)))
    assert len(names) == 13
    assert set(names) <= set(PipelineOptions([]).get_all_options())


def test_a_run_that_is_killed_goes_on_with_the_same_images(explained, saved, photos, tmp_path, monkeypatch):
    original, calls = exported.ExportedNetwork.rows, []

    def rows(self, items):
        calls.append(items)
        if len(calls) == 6:  # within the second shard
            raise SystemError
        return original(self, items)

    out, options = str(tmp_path / "out"), explained[1]
    monkeypatch.setattr(exported.ExportedNetwork, "rows", rows)
    with pytest.raises((SystemError, RuntimeError)):
        explain_dataset(saved, [f"{photos}/**.png"], out, **options)
    done = len(list((tmp_path / "out" / "rows").glob("*.parquet")))
    assert 1 <= done < 5
    found = explain_dataset(saved, [f"{photos}/**.png"], out, **options)
    assert found.began_with == done
    ours, whole = table(out), table(explained[0])
    assert [row["row_hash"] for row in ours.values()] == [row["row_hash"] for row in whole.values()]
    assert not list((tmp_path / "out" / "temporary").iterdir())


def test_a_killed_worker_loses_and_doubles_no_row(explained, saved, photos, tmp_path):
    psutil = pytest.importorskip("psutil")
    out, options = tmp_path / "out", explained[1]

    def kill():
        wait_until(lambda: list(out.glob("rows/*.parquet")))
        children = psutil.Process().children(recursive=True)
        workers = [child for child in children if "sdk_worker_main" in " ".join(child.cmdline())]
        killed.append(workers[-1].pid)
        os.kill(workers[-1].pid, signal.SIGKILL)

    killed = []
    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.warns(UserWarning, match="A worker has ended"):
        explain_dataset(saved, [f"{photos}/**.png"], str(out), workers=2, **options)
    killer.join()
    assert killed
    ours, whole = table(out), table(explained[0])
    assert {name: row["row_hash"] for name, row in ours.items()} == {n: row["row_hash"] for n, row in whole.items()}
    assert list(table(out, "unreadable")) == ["dark/cut.png"]


def test_workers_that_always_end_are_an_error(explained, saved, photos, tmp_path, monkeypatch):
    def run_(*_):
        raise WorkerEndedError("ended")

    monkeypatch.setattr(dataset, "_run", run_)
    with pytest.warns(UserWarning, match="A worker has ended"), pytest.raises(WorkerEndedError, match="ended"):
        explain_dataset(saved, [f"{photos}/**.png"], str(tmp_path / "out"), **explained[1])


@pytest.mark.parametrize("form", ["tfrecord", "parquet"])
def test_files_with_many_images(form, explained, saved, photos, tmp_path):
    whole = table(explained[0])
    names = list(whole)[:9]
    contents = [(photos / name).read_bytes() for name in names]
    if form == "tfrecord":
        import tensorflow as tf

        def feature(value):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

        with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
            for name, content in [*zip(names, contents, strict=True), ("empty", b"")]:
                example = {"image/encoded": feature(content), "name": feature(name.encode())}
                writer.write(tf.train.Example(features=tf.train.Features(feature=example)).SerializeToString())
        whole_file = (tmp_path / "a.tfrecord").read_bytes()
        (tmp_path / "b.tfrecord").write_bytes(whole_file[:200])  # cut off within the first record
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        images = [{"bytes": content, "path": None} for content in [*contents, None]]
        pq.write_table(pa.table({"image": images, "name": [*names, "empty"]}), tmp_path / "a.parquet")
        (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    out = str(tmp_path / "out")
    found = explain_dataset(saved, [f"{tmp_path}/*.{form}"], out, form=form, name_field="name", keep_maps=True)
    assert (found.images, found.unreadable, found.shards) == (9, 2, 2)
    check_rows(table(out), {name: whole[name] for name in names})
    reasons = {name: row["error"] for name, row in table(out, "unreadable").items()}
    assert reasons["empty"] == "There is no image in " + ("'image/encoded'" if form == "tfrecord" else "'image'")
    assert reasons[f"b.{form}:0"].startswith("The file cannot be read from here on")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "nowhere"], 1, "--model must be the folder of a SavedModel. Received: 'nowhere'"),
        (["--name-field", "name"], 2, "only allowed with --format tfrecord or parquet"),
        (["--runner", "FlinkRunner", "--workers", "2"], 2, "only allowed with --runner DirectRunner"),
        (["--thresholds", "2"], 2, "must be probabilities in [0, 1]"),
        (["--thresholds", "0.5"], 1, "others have none. Received: several_labels=False"),
        (["--inputs", "nothing/*.png"], 1, "Patterns must fit files. Received: inputs=['nothing/*.png']"),
    ],
)
def test_wrong_arguments_are_one_line_and_leave_nothing(arguments, code, message, saved, tmp_path, capsys):
    line = ["explain-dataset", "--model", saved, "--inputs", "*.none", "--out", str(tmp_path / "out"), *arguments]
    assert main(line) == code
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_network_without_image_files_is_refused(saved, tmp_path, monkeypatch):
    real = dataset.read_signatures(saved)
    monkeypatch.setattr(dataset, "read_signatures", lambda _: {n: s for n, s in real.items() if "bytes" not in n})
    with pytest.raises(ValueError, match="must have the signature contributions_bytes, which takes image files"):
        explain_dataset(saved, ["*.png"], str(tmp_path / "out"))


def test_inputs_are_recorded_before_work_begins(explained):
    out = Path(explained[0])
    shards = [json.loads(path.read_text()) for path in sorted((out / "inputs").iterdir())]
    assert [len(files) for files in shards] == [25, 25, 25, 25, 23]
    assert json.loads((out / "dataset.json").read_text())["shards"] == 5

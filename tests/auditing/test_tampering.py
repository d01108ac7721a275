import random
import shutil

import numpy as np
import pytest

from keras_coda.auditing import make_rows, verify_audit
from keras_coda.auditing.verifying import differences
from keras_coda.auditing.writing import ARGUMENTS, MANIFEST, Manifest, read_rows
from tests.helpers.audits import change, rows_of, tampered


@pytest.fixture
def copies(audited, photos, tmp_path):
    """Copies of the audit and of its images."""
    shutil.copytree(audited[0], tmp_path / "audit")
    shutil.copytree(photos, tmp_path / "photos")
    return tmp_path / "audit", tmp_path / "photos"


@pytest.mark.parametrize(("hashes", "manifest"), [(False, False), (True, False), (True, True)])
def test_each_of_100_changed_rows_is_found(hashes, manifest, copies, model):
    out, photos = copies
    names = [row["image"] for row in rows_of(out)]
    chosen = dict(zip(random.Random(0).sample(names, 100), range(100), strict=True))
    columns = {}

    def edit(number, rows):
        for row in rows:
            if row["image"] in chosen:
                row, columns[row["image"]] = tampered(row, chosen[row["image"]])
            yield row

    change(out, edit, hashes=hashes, manifest=manifest)
    findings = verify_audit(out, model, photos, verbose=False)
    found = {each.image: each.what for each in findings if each.image}
    assert found.keys() == chosen.keys()
    assert all(column in found[image] or "row_hash" in found[image] for image, column in columns.items())
    assert len(set(columns.values())) >= 15
    assert len([each for each in findings if each.image is None]) == (0 if manifest else 5)


def test_removed_added_and_doubled_rows_are_found(copies, model):
    out, photos = copies

    def edit(number, rows):
        if number == 0:  # one removed, one added, one doubled
            return [*rows[1:], {**rows[2], "image": "bright/new.png"}, rows[3]]
        return rows

    first = rows_of(out)
    change(out, edit, hashes=True, manifest=True)
    found = {(each.image, each.what) for each in verify_audit(out, model, photos, verbose=False)}
    assert found == {
        (first[0]["image"], "there is no row for this image"),
        ("bright/new.png", "there is no such image"),
        (first[3]["image"], "there is another row for this image"),
    }


def test_removed_added_and_damaged_files_are_found(copies, model):
    out, photos = copies
    paths = sorted(out.glob("rows/*.parquet"))
    names = [row["image"] for row in read_rows(paths[0])]
    shutil.copy(paths[1], out / "rows" / "part-9.parquet")
    paths[0].unlink()
    paths[2].write_bytes(b"PAR1")
    findings = verify_audit(out, model, photos, verbose=False)
    by_file = {each.file: each.what for each in findings if each.image is None}
    assert by_file[paths[0].name] == "the file with 25 rows is missing"
    assert by_file["part-9.parquet"] == "the file is not in the manifest"
    assert "cannot be read" in by_file[paths[2].name]
    assert set(names) <= {each.image for each in findings}


def test_changed_and_removed_images_are_found(copies, model):
    out, photos = copies
    (photos / "bright" / "000.png").write_bytes((photos / "bright" / "002.png").read_bytes())
    (photos / "bright" / "004.png").unlink()
    found = {each.image: each.what for each in verify_audit(out, model, photos, verbose=False)}
    assert found.keys() == {"bright/000.png", "bright/004.png"}
    assert "image_hash" in found["bright/000.png"]


def test_an_edited_manifest_is_found(copies, model):
    out, photos = copies
    text = (out / MANIFEST).read_text()
    shards = Manifest.from_json(out / MANIFEST).shards
    (out / MANIFEST).write_text(text.replace(shards[0]["rows_hash"], shards[1]["rows_hash"]))
    (finding,) = verify_audit(out, model, photos, verbose=False)
    assert "the manifest was changed" in finding.what
    assert (out / ARGUMENTS).exists()


def test_only_boxes_that_hold_as_much_as_they_say_are_no_change():
    """In an image of one color many boxes hold equally much, and rounding decides."""

    def row_of(one_map):
        options = {"logits": [[1.0]], "model_hash": "m", "image_hashes": ["h"]}
        return {**make_rows(["a"], contributions=one_map[None], **options)[0], "exact_map": one_map}

    even, peak = row_of(np.ones((8, 8))), row_of(np.eye(64)[9].reshape(8, 8))
    moved = [[8 - x - 2, y, 2, 2] for x, y, *_ in even["boxes"]]
    assert differences({**even, "boxes": moved}, even, 1e-5, False) == []
    assert differences({**even, "boxes": moved[:2]}, even, 1e-5, False) == ["boxes"]
    assert differences({**even, "boxes": [[7, 7, 2, 2], *moved[1:]]}, even, 1e-5, False) == ["boxes"]
    assert differences({**peak, "boxes": [[5, 5, 2, 2]]}, peak, 1e-5, False) == ["boxes"]
    assert differences({**peak, "boxes": [[1, 1, 2, 2]]}, peak, 1e-5, False) == []
    smooth = row_of(np.add.outer(np.arange(32.0), np.arange(32) / 20))
    x, y, *size = smooth["boxes"][0]
    beside = [[x - 1, y, *size], *smooth["boxes"][1:]]  # holds nearly as much
    assert differences({**smooth, "boxes": beside}, smooth, 1e-5, False) == ["boxes"]

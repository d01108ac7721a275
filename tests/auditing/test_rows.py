import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from keras_coda.auditing import COLUMNS, make_rows, row_hash, schema, unreadable_row

BATCH, CLASSES = 5, 4


@pytest.fixture
def batch():
    draw = np.random.default_rng(0)
    maps = draw.normal(size=(BATCH, 8, 6)).astype("float32")
    logits = draw.normal(size=(BATCH, CLASSES)).astype("float32") - 9
    logits[np.arange(BATCH), np.arange(BATCH) % CLASSES] = maps.sum(axis=(1, 2)) + 0.5
    return {"logits": logits, "contributions": maps, "bias": 0.5, "predicted": np.arange(BATCH) % CLASSES}


def rows_of(batch, **options):
    options = {"model_hash": "m", "image_hashes": [f"h{i}" for i in range(BATCH)], **options}
    return make_rows([f"{i}.png" for i in range(BATCH)], **batch, **options)


def test_statistics_are_those_of_slow_loops(batch):
    for row, one_map in zip(rows_of(batch), batch["contributions"].astype("float64"), strict=True):
        positive = [value for value in one_map.ravel() if value > 0]
        evidence = sum(map(abs, one_map.ravel()))
        assert row["evidence"] == pytest.approx(evidence, rel=1e-6)
        assert row["positive_share"] == pytest.approx(sum(positive) / evidence, rel=1e-6)
        spread = sum(positive) ** 2 / (48 * sum(value**2 for value in positive))
        assert row["positive_area"] == pytest.approx(spread, rel=1e-6)
        assert 0 <= row["residual"] < 1e-6
        inside = {}
        for top in range(8 - 2 + 1):  # a quarter of 8 and of 6, rounded
            for left in range(6 - 2 + 1):
                inside[left, top] = np.maximum(one_map[top : top + 2, left : left + 2], 0).sum()
        x, y, width, height = row["boxes"][0]
        assert (width, height) == (2, 2)
        assert inside[x, y] == pytest.approx(max(inside.values()))
        assert row["box_shares"][0] == pytest.approx(inside[x, y] / sum(positive), rel=1e-6)
        covered = [(x + i, y + j) for x, y, w, h in row["boxes"] for i in range(w) for j in range(h)]
        assert len(covered) == len(set(covered)) == 3 * 4


def test_known_extremes():
    options = {"model_hash": "m", "image_hashes": ["h"], "logits": [[3.0, 1.0]]}
    (even,) = make_rows(["a"], contributions=np.full((1, 4, 4), 3 / 16), **options)
    assert (even["positive_share"], even["positive_area"]) == (1, 1)
    (point,) = make_rows(["a"], contributions=np.eye(16)[:1].reshape(1, 4, 4) * 3, **options)
    assert (point["positive_area"], point["boxes"], point["box_shares"]) == (1 / 16, [[0, 0, 1, 1]], [1])
    (against,) = make_rows(["a"], contributions=-np.ones((1, 4, 4)), **options)
    assert (against["positive_share"], against["positive_area"], against["boxes"]) == (0, 0, [])
    assert against["residual"] == pytest.approx(19 / 16)


def test_rows_are_the_same_after_they_were_written(batch, tmp_path):
    options = {"calibrated": np.full((BATCH, CLASSES), 0.1), "labels": [[1], None, [], [0, 2], [3]]}
    options |= {"preparation": {"size": [8, 6]}, "keep_maps": True, "thresholds": [0.5, 0.1, 0.5, 0.9]}
    rows = [*rows_of(batch, **options), unreadable_row("ä\udcff.png", "cut\noff", model_hash="m", image_hash="h")]
    assert [*rows[0]] == [*COLUMNS]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema()), tmp_path / "rows.parquet")
    read = pq.read_table(tmp_path / "rows.parquet", schema=schema()).to_pylist()
    assert read == rows
    assert [row_hash(row) for row in read] == [row["row_hash"] for row in rows]
    maps = [np.reshape(row["map"], row["map_size"]) * row["map_scale"] for row in read[:-1]]
    assert np.allclose(maps, batch["contributions"], rtol=1e-3, atol=1e-6)
    assert json.loads(read[0]["versions"])["numpy"] == np.__version__
    bad = read[-1]  # its name is no text: no UTF-8
    assert (bad["image"], bad["error"], bad["logits"], bad["decision"]) == ("ä\\xff.png", "cut off", None, None)


def test_the_hash_of_a_row_depends_on_every_column(batch):
    options = {"calibrated": np.full((BATCH, CLASSES), 0.1), "labels": [[1]] * BATCH, "keep_maps": True}
    row = rows_of(batch, **options, thresholds=[0.5] * CLASSES, preparation={})[0]
    changed = {"image": "b", "error": "none", "labels": [2], "map": [0.0], "boxes": [[0, 0, 1, 1]]}
    for name in set(COLUMNS) - {"row_hash"}:
        assert row_hash({**row, name: changed.get(name)}) != row["row_hash"], name


def test_decisions_follow_thresholds_where_there_are_any(batch):
    assert [row["decision"] for row in rows_of(batch)] == [[0], [1], [2], [3], [0]]
    several = rows_of(batch, thresholds=[0.0, 0.0, 0.9, 1.0])
    assert all(row["decision"][:2] == [0, 1] for row in several)


def test_without_hashes_pixels_are_hashed(batch):
    pixels = np.zeros((BATCH, 8, 6, 3), "uint8")
    pixels[1] = 1
    hashes = [row["image_hash"] for row in rows_of(batch, image_hashes=None, pixels=pixels)]
    assert hashes[0] == hashes[2] != hashes[1]


def test_wrong_arrays_are_refused(batch):
    with pytest.raises(ValueError, match=r"logits \(B, C\) and a map.*images=5, logits=\(4, 4\)"):
        rows_of({**batch, "logits": batch["logits"][:4]})
    with pytest.raises(ValueError, match="must be finite.*0.png"):
        rows_of({**batch, "contributions": batch["contributions"] * np.nan})
    with pytest.raises(ValueError, match="hashes or pixels"):
        rows_of(batch, image_hashes=None)

"""An export that is killed leaves nothing that a model server would take for a version."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_coda.exporters import lint_saved_model, require_servable
from tests.helpers.networks import small

pytestmark = pytest.mark.slow

# Exports version after version until it is killed, and says how long the first one took.
EXPORT = """
import itertools, sys, time
from tests.helpers.networks import small

model = small(filters=(2, 3), strides=1)
for version in itertools.islice(itertools.count(1), 20):
    start = time.monotonic()
    model.export(f"{sys.argv[1]}/{version}")
    if version == 1:
        print(time.monotonic() - start, flush=True)
"""
LONGEST = 120.0  # seconds; a bound for a machine that does nothing else but swap


def versions(base: Path) -> set[Path]:
    return {path for path in base.glob("*") if path.name.isdigit()}


def at_random(seed):
    def is_due(base, elapsed, duration):
        return elapsed > np.random.default_rng(seed).uniform(0, 1.5) * duration

    return is_due


def when_written(pattern):
    def is_due(base, elapsed, duration):
        return any(base.glob(f".tmp-[2-9]-*/{pattern}"))

    return is_due


@pytest.mark.parametrize(
    "is_due",
    [at_random(0), at_random(1), when_written("variables"), when_written("saved_model.pb")],
    ids=["random-0", "random-1", "variables", "graph"],
)
def test_a_killed_export_is_never_taken_for_a_version(tmp_path, is_due):
    base = tmp_path / "coda"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", EXPORT, str(base)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    try:
        duration = float(process.stdout.readline())
        seen, start = set(), time.monotonic()
        while not is_due(base, time.monotonic() - start, duration):
            assert process.poll() is None
            assert time.monotonic() - start < LONGEST
            time.sleep(0.002)  # the export needs the processor, too
            for folder in versions(base) - seen:  # looked at the moment it appears, as a server would
                assert not [finding for finding in lint_saved_model(folder) if finding.is_error]
                seen.add(folder)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    complete = versions(base)
    assert complete
    for folder in complete:
        assert "contributions" in tf.saved_model.load(str(folder)).signatures
    leftovers = set(base.iterdir()) - complete
    assert all(path.name.startswith(".tmp-") for path in leftovers)

    # Whatever is left, the version that was under way can be exported again, and is all that comes.
    following = base / str(max(int(path.name) for path in complete) + 1)
    small(filters=(2, 3), strides=1).export(following)
    require_servable(following)
    assert set(base.iterdir()) == {*complete, following}  # what was left is deleted


def test_half_an_export_would_be_noticed(tmp_path):
    # What a writer without a temporary folder leaves: otherwise the tests above would prove nothing.
    small(filters=(2, 3), strides=1).export(tmp_path / "1")
    for name in ("saved_model.pb", "variables/variables.index"):
        (tmp_path / "1" / name).rename(tmp_path / "kept")
        with pytest.raises(ValueError, match="must be one that TF Serving loads"):
            require_servable(tmp_path / "1")
        (tmp_path / "kept").rename(tmp_path / "1" / name)
    require_servable(tmp_path / "1")

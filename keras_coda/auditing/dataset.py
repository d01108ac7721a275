"""Audits of more images than one machine takes: Apache Beam runs an exported network over shards of a data set."""

import contextlib
import dataclasses
import json
import re
import signal
import tempfile
import threading
import uuid
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_coda.auditing.exported import SIGNATURE
from keras_coda.auditing.reading import FORMATS, IMAGE_FIELDS, name_in
from keras_coda.auditing.rows import versions
from keras_coda.exporters.protos import read_signatures
from keras_coda.exporters.schema import PREDICT
from keras_coda.utils.checks import check_int, require
from keras_coda.utils.hashing import digest
from keras_coda.utils.optional import require_installed

DIRECT = "DirectRunner"  # the runner of Beam for one machine
ARGUMENTS = "dataset.json"
ATTEMPTS = 5  # of one call, when workers of this machine end


@dataclasses.dataclass(frozen=True)
class Explained:
    """What :func:`explain_dataset` has written.

    Attributes:
        images: number of rows.
        unreadable: number of images in the dead-letter files.
        shards: number of files of rows.
        began_with: number of those that an earlier call had finished.
    """

    images: int
    unreadable: int
    shards: int
    began_with: int


class WorkerEndedError(RuntimeError):
    """A worker process of this machine ended before its work, for instance because it was killed."""


def explain_dataset(
    model: str,
    inputs: Sequence[str],
    out: str,
    *,
    form: str = "images",
    image_field: str | None = None,
    name_field: str | None = None,
    keep_maps: bool = False,
    thresholds: Sequence[float] | None = None,
    shard_size: int = 1000,
    batch_size: int = 32,
    runner: str = DIRECT,
    workers: int = 1,
    beam_options: Sequence[str] = (),
) -> Explained:
    """Write a row for each image of a data set with Apache Beam; see :data:`COLUMNS`.

    The result is in Parquet files ``out/rows/rows-000000-of-000012.parquet`` and so on; images that cannot be read are
    rows with the reason in ``out/unreadable``. Each file appears whole. Called again with the same arguments, also
    after a kill, it writes the files that are missing, of the same images: which shard an image belongs to is recorded
    in ``out/inputs`` at the beginning. Only one call at a time may write to ``out``. Memory does not grow with the
    number of images of a shard, nor with that of shards.

    All paths may be on a file system that Beam knows, such as ``gs://``.

    Args:
        model: folder of a SavedModel that ``model.export`` wrote for images of one size and one or three channels.
        inputs: patterns of files. ``*`` stands for any characters but ``/``, ``**`` for any.
        out: folder of the results.
        form: what the files are: ``"images"``, or ``"tfrecord"`` or ``"parquet"`` with many images in each. Each such
            file is a shard.
        image_field: feature or column with the image file; None: ``"image/encoded"`` of TFRecord, ``"image"`` of
            Parquet.
        name_field: that with the name of the image; None: the file and the number of the record, from 0.
        keep_maps: whether rows hold the contribution maps, as float16.
        thresholds: for a network with several labels: the probability of each class from which on an image has it, or
            one for all classes.
        shard_size: image files in a shard.
        batch_size: images explained at a time.
        runner: runner of Beam.
        workers: processes of ``DirectRunner``.
        beam_options: further options of Beam, such as ``"--region=europe-west1"``.

    Returns:
        :class:`Explained`.

    Raises:
        ValueError: if an argument is wrong, no file fits, or ``out`` was begun with other arguments.
        WorkerEndedError: a ``RuntimeError``, if workers of this machine end again and again.
        ImportError: if Beam or pyarrow is not installed.
    """
    for module in ("apache_beam", "pyarrow"):
        require_installed(module, extra="beam", purpose="A pipeline over a data set")
    from apache_beam.io.filesystems import FileSystems

    from keras_coda.auditing import pipeline

    require(form in FORMATS, f"`form` must be one of {', '.join(FORMATS)}", form=form)
    rule = "Only the records of tfrecord and parquet files have fields"
    require(form != "images" or not (image_field or name_field), rule, image_field=image_field, name_field=name_field)
    network: dict[str, Any] = {"model_hash": _hash_of_saved_model(model), "keep_maps": bool(keep_maps)}
    network |= {"thresholds": _check_network(model, thresholds), "package_versions": versions()}
    source = {"form": form, "image_field": image_field or IMAGE_FIELDS[form], "name_field": name_field}
    facts = {"inputs": list(inputs), **source, **network, "shard_size": check_int("shard_size", shard_size)}
    batch_size, workers = check_int("batch_size", batch_size), check_int("workers", workers)
    begun = _begun(out, facts)
    shards = begun if begun is not None else _begin(out, facts, _listed(inputs, 1 if form != "images" else shard_size))
    job = pipeline.Job(model, out, shards, batch_size, source, network)

    def missing():
        found = FileSystems.match([pipeline.join(out, pipeline.ROWS, "*.parquet")])[0].metadata_list
        done = {metadata.path.rpartition("/")[2] for metadata in found}
        return [n for n in range(shards) if job.path(pipeline.ROWS, n).rpartition("/")[2] not in done]

    left = missing()
    began_with = shards - len(left)
    with contextlib.suppress(OSError):  # what a killed call has left
        FileSystems.delete([pipeline.join(out, pipeline.TEMPORARY)])
    for kind in (pipeline.ROWS, pipeline.UNREADABLE, pipeline.TEMPORARY):
        with contextlib.suppress(OSError):  # it exists
            FileSystems.mkdirs(pipeline.join(out, kind))
    for attempt in range(1, ATTEMPTS + 1):
        if not left:
            break
        try:
            _run(job, left, runner, min(workers, len(left)), beam_options)
        except WorkerEndedError:
            if missing():
                if attempt == ATTEMPTS:
                    raise
                warnings.warn("A worker has ended before its work; the rest is started again.", stacklevel=2)
        left = missing()
    require(not left, "The runner must write all shards", "Run the same again", missing=len(left), runner=runner)
    return _counted(job, began_with)


def _run(job, numbers, runner, workers, beam_options):
    from apache_beam.options.pipeline_options import PipelineOptions

    from keras_coda.auditing import pipeline

    if runner != DIRECT:
        pipeline.run(job, numbers, PipelineOptions([f"--runner={runner}", *beam_options]))
        return
    mode = "multi_processing" if workers > 1 else "in_memory"
    flags = [f"--direct_num_workers={workers}", f"--direct_running_mode={mode}"]
    flags += ["--default_sdk_harness_log_level=WARNING", *beam_options]
    with _ending_with_workers():
        pipeline.run(job, numbers, PipelineOptions(flags), _direct_runner(PipelineOptions(flags)))


def _direct_runner(options):
    """Return Beam's runner in Python. ``DirectRunner`` itself would first download another one, Prism."""
    from apache_beam.portability.api import beam_provision_api_pb2
    from apache_beam.runners.portability.fn_api_runner import fn_runner
    from apache_beam.runners.portability.portable_runner import JobServiceHandle

    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    info = beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
    return fn_runner.FnApiRunner(provision_info=fn_runner.ExtendedProvisionInfo(info))


@contextlib.contextmanager
def _ending_with_workers() -> Iterator[None]:
    """Interrupt the block when a worker process ends: Beam's runner would wait for its answer for ever.

    Raises:
        WorkerEndedError: then. Only the main thread can be interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended: list[BaseException | None] = []
    original, interrupted = threading.excepthook, signal.getsignal(signal.SIGINT)

    def hook(failure):
        if failure.thread is None or failure.thread.name != "run_worker":
            original(failure)
            return
        ended.append(failure.exc_value)
        if len(ended) == 1:
            # A real signal: `_thread.interrupt_main` does not wake a thread that waits for a lock.
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def handle(number, frame):  # programs in the background ignore interrupts, and would ignore this one
        if ended or interrupted is signal.SIG_DFL:
            raise KeyboardInterrupt
        if callable(interrupted):
            interrupted(number, frame)

    threading.excepthook = hook
    signal.signal(signal.SIGINT, handle)
    try:
        yield
    except BaseException as error:
        if not ended:
            raise
        raise WorkerEndedError(f"Worker processes must not end before their work. Received: {ended[0]}.") from error
    finally:
        threading.excepthook = original
        signal.signal(signal.SIGINT, interrupted)


# === Beginning ===


def _check_network(model, thresholds):
    from apache_beam.io.filesystems import FileSystems

    path = FileSystems.join(model, "saved_model.pb")
    require(FileSystems.exists(path), "`model` must be a SavedModel", "Write one with `keras-coda export`", model=model)
    with tempfile.TemporaryDirectory() as folder, FileSystems.open(path) as file:
        Path(folder, "saved_model.pb").write_bytes(file.read())
        found = read_signatures(folder)
    rule = f"The SavedModel must have the signature {SIGNATURE}, which takes image files"
    fix = "Export a network for images of one size, of one or three channels"
    require(SIGNATURE in found, rule, fix, signatures=sorted(found))
    has_several = "decisions" in found[PREDICT].outputs if PREDICT in found else False
    rule = "A network with several labels needs the thresholds of its classes, and others have none"
    require(has_several == bool(thresholds), rule, several_labels=has_several, thresholds=thresholds)
    if not thresholds:
        return None
    count = (found[SIGNATURE].outputs["logits"].shape or (None,))[-1] or len(thresholds)
    given = [float(value) for value in (thresholds if len(thresholds) > 1 else [*thresholds] * count)]
    are_shares = len(given) == count and all(0 <= value <= 1 for value in given)
    require(are_shares, "There must be one threshold in [0, 1] for each class", classes=count, thresholds=given)
    return given


def _hash_of_saved_model(model) -> str:
    """Return a content hash of graph and variables."""
    from apache_beam.io.filesystems import FileSystems

    patterns = [FileSystems.join(model, "saved_model.pb"), FileSystems.join(model, "variables", "*")]
    found = [metadata.path for each in FileSystems.match(patterns) for metadata in each.metadata_list]
    parts = []
    for path in sorted(found):
        with FileSystems.open(path) as file:
            parts += [path.rpartition("/")[2], file.read().hex()]
    return digest(*parts)


def _listed(patterns, size) -> list[list[list[str]]]:
    """Return ``[name, path]`` of the files of each shard, in the order of their names."""
    from apache_beam.io.filesystems import FileSystems

    found = [metadata.path for each in FileSystems.match(list(patterns)) for metadata in each.metadata_list]
    paths = sorted(set(found))
    require(paths, "Patterns must fit files", "`**` stands for any characters, `*` for any but `/`", inputs=patterns)
    root = re.split(r"[*?\[]", patterns[0])[0].rpartition("/")[0] if len(patterns) == 1 else ""
    files = [[name_in(path, root) if root else path, path] for path in paths]
    return [files[start : start + size] for start in range(0, len(files), size)]


def _begun(out, facts) -> int | None:
    """Return the number of shards of what was begun in a folder, None for a new one; check its arguments."""
    from apache_beam.io.filesystems import FileSystems

    path = FileSystems.join(out, ARGUMENTS)
    if not FileSystems.exists(path):
        return None
    with FileSystems.open(path) as file:
        recorded = json.loads(file.read())
    shards, now = recorded.pop("shards"), json.loads(json.dumps(facts))
    changed = {name: now.get(name) for name in recorded.keys() | now.keys() if recorded.get(name) != now.get(name)}
    rule = "A data set can be explained further only with the arguments and versions that it began with"
    require(not changed, rule, "Repeat them as they were or choose another folder", out=out, **changed)
    return shards


def _begin(out, facts, shards) -> int:
    """Record which images belong to which shard, and last the arguments; return the number of shards."""
    from apache_beam.io.filesystems import FileSystems

    from keras_coda.auditing import pipeline

    for kind in (pipeline.INPUTS, pipeline.TEMPORARY):
        with contextlib.suppress(OSError):  # it exists
            FileSystems.mkdirs(pipeline.join(out, kind))
    for number, files in enumerate(shards):
        name = pipeline.shard_name(pipeline.INPUTS, number, len(shards))
        _write(out, pipeline.join(out, pipeline.INPUTS, f"{name}.json"), files)
    _write(out, pipeline.join(out, ARGUMENTS), {**facts, "shards": len(shards)})
    return len(shards)


def _write(out, path, content):
    from apache_beam.io.filesystems import FileSystems

    from keras_coda.auditing import pipeline

    temporary = pipeline.join(out, pipeline.TEMPORARY, uuid.uuid4().hex)
    with FileSystems.create(temporary) as file:
        file.write(json.dumps(content, indent=1).encode())
    FileSystems.rename([temporary], [path])


def _counted(job, began_with) -> Explained:
    import pyarrow.parquet as pq
    from apache_beam.io.filesystems import FileSystems

    from keras_coda.auditing import pipeline

    counts = {pipeline.ROWS: 0, pipeline.UNREADABLE: 0}
    for kind in counts:
        for number in range(job.count):
            with FileSystems.open(job.path(kind, number)) as file:
                counts[kind] += pq.read_metadata(file).num_rows
    return Explained(counts[pipeline.ROWS], counts[pipeline.UNREADABLE], job.count, began_with)

"""The Apache Beam pipeline of :func:`~keras_coda.auditing.explain_dataset`: each element is a shard, written whole."""

import dataclasses
import datetime
import itertools
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import ModelHandler, RunInference

from keras_coda.auditing.exported import ExportedNetwork
from keras_coda.auditing.reading import read_items
from keras_coda.auditing.rows import schema
from keras_coda.auditing.writing import WRITTEN

ROWS, UNREADABLE, INPUTS, TEMPORARY = "rows", "unreadable", "inputs", "temporary"
_GROUP = 32 * 2**20  # bytes: rows are written when they take so much memory


@dataclasses.dataclass(frozen=True)
class Job:
    """What all workers know.

    Attributes:
        model: folder of the SavedModel.
        out: the folder of the results.
        count: the number of shards.
        batch_size: images explained at a time.
        input: ``form``, ``image_field`` and ``name_field``, see :func:`~keras_coda.auditing.reading.read_items`.
        network: the arguments of :class:`~keras_coda.auditing.exported.ExportedNetwork`.
    """

    model: str
    out: str
    count: int
    batch_size: int
    input: dict[str, Any]
    network: dict[str, Any]

    def path(self, kind: str, number: int, ending: str = ".parquet") -> str:
        """Return the path of the rows, the unreadable images or the inputs of a shard."""
        return join(self.out, kind, shard_name(kind, number, self.count) + ending)


class ShardHandler(ModelHandler[int, tuple[int, int, int], ExportedNetwork]):
    """Explains shards of images with an exported network; Beam keeps one for all threads of a process.

    An example is the number of a shard, and a prediction its number with the rows of images and of unreadable ones:
    images would have to travel between workers, and be sorted into shards again.
    """

    def __init__(self, job: Job):
        super().__init__(min_batch_size=1, max_batch_size=1)
        self._job = job

    def load_model(self) -> ExportedNetwork:
        """Load the SavedModel."""
        return ExportedNetwork(self._job.model, **self._job.network)

    def run_inference(self, batch: Sequence[int], model: ExportedNetwork, inference_args=None) -> Iterable[tuple]:
        """Write shards."""
        return [(number, *write_shard(self._job, number, model)) for number in batch]

    def get_num_bytes(self, batch: Sequence[int]) -> int:
        """Return the size of the numbers."""
        return 8 * len(batch)


def run(job: Job, numbers: Sequence[int], options, runner=None) -> None:
    """Write shards on the workers of a runner, and wait for the end.

    Args:
        job: see :class:`Job`.
        numbers: of the shards.
        options: ``PipelineOptions``.
        runner: a ``PipelineRunner``, or None for that of the options.
    """
    with beam.Pipeline(runner=runner, options=options) as pipeline:
        shards = pipeline | "Shards" >> beam.Create(list(numbers)) | "Workers" >> beam.Reshuffle()
        shards | "Explain" >> RunInference(ShardHandler(job))


def write_shard(job: Job, number: int, network: ExportedNetwork) -> tuple[int, int]:
    """Write the rows of a shard, and its unreadable images; each file appears whole, and that of rows last.

    Returns:
        How many rows there are, and how many unreadable images.
    """
    with FileSystems.open(job.path(INPUTS, number, ".json")) as file:
        files = json.loads(file.read())
    good, bad = (_Table(job, kind, number) for kind in (ROWS, UNREADABLE))
    for items in _batched(read_items(files, batch_size=job.batch_size, **job.input), job.batch_size):
        for table, rows in zip((good, bad), network.rows(items), strict=True):
            table.add(rows)
    bad.finish()
    good.finish()  # a shard with this file is finished
    return good.rows, bad.rows


class _Table:
    """A Parquet file that is written in groups of rows, and renamed at the end."""

    def __init__(self, job, kind, number):
        self._path = job.path(kind, number)
        name = f"{shard_name(kind, number, job.count)}-{uuid.uuid4().hex}"
        self._temporary = join(job.out, TEMPORARY, name)
        self._file = FileSystems.create(self._temporary, compression_type=CompressionTypes.UNCOMPRESSED)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._schema = schema()
        self._writer = pq.ParquetWriter(self._file, self._schema.with_metadata({WRITTEN: now}), compression="zstd")
        self._batches: list[pa.RecordBatch] = []
        self.rows = 0

    def add(self, rows):
        if rows:
            self._batches.append(pa.RecordBatch.from_pylist(rows, schema=self._schema))
            self.rows += len(rows)
        if sum(batch.nbytes for batch in self._batches) >= _GROUP:
            self._write()

    def finish(self):
        if self._batches:
            self._write()
        self._writer.close()
        self._file.close()
        FileSystems.rename([self._temporary], [self._path])

    def _write(self):
        self._writer.write_table(pa.Table.from_batches(self._batches, schema=self._schema))
        self._batches = []


def _batched(items, size) -> Iterator[list]:
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch


def shard_name(kind: str, number: int, count: int) -> str:
    """Return the name of a file of a shard without its ending."""
    return f"{kind}-{number:06}-of-{count:06}"


def join(folder: str, *parts: str) -> str:
    """Return a path on the file system of a folder."""
    return FileSystems.join(folder, *parts)

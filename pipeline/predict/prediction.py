"""The stream from images to predictions: Ray Data decodes on all cores and classifies on actors that hold the model."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext

from pipeline.predict.classifier import Classifier, ServedProgram, predictions_schema
from pipeline.predict.decoding import decode_sources, to_table
from pipeline.predict.inputs import ImageSource
from pipeline.predict.output import written_whole
from pipeline.predict.progress import PredictionProgress

_IMAGES_PER_TASK = 128
"""How many images one task decodes; a row group of a Parquet file is never split, however many it holds."""
_BATCH = 256
"""How many images the model classifies in one call."""
_IMAGES_PER_BLOCK, _BLOCK_BYTES = 1024, 128 * 2**20
"""The largest block that one worker passes to another: this many images, or fewer if they are large."""
_DECODER_CPUS, _CLASSIFIER_CPUS = 0.25, 0.75
"""The cores of a decoder and a classifier: one together, so that both fit on the smallest machine."""
_REASONS = 3
"""How many of the images that could not be read are named on the terminal."""


@dataclass
class Tally:
    """Counts the images that have been processed."""

    images: int = 0
    broken: int = 0
    reasons: list[str] = field(default_factory=list)
    """Why the first images that could not be read failed."""

    def add(self, table: pa.Table) -> None:
        self.images += len(table)
        unread = table.filter(table["error"].is_valid())
        self.broken += len(unread)
        for row in unread.slice(0, _REASONS - len(self.reasons)).to_pylist():
            where = row["path"] if row["row"] is None else f"{row['path']} row {row['row']}"
            self.reasons.append(f"{where} {row['error']}")


def classify(
    sources: list[ImageSource], served: ServedProgram, top: int, out: Path, progress: PredictionProgress
) -> Tally:
    """Classifies all images in their order, on the connected Ray cluster, and writes the predictions to `out`."""
    tally = Tally()
    with written_whole(out, predictions_schema(top > 0)) as append, progress:
        for table in _stream(sources, served, top):
            append(table)
            tally.add(table)
            progress.show(tally.images, tally.broken)
    return tally


def _stream(sources: list[ImageSource], served: ServedProgram, top: int) -> Iterator[pa.Table]:
    """Yields predictions in the order of the sources; Ray works on no more images at a time than it has room for."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = min(_BLOCK_BYTES, _IMAGES_PER_BLOCK * math.prod(served.image_shape))
    cores, gpus = (int(ray.cluster_resources().get(kind, 0)) for kind in ("CPU", "GPU"))
    decoded = ray.data.from_arrow([to_table(part) for part in _parts(sources)]).map_batches(
        partial(decode_sources, image_shape=served.image_shape),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=_DECODER_CPUS,
    )
    classified = decoded.map_batches(
        Classifier,
        batch_size=_BATCH,
        batch_format="numpy",
        fn_constructor_args=(ray.put(served), top, gpus > 0),
        num_cpus=_CLASSIFIER_CPUS,
        num_gpus=1 if gpus else None,
        compute=ActorPoolStrategy(min_size=1, max_size=max(gpus or cores, 1)),
    )
    yield from classified.iter_batches(batch_size=None, batch_format="pyarrow")


def _parts(sources: list[ImageSource]) -> Iterator[list[ImageSource]]:
    """Yields the sources that each task decodes."""
    part: list[ImageSource] = []
    images = 0
    for source in sources:
        part.append(source)
        images += source.images
        if images >= _IMAGES_PER_TASK:
            yield part
            part, images = [], 0
    if part:
        yield part

"""Turns pixels into classes, on Ray actors that hold the model."""

import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import ray
import torch
from torch.export.passes import move_to_device_pass

from pipeline.predict.decoding import Batch
from vit.files.serving import Predictor


@dataclass(frozen=True)
class ServedProgram:
    """The content of a registered model, since workers on other nodes can reach neither its files nor MLflow."""

    program: bytes
    """The pt2 file. Loading it may run code, so it must have been checked (`pipeline.predict.fetching`)."""
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    """Height, width, channels."""


def predictions_schema(with_top: bool) -> pa.Schema:
    """The schema of the command's result, a row per image; with or without columns for the most probable classes."""
    top = {"top_classes": pa.list_(pa.string()), "top_probabilities": pa.list_(pa.float32())} if with_top else {}
    return pa.schema(
        {
            "path": pa.string(), "row": pa.int64(), "class": pa.string(), "probability": pa.float32(), **top,
            "error": pa.string(),
        }
    )  # fmt: skip


class Classifier:
    """Holds the model, and classifies the batches of images that it is called with.

    Args:
        served_reference: a reference to the model, so that each node holds it only once.
        top: how many of the most probable classes to list; 0 for no list.
        on_gpu: whether the model runs on a GPU; otherwise it runs on the CPU.
    """

    def __init__(self, served_reference: "ray.ObjectRef[ServedProgram]", top: int, on_gpu: bool) -> None:
        served = ray.get(served_reference)
        self._top, self._names = top, np.array(served.class_names)
        self._schema = predictions_schema(top > 0)
        program, device = torch.export.load(io.BytesIO(served.program)), "cuda" if on_gpu else "cpu"
        if on_gpu:
            torch.backends.cudnn.allow_tf32 = False  # full fp32, as when the model was evaluated
            program = move_to_device_pass(program, device)
        self._predictor = Predictor(program.module(), served.class_names, served.image_shape, device)

    def __call__(self, batch: Batch) -> pa.Table:
        """Returns a table of `predictions_schema`. For an image with an error, classes and probabilities are null."""
        unreadable = batch["error"] != ""
        probabilities = self._predictor.probabilities(batch["pixels"])
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, : max(self._top, 1)]
        chances = np.take_along_axis(probabilities, order, axis=1)
        columns = {
            "path": pa.array(batch["path"]),
            "row": pa.array(batch["row"], mask=batch["row"] < 0),
            "class": pa.array(self._names[order[:, 0]], mask=unreadable),
            "probability": pa.array(chances[:, 0], mask=unreadable),
            "error": pa.array(batch["error"], mask=~unreadable),
        }
        if self._top:
            columns["top_classes"] = _lists(self._names[order], unreadable)
            columns["top_probabilities"] = _lists(chances, unreadable)
        return pa.table([columns[name] for name in self._schema.names], self._schema)


def _lists(values: np.ndarray, absent: np.ndarray) -> pa.Array:
    """Converts each row of the values (N, K) to a list, which is null where `absent` (N,) is true."""
    return pa.array([None if gone else row for row, gone in zip(values.tolist(), absent.tolist(), strict=True)])

"""Exports a registered model as ONNX, beside its pt2: it maps the same images to probabilities where torch is missing.

This needs the packages of the extra `onnx`; `pipeline.config` checks for them before anything is trained.
"""

import warnings
from pathlib import Path

import numpy as np
import torch

from pipeline.errors import PipelineError
from vit.files.serving import Classifier

ONNX_FILE = "model.onnx"
TOLERANCE = 1e-4
"""How far a probability may be from the model's own; 32-bit rounding alone causes less than 1e-6."""
_BATCHES = (1, 2, 7)
"""The numbers of images with which the ONNX file is checked."""


def export_onnx(path: Path, classifier: Classifier, image_shape: tuple[int, int, int]) -> None:
    """Writes and checks `path`, a single file that holds the whole model.

    It maps `images`, uint8 (N, H, W, C) with any N, to `probabilities`, float32 (N, num_classes).

    Raises:
        PipelineError: the probabilities of onnxruntime differ from those of the classifier.
    """
    example = torch.zeros((2, *image_shape), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.export's own deprecation warnings
        torch.onnx.export(
            classifier,
            (example,),
            path,
            dynamo=True,
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_shapes=({0: torch.export.Dim("images")},),
            external_data=False,
            verbose=False,
        )
    check_onnx(path, classifier, image_shape)


def check_onnx(path: Path, classifier: Classifier, image_shape: tuple[int, int, int]) -> None:
    """Compares onnxruntime with the classifier on random images. Raises PipelineError like `export_onnx`."""
    import onnxruntime  # of the extra `onnx`

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in _BATCHES:
        images = np.random.default_rng(count).integers(0, 256, (count, *image_shape), dtype=np.uint8)
        with torch.inference_mode():
            expected = classifier(torch.from_numpy(images)).numpy()
        (found,) = session.run(None, {"images": images})
        difference = float(np.abs(found - expected).max())
        if not difference <= TOLERANCE:  # also true where the difference is NaN
            raise PipelineError(
                f"--export onnx: given {count} images, the ONNX file is off by {difference:.2g} in a probability, but"
                f" must be within {TOLERANCE:g} of the model: nothing is registered; without --export the model can be"
            )

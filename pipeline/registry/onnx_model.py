"""An ONNX file beside a registered model's pt2: the same images in and probabilities out, where there is no torch.

It needs the packages of the extra `onnx`, which `pipeline.config` looks for before anything is trained.
"""

import warnings
from pathlib import Path

import numpy as np
import torch

from pipeline.errors import PipelineError
from vit.files.serving import Classifier

ONNX_FILE = "model.onnx"
TOLERANCE = 1e-4
"""How far a probability may be from the model's own; 32-bit rounding alone comes to less than 1e-6."""
_BATCHES = (1, 2, 7)
"""Numbers of images that it is checked with."""


def export_onnx(path: Path, classifier: Classifier, image_shape: tuple[int, int, int]) -> None:
    """Writes `path`, one file: `images` uint8 (N, H, W, C) to `probabilities` float32 (N, num_classes), any N.

    Raises:
        PipelineError: onnxruntime does not answer as the classifier does.
    """
    example = torch.zeros((2, *image_shape), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.export's own deprecations
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
    """Asks onnxruntime about random images. Raises PipelineError like `export_onnx`."""
    import onnxruntime  # of the extra `onnx`

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in _BATCHES:
        images = np.random.default_rng(count).integers(0, 256, (count, *image_shape), dtype=np.uint8)
        with torch.inference_mode():
            expected = classifier(torch.from_numpy(images)).numpy()
        (found,) = session.run(None, {"images": images})
        difference = float(np.abs(found - expected).max())
        if not difference <= TOLERANCE:  # also where it is not a number
            raise PipelineError(
                f"--export onnx: given {count} images, the ONNX file is off by {difference:.2g} in a probability, but"
                f" must be within {TOLERANCE:g} of the model: nothing is registered; without --export the model can be"
            )

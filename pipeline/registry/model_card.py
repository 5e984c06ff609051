"""Writes a version's description in the registry: a model card in Markdown (Mitchell et al. 2019, arXiv:1810.03993)."""

from pipeline.registry.passport import PASSPORT_FILE, Passport
from pipeline.statistics.intervals import Interval
from vit.model.vision_transformer import count_parameters

EXAMPLE_REQUEST = "serving_input_example.json"
"""The file in which MLflow puts a model's example, as a request for the server."""
_WORST_CLASSES = 5
_LONGEST = 5000
"""The most characters of a description that MLflow accepts."""


def model_card(passport: Passport) -> str:
    """Returns what somebody who finds the version in the registry wants to know about it."""
    parts = (_summary(passport), _figures(passport), _training(passport), _limits(passport), _use(passport))
    return "\n\n".join(parts)[:_LONGEST]


def _summary(passport: Passport) -> str:
    model, data = passport.spec.model, passport.data
    pooling = "a class token" if model.global_pool == "token" else "mean pooling"
    return (
        f"Vision Transformer for {len(data.class_names)} classes of {data.name}: images of {model.img_size}x"
        f"{model.img_size} pixels, patches of {model.patch_size}, {model.depth} blocks of {model.num_heads} heads, "
        f"width {model.embed_dim}, {pooling}, {count_parameters(model):,} parameters."
    )


def _figures(passport: Passport) -> str:
    figures = passport.figures
    measured = figures.measured
    test = measured.test_correct / measured.test_images
    lines = [
        "| split | accuracy | 95% interval | images |",
        "|---|---|---|---|",
        f"| test | {test:.2%} | {_interval(figures.test_interval)} | {measured.test_images:,} |",
        f"| validation | {measured.val_accuracy:.2%} | {_interval(figures.val_interval)} |"
        f" {passport.data.validation_images:,} |",
    ]
    if figures.test_accuracy_tta_flip is not None:
        lines.append(f"| test, with each image's mirror image | {figures.test_accuracy_tta_flip:.2%} | | |")
    known = [
        (accuracy, name)
        for name, accuracy in zip(passport.data.class_names, figures.test_class_accuracy, strict=True)
        if accuracy is not None
    ]
    worst = ", ".join(f"{name} {accuracy:.1%}" for accuracy, name in sorted(known)[:_WORST_CLASSES])
    return "\n".join(["**Figures**", "", *lines, "", f"Weakest classes on test: {worst}."])


def _interval(interval: Interval) -> str:
    return f"{interval.low:.2%} to {interval.high:.2%}"


def _training(passport: Passport) -> str:
    recipe, data, code = passport.spec.recipe, passport.data, passport.code
    commit = "no git checkout" if code.commit is None else f"commit {code.commit[:12]}"
    changed = "" if code.is_clean in (True, None) else ", with changes that are not committed"
    machines = "; ".join(str(machine) for machine in passport.machines) or "not recorded"
    return (
        f"**Training** on {data.train_images:,} images ({data.digest[:19]}), {recipe.epochs} epochs, "
        f"{recipe.optimizer}, learning rate {recipe.learning_rate:g}, batch {recipe.batch_size}, "
        f"seed {passport.spec.seed}, {passport.precision}; {commit}{changed}; {machines}. "
        f"All of it is in `{PASSPORT_FILE}` beside the model:\n\n    {passport.origin.command}"
    )


def _limits(passport: Passport) -> str:
    reads = passport.figures.test_set_reads
    times = "once" if reads == 1 else f"{reads} times"
    return (
        f"**Limits** It knows these classes only and names one of them for any image; its probabilities have not been "
        f"calibrated. The weights' epoch, and in a sweep the configuration, were chosen by validation accuracy, so "
        f"that figure is optimistic. "
        f"The test images had been read {times} in this tracking store when it was registered."
    )


def _use(passport: Passport) -> str:
    channels = passport.spec.model.in_chans
    size, uri = passport.spec.model.img_size, f"models:/{passport.model_name}@champion"
    return (
        f"**Use** uint8 images (N, {size}, {size}, {channels}) in, or JPEG and PNG files of any size in base64;"
        f" class name and probabilities out:\n\n"
        f'    model = mlflow.pyfunc.load_model("{uri}")\n'
        f"    model.predict(images)\n\n"
        f"or over HTTP, where `instances` takes both (`{EXAMPLE_REQUEST}` beside the model is a request of pixels):\n\n"
        f"    mlflow models serve -m {uri} --env-manager local --port 5001\n"
        f"    curl http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' \\\n"
        f'      -d "{{\\"instances\\": [\\"$(base64 -w0 image.png)\\"]}}"\n\n'
        f"The signature names no input, since MLflow's check would take one of the two only; the model itself checks,"
        f" and says what it expects."
    )

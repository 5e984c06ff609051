"""Stage `prepare`: checks the data set, measures its normalisation and fixes the precision of the whole sweep."""

from pipeline.results.stage_outputs import Prepared
from pipeline.session.sweep_session import SweepSession
from pipeline.training.training import TrainingData
from pipeline.training.worker_group import SharedData
from vit.data.duplicates import duplicates_across_splits
from vit.data.normalisation import measure_normalisation


def prepare_data(session: SweepSession) -> Prepared:
    data = session.dataset
    size = f"{data.img_size}x{data.img_size}x{data.in_chans}"
    mirrored = "; training may mirror them (never with --no-mirror)" if data.mirror_safe else ""
    session.say(
        f"prepare: {data.name} from {data.source}: {len(data.train)} train, {len(data.validation)} validation, "
        f"{len(data.test)} test images of {size}, {data.num_classes} classes{mirrored}"
    )
    duplicates = duplicates_across_splits(data)
    if duplicates.test:
        session.say(f"warning: {duplicates.test} test images are also in train or validation")
    if duplicates.validation:
        session.say(
            f"warning: {duplicates.validation} validation images are also in train: the validation accuracy, by"
            " which everything is chosen, is too high; remove the copies from the data set"
        )
    normalisation = measure_normalisation(data.train.images)
    return Prepared(normalisation, session.precision, duplicates.test, duplicates.validation)


def training_data(session: SweepSession, prepared: Prepared) -> SharedData:
    """The data that the trainings of a sweep read, shared by all of its stages; the test images are not in it."""
    data = session.dataset
    return session.share(TrainingData(data.train, data.validation, prepared.normalisation, data.class_names))

"""The experiment pipeline: orchestrates searches of Vision Transformers with Ray, and keeps their records in MLflow.

Its main folders, in reading order:

- `trials`: the records of a trial, in memory and on disk, and the interface of the observers that follow trials.
- `stages`: what a sweep does, step by step. `results`: what the stages conclude from the trials and pass on.
- `session`: what the parts of a command share.
- `training`: a training that can resume after its process has died. `search`: many trainings, with ASHA and Ray Tune.
- `tracking`: runs in MLflow. `registry`: model versions. `promote`: the gate for new versions, and its past decisions.
- `graph`: which stages need to run. `planning`: how long they would take, and what fits into a time budget.
- `report`: the result as text and as a page. `figures`: its drawings.
- `cluster`: Ray, and who holds or waits for its resources. `terminal`: flags, exit statuses, progress.
- `diagnosis`: the checks of the doctor command.
"""

import gc

# The objects that torch, MLflow and Ray create when they are imported live until the process ends, and with Python's
# default thresholds the garbage collector would scan them again and again. The thresholds are set here because Ray's
# workers, too, import this module before most of those packages.
gc.set_threshold(10_000, 10, 100)

"""The experiment pipeline: orchestrates searches of Vision Transformers with Ray, and keeps their records in MLflow.

Its folders, in reading order:

- `trials`: what a trial comes to, in memory and on disk, and who hears of it.
- `stages`: what a sweep does, step by step. `results`: what the steps conclude from the trials and give each other.
- `session`: what the parts of a command share.
- `training`: a training that outlives its process. `search`: ASHA and Ray Tune over many of them.
- `tracking`: runs in MLflow. `registry`: model versions. `promote`: the gate between them, and what it has decided.
- `graph`: which stages need to run. `planning`: how long they would take, and what fits into a time.
- `report`: the result in words and as a page. `figures`: its drawings.
- `cluster`: Ray, and what waits for what. `terminal`: flags, exit statuses, progress. `diagnosis`: the doctor's.
"""

import gc

# What torch, MLflow and Ray make as they are imported stays to the end, and at Python's own thresholds the collector
# goes through it time after time. Here, because Ray's workers, too, import this before most of it.
gc.set_threshold(10_000, 10, 100)

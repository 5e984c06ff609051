"""The experiment pipeline: orchestrates searches of Vision Transformers with Ray, and keeps their records in MLflow."""

import gc

# What torch, MLflow and Ray make as they are imported stays to the end, and at Python's own thresholds the collector
# goes through it time after time. Here, because Ray's workers, too, import this before most of it.
gc.set_threshold(10_000, 10, 100)

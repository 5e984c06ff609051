"""The experiment pipeline: orchestrates searches of Vision Transformers with Ray, and keeps their records in MLflow."""

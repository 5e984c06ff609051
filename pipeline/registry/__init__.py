"""MLflow's model registry: versions and what was measured of them, the gate, the files of a registered model.

The stages, `pipeline.promote`, the report and the doctor import this. It imports only `config` and `errors`.
"""

"""Search spaces as code, one file each; `catalogue` names them, `space` draws their trials, `trial_spec` is a trial.

Only `trial_spec` does without Ray.
"""

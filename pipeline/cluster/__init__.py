"""Ray: how to start or join it, its resources and who holds them, and a watchdog for when nothing progresses.

Imported by: `training`, `search`, `session`, `planning`, `train_actions`, `sweep_actions`, `diagnosis`, `predict`.
Imports: `tune_spaces`, `errors`, `config`, `trials`.
"""

import os

# These are set here because Ray reads them when it is imported or started, whichever module does that first.
# A trial is to stop between two epochs; Tune's own handler would cut the epoch short.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
# Tune need not print or keep records: `pipeline.terminal.progress` prints, and MLflow has the records.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
# Switches off a process beside each training that would warn workers of preemption: they save every epoch anyway.
os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")

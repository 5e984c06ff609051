"""Ray: start or join it, what there is, who holds what, and a watchdog for when nothing moves.

Imported by: `training`, `search`, `session`, `planning`, `train_actions`, `sweep_actions`, `diagnosis`, `predict`.
Imports: `tune_spaces`, `errors`, `config`, `trials`.
"""

import os

# Here, because Ray reads these when it is imported or started, by whichever module that is first.
# A trial stops between two epochs; Tune's own handler would cut the epoch short.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
# Records are MLflow's business, and the terminal is `pipeline.terminal.progress`'s.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
# A process beside each training that would warn its workers; they save every epoch as it is.
os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")

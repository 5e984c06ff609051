"""Stage `audit`: checks whether ASHA was right to stop the trials that it stopped."""

from pipeline.results.audit_verdict import AuditVerdict, audit_verdict, choose_audited
from pipeline.results.stage_outputs import Prepared, Searched
from pipeline.session.folder import AUDIT_FOLDER
from pipeline.session.sweep_session import SweepSession
from pipeline.stages.prepare import training_data
from pipeline.stages.running_trials import run_trials
from pipeline.tracking.trial_runs import AuditRuns
from pipeline.trials.records import TrialRecord
from pipeline.trials.rungs import Rungs


def audit_stops(session: SweepSession, prepare: Prepared, search: Searched) -> AuditVerdict:
    """Trains trials that ASHA stopped to their full length; with the seeds they had, these are the same trainings."""
    try:
        trials = _trained_on(session, prepare, search)
    finally:
        session.audit_ended.set()
    accuracies = {trial.index: trial.best.accuracy for trial in trials if trial.outcome == "finished" and trial.best}
    return audit_verdict(session.rungs, search.ranked, accuracies)


def _trained_on(session: SweepSession, prepare: Prepared, search: Searched) -> list[TrialRecord]:
    chosen = choose_audited(search.ranked, session.config.audit)
    session.say(f"audit: trials {', '.join(map(str, chosen)) or 'none'}, stopped by ASHA, to their full length")
    specs = {trial.index: trial.spec for trial in search.ranked}
    full = session.rungs.max_epochs
    no_rungs = Rungs(full, session.rungs.reduction_factor, full)
    data, folder = training_data(session, prepare), session.trainings_folder(AUDIT_FOLDER)
    return run_trials(session, AuditRuns, folder, [specs[index] for index in chosen], no_rungs, data)

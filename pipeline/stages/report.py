"""Stage `report`: summarises the sweep's result, for its MLflow run and for the terminal."""

from typing import Any

from pipeline.report.recording import record_summary
from pipeline.report.summary import summarise
from pipeline.results.audit_verdict import AuditVerdict
from pipeline.results.confirmation import winner_of
from pipeline.results.stage_outputs import Confirmed, Evaluated, Prepared, Registered, Searched
from pipeline.session.sweep_session import SweepSession


def write_report(
    session: SweepSession,
    prepare: Prepared,
    search: Searched,
    confirm: Confirmed,
    evaluate: Evaluated,
    register: Registered,
    audit: AuditVerdict | None = None,
) -> dict[str, Any]:
    """Records the sweep's summary and returns it as plain values."""
    summary = summarise(session, search, confirm, evaluate, register.version, audit)
    summary["dataset"]["test_images_also_in_train"] = prepare.duplicates
    summary["dataset"]["validation_images_also_in_train"] = prepare.validation_duplicates
    record_summary(session, summary, winner_of(confirm.models))
    return summary

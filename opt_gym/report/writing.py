"""Everything a report writes: page, tables, JSON, figures."""

from collections.abc import Sequence
from pathlib import Path

from opt_gym.report.assembly import Outcome
from opt_gym.report.csv_tables import tables, write_tables
from opt_gym.report.in_words import Background, Finding, findings
from opt_gym.report.page import check_installed, write_page
from opt_gym.report.report_json import document, write_report_json
from opt_gym.report.still_pictures import write_pictures
from opt_gym.report.verdict import Judged, judged


def write(out: Path, outcome: Outcome, command: str = "") -> list[Path]:
    """Writes report.html, report.json, CSV tables and figures; returns the files.

    Args:
        out: the folder.
        outcome: the finished report.
        command: that makes it again, for the page.

    Raises:
        ValueError: packages that the page needs are missing.
        OSError: full disk, no permission.
    """
    check_installed()
    records = outcome.known.records
    all_judged = [judged(one, records) for one in outcome.comparisons]
    found = found_in(outcome, all_judged)
    made = tables(all_judged, records, outcome.timings)
    drawn, pictures = write_pictures(
        out / "figures", all_judged, outcome.timings, outcome.trained_on
    )
    return [
        write_page(out / "report.html", outcome, all_judged, found, pictures, command),
        write_report_json(out, document(outcome, all_judged, found, command)),
        *write_tables(out, made),
        *drawn,
    ]


def found_in(outcome: Outcome, all_judged: Sequence[Judged]) -> list[Finding]:
    """What is said of every entrant at every horizon."""
    background = Background(
        records=outcome.known.records,
        timings=outcome.timings,
        training={one.name: one.training for one in outcome.entrants},
        status=outcome.suite.status,
        notes=outcome.known.notes,
    )
    return [one for each in all_judged for one in findings(each, background)]

"""What an erasure did, in words: for the command line and for the log of the job.

Nothing here names the person.
"""

from __future__ import annotations

from orchestration.erasure.requests import Report
from orchestration.text_table import table

#: Exports that are listed at most; the newest ones.
LISTED = 20


def lines(report: Report) -> list[str]:
    """Say what went, would go or waits, relation by relation, and what is left to do."""
    rows = sum(report.rows.values())
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.identifiers.items())
    request = f"request {report.request_id}"
    if report.done and rows:
        said = [f"erased {rows:,} rows of {kinds} ({request})"]
    elif report.done:
        said = [
            f"nobody was found under this identifier ({request}); events of it up to now will be "
            "refused"
        ]
    elif report.request_id:
        said = [
            f"noted: {rows:,} rows of {kinds or 'nobody'} go with the Dagster job 'erasure' or the "
            f"next run ({request})"
        ]
    elif rows:
        said = [f"would erase {rows:,} rows of {kinds}; nothing was changed"]
    else:
        said = ["nobody was found under this identifier; nothing was changed"]
    if report.rows:
        cells = [[name, count] for name, count in report.rows.items()]
        said += ["  " + line for line in table(cells, ["", ""])[1:]]
    if report.rows and report.done:
        said.append("daily aggregates stay as published, and nothing became stale")
    if report.stale_since:
        said.append(
            f"dates from {report.stale_since} on are stale: identifiers that only their events "
            "link are not known; run 'tidemark run', then repeat this for those"
        )
    said += [f"left to do: {text}" for text in report.left]
    said += [f"left to do: {name} names the person; delete or mend it" for name in report.files]
    if report.exports:
        said.append("exports that may hold the person; tell their owners:")
        shown = report.exports[-LISTED:]
        cells = [[e.exported_at.isoformat(" ", "seconds"), e.relation, e.path] for e in shown]
        said += ["  " + line for line in table(cells, ["", "", ""])[1:]]
        if len(report.exports) > LISTED:
            said.append(f"  and {len(report.exports) - LISTED} older ones in exports.ndjson")
    return said

"""Where a round's objects lie: its report, `rounds/<dataset>/<round>/report.html`, and a folder for each survey. Pure.

In that folder, `rounds/<dataset>/<round>/<purpose>/`:

    measured/<stream>/<last>-<first>-<rows>.parquet    rows as they were measured, segment by segment
    closed.json                                        which of them belong to the survey, once that is settled
    densities/<first row>-<rows>.parquet               neighbours and densities, block by block of the table
    signals.parquet                                    the signal table
    thresholds.json                                    the selection's summary: canonical JSON of `SelectionSummary`
    histograms.json                                    the signals' histograms, for whoever watches
    selection.parquet                                  what was selected
    collapsed.parquet                                  what leaves in mode middo_compat for a row with the same merge key

Everything but the report is written once; what is written again after a kill is the same. Some time after the round's end
collection takes it all, the report excepted.
"""

import re

from headrace.core.rounds.surveys import Survey
from headrace.core.staged import Segment, segment_named
from headrace.core.topics import require_dataset_id

ROUNDS_PREFIX = "rounds/"

_ROUND_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MEASURED = re.compile(r"(?P<stream>[a-z-]+/\d{5})/(?P<name>[0-9-]+\.parquet)")
_BLOCK = re.compile(r"(?P<first>\d{12})-(?P<rows>\d{6})\.parquet")


class BadRoundId(ValueError):
    """The round's id is no plain name: it would become part of object keys."""


def round_prefix(dataset_id: str, round_id: str) -> str:
    """Under which everything of a round lies.

    Raises:
        BadRoundId: the round's id is no plain name.
        ValueError: neither is the dataset's.
    """
    if not _ROUND_ID.fullmatch(round_id):
        raise BadRoundId(f"round id {round_id[:80]!r} must be letters, digits, dots, hyphens and underscores, at most 128")
    return f"{ROUNDS_PREFIX}{require_dataset_id(dataset_id)}/{round_id}/"


def report_key(prefix: str) -> str:
    """Where the report of the round lies whose objects have this prefix."""
    return f"{prefix}report.html"


def survey_prefix(survey: Survey) -> str:
    """Under which everything of a survey lies. Raises as `round_prefix` does."""
    return f"{round_prefix(survey.dataset_id, survey.round_id)}{survey.purpose.value}/"


def signals_key(survey: Survey) -> str:
    """Where the survey's signal table lies."""
    return f"{survey_prefix(survey)}signals.parquet"


def thresholds_key(survey: Survey) -> str:
    """Where the summary of its selection lies: every threshold, with the numbers it came from."""
    return f"{survey_prefix(survey)}thresholds.json"


def histograms_key(survey: Survey) -> str:
    """Where its signals' histograms lie; there are none where an earlier release selected."""
    return f"{survey_prefix(survey)}histograms.json"


def selection_key(survey: Survey) -> str:
    """Where its selection lies."""
    return f"{survey_prefix(survey)}selection.parquet"


def collapsed_key(survey: Survey) -> str:
    """Where the rows lie that leave because another has their merge key; there is none where none do."""
    return f"{survey_prefix(survey)}collapsed.parquet"


def measured_prefix(survey: Survey) -> str:
    """Under which the survey's measured rows are staged."""
    return f"{survey_prefix(survey)}measured/"


def measured_key(survey: Survey, segment: Segment) -> str:
    """Where one segment of measured rows lies."""
    return f"{measured_prefix(survey)}{segment.stream}/{segment.name}"


def measured_from(survey: Survey, key: str) -> Segment | None:
    """The segment that a key under the survey's prefix names; None where it names none."""
    match = _MEASURED.fullmatch(key.removeprefix(measured_prefix(survey)))
    return segment_named(match["stream"], match["name"]) if match else None


def closed_key(survey: Survey) -> str:
    """Where it says which measured rows belong to the survey."""
    return f"{survey_prefix(survey)}closed.json"


def densities_prefix(survey: Survey) -> str:
    """Under which the densities of the survey's rows lie."""
    return f"{survey_prefix(survey)}densities/"


def densities_key(survey: Survey, first_row: int, rows: int) -> str:
    """Where the densities of some consecutive rows of the table lie."""
    return f"{densities_prefix(survey)}{first_row:012}-{rows:06}.parquet"


def densities_from(survey: Survey, key: str) -> tuple[int, int] | None:
    """First row and number of rows of a block of densities; None where the key names none."""
    match = _BLOCK.fullmatch(key.removeprefix(densities_prefix(survey)))
    return (int(match["first"]), int(match["rows"])) if match else None

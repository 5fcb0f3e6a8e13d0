"""How much a report reads at a time, and how much it shows."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReportLimits:
    """Bounds of one report. What is beyond `points_max` or `shown_max` is thinned by chance, and the page says so.

    `rows_drawn_max` rows of the table are drawn to find the frames of histograms, the first `points_max` of them are drawn as
    points; for the map the embeddings of `map_rows_read_max` rows are looked through. `rewrites_max` attempts are read,
    `shown_max` of each axis and verdict shown in full, each text cut to `chars_max` characters. One that was decided twice counts
    once among the first `told_apart_max`, about 100 bytes each. Those of a round without a version are looked for in the
    `versions_max` versions behind the one surveyed, in the latest, and in the staging area. `reasons_max` reasons are named
    out of `reasons_held_max` that are told apart.
    """

    batch_rows: int = 16_384
    rows_drawn_max: int = 20_000
    points_max: int = 3_000
    map_rows_read_max: int = 200_000
    map_rewrites_max: int = 1_000
    rewrites_max: int = 20_000
    told_apart_max: int = 1_000_000
    versions_max: int = 20
    shown_max: int = 3
    chars_max: int = 2_000
    reasons_max: int = 8
    reasons_held_max: int = 1_000
    summary_bytes_max: int = 1024 * 1024
    file_bytes_max: int = 64 * 1024**3

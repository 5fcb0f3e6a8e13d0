"""Which decided rows a calibration counts, where they lie: staged, and in versions."""

from collections.abc import Iterator
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError

from headrace.adapters.wire.fields import Undecodable
from headrace.adapters.wire.pages import signals_from
from headrace.core.dossiers import CURRENT, Judgement
from headrace.core.rounds.calibration_due import Measurer, Run
from headrace.core.versions import DamagedVersion
from headrace_protos.sample.v1 import dossier_pb2

_MEASURED = ("model", "model_version", "origin_round", "loss_mean")
_JUDGED = ("sample_id", "dossier")


def columns_counted(*, judged: bool) -> tuple[str, ...]:
    """What has to be read of a row to tell whether it counts; dossiers only where quality does."""
    return (*_MEASURED, *_JUDGED) if judged else _MEASURED


def runs_of(rows: pa.Table, *, judged: bool) -> tuple[Run, ...]:
    """Who measured these rows (`columns_counted`), in their order; `headrace.core.rounds.calibration_due.measurer_of` in columns.

    Raises:
        DamagedVersion: a dossier cannot be read.
    """
    return tuple((measurer, sum(1 for _ in run)) for measurer, run in groupby(_measurers(rows, judged=judged)))


def judgements_of(rows: pa.Table) -> Iterator[Judgement | None]:
    """What the current model judged of each row, by its `sample_id` and `dossier`. Raises DamagedVersion where it is none."""
    for sample_id, dossier in zip(rows["sample_id"].to_pylist(), rows["dossier"].to_pylist(), strict=True):
        yield judgement_in(sample_id, dossier)


def judgement_in(sample_id: str, dossier: bytes) -> Judgement | None:
    """Of the whole dossier only this page is decoded: there may be millions that were not judged."""
    try:
        pages = [page for page in dossier_pb2.Dossier.FromString(dossier).signals if page.role == CURRENT]
        return signals_from(pages[0]).judgement if pages and pages[0].HasField("judgement") else None
    except (DecodeError, Undecodable) as error:
        raise DamagedVersion(f"the dossier of {sample_id}: {error}") from error


def _measurers(rows: pa.Table, *, judged: bool) -> Iterator[Measurer | None]:
    counts = pc.and_(pc.is_valid(rows["loss_mean"]), pc.is_null(rows["origin_round"])).to_pylist()
    rulers = [_ruler(judgement) for judgement in judgements_of(rows)] if judged else [""] * len(counts)
    named = zip(counts, rows["model"].to_pylist(), rows["model_version"].to_pylist(), rulers, strict=True)
    for does_count, model, version, ruler_hash in named:
        yield Measurer(model, version, ruler_hash) if does_count and ruler_hash is not None else None


def _ruler(judgement: Judgement | None) -> str | None:
    """What a row was judged by; None where it has no quality."""
    return judgement.ruler_hash if judgement is not None and judgement.quality is not None else None

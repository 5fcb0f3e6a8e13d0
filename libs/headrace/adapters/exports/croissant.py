"""Croissant 1.0 metadata (croissant.json): the files with their hashes, and their columns as record sets."""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from headrace.adapters.exports.contents import Contents, Split
from headrace.adapters.exports.shapes import HOLDS, TIME

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The one JSON-LD context of Croissant 1.0: readers compare it with their own."""

_TIME = "sc:DateTime"
_MEDIA_TYPES = {"parquet": "application/x-parquet", "jsonl": "application/jsonlines"}


def croissant(contents: Contents) -> str:
    """The whole croissant.json. The same contents give the same text."""
    manifest = contents.version.manifest
    described = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"{manifest.dataset}-{contents.shape.format.value}",
        "description": f"Version {manifest.sequence} of {manifest.dataset}. Form: {contents.shape.summary}.",
        **({"license": contents.licence} if contents.licence else {}),
        "version": f"{manifest.sequence}.0.0",
        "identifier": contents.version.id,
        "distribution": [entry for split in contents.splits for entry in _files(split, contents)],
        "recordSet": [_record_set(split, contents) for split in contents.splits],
    }
    return json.dumps(described, ensure_ascii=False, indent=1) + "\n"


def _files(split: Split, contents: Contents) -> Iterator[dict[str, Any]]:
    media_type = _MEDIA_TYPES[contents.shape.suffix]
    for file in split.files:
        yield {
            "@type": "cr:FileObject", "@id": file.name, "name": file.name, "contentUrl": file.name,
            "contentSize": f"{file.size_bytes} B", "encodingFormat": media_type, "sha256": file.sha256,
        }  # fmt: skip
    yield {
        "@type": "cr:FileSet", "@id": f"{_id(split)}-files", "name": f"{_id(split)}-files",
        "description": f"The files of {_id(split)}.", "encodingFormat": media_type, "includes": split.pattern,
    }  # fmt: skip


def _record_set(split: Split, contents: Contents) -> dict[str, Any]:
    name = _id(split)
    return {
        "@type": "cr:RecordSet", "@id": name, "name": name, "description": f"{split.rows} rows.",
        "field": [field for column in contents.schema for field in _fields(column, name)],
    }  # fmt: skip


def _fields(column: pa.Field, record_set: str) -> Iterator[dict[str, Any]]:
    """Columns as fields. What lists hold inside the turns of a conversation is left to the file: Croissant 1.0 nests once."""
    field_id = f"{record_set}/{column.name}"
    kind = column.type
    source = {"fileSet": {"@id": f"{record_set}-files"}, "extract": {"column": column.name}}
    named = {"@type": "cr:Field", "@id": field_id, "name": field_id}
    if not pa.types.is_list(kind):
        yield {**named, "dataType": _TIME if _is_time(column) else _data_type(kind), "source": source}
    elif not pa.types.is_struct(kind.value_type):
        yield {**named, "dataType": _data_type(kind.value_type), "repeated": True, "source": source}
    else:
        inner = [each for each in kind.value_type if not pa.types.is_nested(each.type)]
        yield {
            **named,
            "repeated": True,
            "subField": [
                {
                    "@type": "cr:Field", "@id": f"{field_id}/{each.name}", "name": f"{field_id}/{each.name}",
                    "dataType": _data_type(each.type),
                    "source": {**source, "transform": {"jsonPath": each.name}},
                }
                for each in inner
            ],
        }  # fmt: skip


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    return "sc:Text"


def _is_time(column: pa.Field) -> bool:
    return pa.types.is_timestamp(column.type) or (column.metadata or {}).get(HOLDS) == TIME


def _id(split: Split) -> str:
    return f"{split.config}-{split.name}"

"""Store the values of workflows as plain data: JSON of known types, never a pickle.

A pickle can run code when it is read. With pickles, anyone with write access to the database could run code in every worker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dbos import Serializer
from dbos._serialization import DefaultSerializer
from pydantic import TypeAdapter

from node.model import Bmd, PatientRank, PriorComparison
from node.study.stages import MeasureOutcome, Predecessor, ReportOutcome, SegmentOutcome, SelectOutcome

#: Types of the results of steps. Other results are text, numbers, ``None``, and tuples of these.
_TYPES: Final[Mapping[str, TypeAdapter[Any]]] = {
    kind.__name__: TypeAdapter(kind)
    for kind in (
        SelectOutcome,
        SegmentOutcome,
        MeasureOutcome,
        Bmd,
        PriorComparison,
        PatientRank,
        Predecessor,
        ReportOutcome,
    )
}


class StoredError(Exception):
    """An error that a workflow or step ended with earlier. Only its type and message are stored."""


class PlainData(Serializer):
    """Reads and writes values of workflows as JSON."""

    def name(self) -> str:
        """Return the name of this format, as it is stored in each row. A changed format needs a new name."""
        return "bmd-node-json-1"

    def serialize(self, data: Any) -> str:
        """Write a value.

        Raises:
            TypeError: its type is not one of the known types.
        """
        return json.dumps(_encoded(data), ensure_ascii=False)

    def deserialize(self, serialized_data: str) -> Any:
        """Read a value.

        Raises:
            ValueError: it is not what :meth:`serialize` writes.
        """
        return _decoded(json.loads(serialized_data))


def refuse_pickles() -> None:
    """Make DBOS refuse rows that are marked as pickles. By default it reads them, whatever serializer is configured."""

    def refuse(_self: DefaultSerializer, _serialized_data: str) -> Any:
        raise ValueError("the workflow tables hold a pickle; pickles are refused")

    DefaultSerializer.deserialize = refuse  # type: ignore[assignment]


def _encoded(data: object) -> object:
    if data is None or isinstance(data, bool | int | float):
        return data
    if isinstance(data, str):
        return str(data)
    if isinstance(data, Path):
        return {"path": str(data)}
    if isinstance(data, tuple | list):
        return {"items": [_encoded(item) for item in data]}
    if isinstance(data, BaseException):
        return {"error": [type(data).__name__, str(data)]}
    if isinstance(data, dict):
        return {"keys": {str(key): _encoded(value) for key, value in data.items()}}
    adapter = _TYPES.get(type(data).__name__)
    if adapter is None:
        raise TypeError(f"{type(data).__name__} is not plain data: add it to node.worker.plain_data")
    return {"type": type(data).__name__, "value": adapter.dump_python(data, mode="json")}


def _decoded(data: object) -> object:
    if not isinstance(data, dict):
        return data
    match data:
        case {"path": str(path)}:
            return Path(path)
        case {"items": list(items)}:
            return tuple(_decoded(item) for item in items)
        case {"error": [str(kind), str(message)]}:
            return StoredError(f"{kind}: {message}")
        case {"keys": dict(keys)}:
            return {key: _decoded(value) for key, value in keys.items()}
        case {"type": str(kind), "value": value} if kind in _TYPES:
            return _TYPES[kind].validate_json(json.dumps(value))
    raise ValueError("not a value of a workflow of this node")

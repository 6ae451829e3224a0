"""Results as Spark DataFrames: matches beside their records, records with their entities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from er_distill.errors import InputError
from er_distill.spark.reading import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def match_schema(left: DataFrame, left_id: str, right: DataFrame, right_id: str, *, ranked: bool) -> Any:
    """Return the schema of matches: ids in the types of their tables, score, and rank where they are ranked."""
    from pyspark.sql.types import DoubleType, LongType, StructType

    schema = StructType()
    for name, frame, column in (("left_id", left, left_id), ("right_id", right, right_id)):
        schema = schema.add(name, frame.schema[column].dataType)
    schema = schema.add("score", DoubleType())
    return schema.add("rank", LongType()) if ranked else schema


def beside(
    matches: DataFrame,
    left: DataFrame,
    left_id: str,
    right: DataFrame,
    right_id: str,
    how: str,
    suffixes: tuple[str, str],
) -> DataFrame:
    """Put the columns of both records beside each match; `how` and `suffixes` as in `er_distill.link`."""
    one = left.toDF(*_renamed(left, left_id, "left_id", suffixes[0]))
    other = right.toDF(*_renamed(right, right_id, "right_id", suffixes[1]))
    kind = "inner" if how == "inner" else "left"
    joined = one.join(matches, "left_id", kind).join(other, "right_id", kind)
    names = [
        *matches.columns,
        *(name for name in (*one.columns, *other.columns) if name not in ("left_id", "right_id")),
    ]
    return joined.select(*map(quoted, names))


def check_suffixes(
    left: DataFrame, left_id: str, right: DataFrame, right_id: str, suffixes: tuple[str, str], *, ranked: bool
) -> None:
    """Raise InputError when `suffixes` give two columns of the result one name."""
    names = ["score", *(["rank"] if ranked else [])]
    names += [*_renamed(left, left_id, "left_id", suffixes[0]), *_renamed(right, right_id, "right_id", suffixes[1])]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"suffixes={suffixes!r} give two columns the name {twice!r}. Choose others.")


def with_entities(frame: DataFrame, ids: pa.Table, entities: np.ndarray, name: str) -> DataFrame:
    """Return the frame with each record's entity in the column `name`; `ids` has the one column of record ids."""
    from pyspark.sql.types import LongType, StructType

    (id_column,) = ids.column_names
    schema = StructType([frame.schema[id_column]]).add(name, LongType())
    found = frame.sparkSession.createDataFrame(ids.append_column(name, pa.array(entities)), schema)
    return frame.join(found, id_column, "left").select(*map(quoted, [*frame.columns, name]))


def _renamed(frame: DataFrame, id_column: str, id_name: str, suffix: str) -> list[str]:
    return [id_name if name == id_column else f"{name}{suffix}" for name in frame.columns]

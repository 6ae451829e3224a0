"""Spark DataFrames of records, read on the driver."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from er_distill.errors import InputError, MissingExtraError
from er_distill.records import Records, as_frame, require
from er_distill.tables import Columns, Ids, Table, read_one, read_two

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def check_spark(frame: Any, name: str) -> None:
    """Raise unless `frame` is a DataFrame of a Spark session that this process drives; `name` is what to call it.

    Raises
    ------
    MissingExtraError
        When pyspark 4 is not installed.
    InputError
        When `frame` is no Spark DataFrame, is one of Spark Connect, or has two columns of one name.
    """
    try:
        from pyspark.sql import DataFrame
        from pyspark.sql.classic.dataframe import DataFrame as Classic
    except ImportError as error:
        raise MissingExtraError(
            f"er_distill.spark needs pyspark 4 ({error}). Install it: pip install 'er-distill[spark]'."
        ) from error
    if not isinstance(frame, DataFrame):
        kind = f"{type(frame).__module__.partition('.')[0]}.{type(frame).__qualname__}"
        raise InputError(
            f"{name} is a {kind}, not a Spark DataFrame. Use the function of the same name in er_distill, or make it "
            "one with spark.createDataFrame."
        )
    if not isinstance(frame, Classic):
        raise InputError(
            f"{name} is a DataFrame of Spark Connect, which cannot broadcast tables to workers. Run this on the "
            "cluster, in a classic session."
        )
    twice = sorted({column for column in frame.columns if frame.columns.count(column) > 1})
    if twice:
        raise InputError(f"{name} has more than one column named {twice[0]!r}. Rename or drop one.")


def read_one_table(frame: Any, name: str, columns: Sequence[str] | None, id: str | None) -> Table:
    """Collect the compared columns and the ids of a table; `name` is what messages call it.

    Arguments as in `er_distill.dedupe`, but that an id column must be named or be called ``id``: the rows of a Spark
    DataFrame have no numbers.
    """
    return read_one(_collected(frame, name, columns, id), name, columns, id)


def read_two_tables(
    left: Any, right: Any, columns: Sequence[str] | None, left_on: Columns, right_on: Columns, id: Ids
) -> tuple[Table, Table]:
    """Collect two tables as `read_one_table` does one; arguments as in `er_distill.link`."""
    ids = tuple(id) if isinstance(id, (list, tuple)) and len(id) == 2 else (id, id)
    of_left = columns if left_on is None else left_on
    of_right = of_left if right_on is None else right_on
    first, second = _collected(left, "left", of_left, ids[0]), _collected(right, "right", of_right, ids[1])
    return read_two(first, second, columns, left_on, right_on, id)


def read_either_tables(
    left: Any, right: Any, columns: Sequence[str] | None, left_on: Columns, right_on: Columns, id: Ids
) -> tuple[Table, Table | None]:
    """Collect two tables, or `left` alone where `right` is None."""
    if right is not None:
        return read_two_tables(left, right, columns, left_on, right_on, id)
    if left_on is not None or right_on is not None or isinstance(id, tuple):
        raise InputError("left_on, right_on and a pair of ids need two tables. Pass right, or use columns= and id=.")
    return read_one_table(left, "left", columns, id), None


def ids_alone(table: Table) -> Table:
    """Return the table with a frame of its ids, and with nothing cached: what every worker must be sent."""
    records = table.records
    bare = Records(records.name, records.ids, records.fields, records.values)
    return replace(table, frame=table.frame.select(str(table.id_column)), records=bare)


def quoted(name: str) -> str:
    """Return a column's name as Spark's expressions take it: a dot in it means nothing."""
    return "`" + name.replace("`", "``") + "`"


def _collected(frame: DataFrame, name: str, columns: Any, id: Any) -> Any:
    from pyspark.sql.types import ArrayType, MapType, StructType

    check_spark(frame, name)
    if id is None and "id" not in frame.columns:
        raise InputError(
            f"{name} has no column 'id', and the rows of a Spark DataFrame have no numbers to serve as ids. Name "
            "its id column with id=."
        )
    id_column = "id" if id is None else id
    if columns is None:
        nested = (ArrayType, MapType, StructType)
        columns = [field.name for field in frame.schema.fields if not isinstance(field.dataType, nested)]
    listed = [columns] if isinstance(columns, str) or not isinstance(columns, Iterable) else list(columns)
    wanted = list(dict.fromkeys([id_column, *listed]))
    for column in wanted:
        require(frame, column, name)
    return as_frame(frame.select(*map(quoted, wanted)).toArrow(), name)

"""Data sets in CSV files with a header: numbers by column. A file that is not so is a FormatError."""

from __future__ import annotations

import csv as reading
import os

import numpy as np

from treadle.data.dataset import Dataset
from treadle.data.sources import arrays
from treadle.errors import ArgumentError, FormatError


def csv(path: str | os.PathLike[str], *, target: str | None = None, delimiter: str = ",") -> Dataset:
    """The rows of a CSV file of numbers (RFC 4180) whose first line names the columns.

    Args:
        target: the column to predict; it comes apart, as int64 where all its values are whole.
        delimiter: between values.

    Returns:
        Dataset of float32 `[columns]`; with a target, of tuples with it.

    Raises:
        FormatError: a value is no number or a line has too few or too many; it says where.
        ArgumentError: there is no such column, or no row.

    >>> from pathlib import Path
    >>> from treadle import data
    >>> _ = Path("iris.csv").write_text("length,width,kind\\n5.1,3.5,0\\n7.0,3.2,1\\n")
    >>> row, kind = data.csv("iris.csv", target="kind")[1]
    >>> row.tolist()[0], int(kind)
    (7.0, 1)
    """
    return arrays(*read_csv(path, target=target, delimiter=delimiter))


def read_csv(
    path: str | os.PathLike[str], *, target: str | None = None, delimiter: str = ","
) -> tuple[np.ndarray, ...]:
    """The columns of a CSV file, float32 `[rows, columns]`; with a target, it apart. Raises as `csv` does."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            lines = reading.reader(file, delimiter=delimiter, strict=True)
            header = next(lines, [])
            rows = [_numbers(path, lines.line_num, header, line) for line in lines if line]
        except (reading.Error, UnicodeDecodeError) as error:
            raise FormatError(f"{path} is no CSV file in UTF-8: {error}") from None
    if target is not None and target not in header:
        raise ArgumentError(f"[data.csv] {path} has no column {target!r}, it has {header}")
    if not rows:
        raise ArgumentError(f"[data.csv] the data set is empty: {path} has no rows below its header")
    table = np.array(rows)
    if target is None:
        return (table.astype(np.float32),)
    place = header.index(target)
    wanted = table[:, place]
    whole = bool(np.all(wanted == np.floor(wanted)) and np.all(np.isfinite(wanted)))
    return (
        np.delete(table, place, axis=1).astype(np.float32),
        wanted.astype(np.int64 if whole else np.float32),
    )


def _numbers(path: str | os.PathLike[str], number: int, header: list[str], line: list[str]) -> list[float]:
    if len(line) != len(header):
        raise FormatError(
            f"{path}, line {number}: {len(line)} values, the header names {len(header)} columns"
        )
    values = []
    for name, text in zip(header, line):
        try:
            values.append(float(text))
        except ValueError:
            raise FormatError(f"{path}, line {number}, column {name!r}: {text!r} is no number") from None
    return values

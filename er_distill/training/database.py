"""The SQLite file behind a labels folder: its tables, its transactions, its errors in words."""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from er_distill.errors import InputError

FILE = "labels.sqlite"
"""Name of the file in a labels folder."""

VERSION = 1

_WAIT_SECONDS = 60.0
_LOCKED_SECONDS = 0.01

_SCHEMA = """
CREATE TABLE runs (id INTEGER PRIMARY KEY, pid INTEGER NOT NULL, started TEXT NOT NULL, ended TEXT);
CREATE TABLE prompts (hash TEXT PRIMARY KEY, messages TEXT NOT NULL);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,              -- of the request: what its answer depends on
    run INTEGER NOT NULL REFERENCES runs (id),
    teacher TEXT NOT NULL,
    model TEXT NOT NULL,
    server TEXT,                    -- NULL: the provider's own
    prompt_hash TEXT NOT NULL REFERENCES prompts (hash),
    parameters TEXT NOT NULL,       -- JSON
    task TEXT NOT NULL,
    query_id TEXT NOT NULL,
    candidate_ids TEXT NOT NULL,    -- JSON, in the order of the prompt
    step INTEGER NOT NULL,
    price_prompt REAL,              -- for a million tokens; NULL: unknown
    price_completion REAL,
    currency TEXT,
    done INTEGER NOT NULL DEFAULT 0, -- 0: sent, and nothing heard of it
    started TEXT NOT NULL,
    seconds REAL,
    text TEXT,                      -- the raw answer
    error TEXT,                     -- or why there is none
    choice INTEGER,                 -- position in candidate_ids, -1: none of them, NULL: not readable
    logprobs TEXT,                  -- JSON
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    money INTEGER,                  -- billionths; NULL: unknown
    held_tokens INTEGER NOT NULL,   -- what counts against a limit: the worst case where the truth is unknown
    held_money INTEGER
);
CREATE INDEX answered ON attempts (key) WHERE text IS NOT NULL;
CREATE TABLE held (calls INTEGER NOT NULL, tokens INTEGER NOT NULL, money INTEGER NOT NULL, spent INTEGER NOT NULL);
INSERT INTO held VALUES (0, 0, 0, 0);
CREATE TABLE questions (
    id TEXT PRIMARY KEY,            -- hash of the ids and of what their records say
    query_id TEXT NOT NULL,
    candidate_ids TEXT NOT NULL,    -- JSON, in the order of the table
    records TEXT NOT NULL,          -- JSON: the fields of the query, then of each candidate
    one_table INTEGER NOT NULL,     -- whether the candidates are of the query's table
    round INTEGER NOT NULL,         -- in which it was first asked
    current INTEGER NOT NULL        -- whether the tables of the last run say the same
);
CREATE TABLE answers (
    teacher TEXT NOT NULL,
    question TEXT NOT NULL REFERENCES questions (id),
    licence TEXT NOT NULL,
    choice INTEGER,                 -- position in candidate_ids, -1: none of them, NULL: abstained
    probabilities TEXT,             -- JSON: of each candidate and, last, of none
    explanation TEXT,
    reason TEXT,                    -- why it abstained
    seconds REAL,
    stored TEXT NOT NULL,
    PRIMARY KEY (teacher, question)
);
"""


class Database:
    """One connection, used by one thread at a time.

    Parameters
    ----------
    path : Path
        Made where it is missing; its folder must be there.

    Raises
    ------
    InputError
        When the file is no store, or that of a newer er_distill.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()  # a teacher records from the thread of its event loop
        with self._explained():
            self._connection = sqlite3.connect(
                path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            # Readers do not wait for writers, and what was committed outlives a loss of power.
            self._write_ahead()
            self._connection.execute("PRAGMA synchronous = FULL")
        with self.transaction():
            self._prepare()

    def close(self) -> None:
        """Close the connection."""
        with self._lock, self._explained():
            self._connection.close()

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Return what a query finds."""
        with self._lock, self._explained():
            return self._connection.execute(query, values).fetchall()

    def run(self, statement: str, *values: Any) -> None:
        """Run a statement; on its own it is a transaction."""
        with self._lock, self._explained():
            self._connection.execute(statement, values)

    def put(self, table: str, row: Mapping[str, Any], *, or_else: str = "ABORT") -> int:
        """Insert a row and return its number; `or_else` is SQLite's ON CONFLICT clause: IGNORE, REPLACE."""
        names, places = ", ".join(row), ", ".join("?" * len(row))
        with self._lock, self._explained():
            statement = f"INSERT OR {or_else} INTO {table} ({names}) VALUES ({places})"
            return int(self._connection.execute(statement, tuple(row.values())).lastrowid or 0)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Do everything in the block, or nothing; other writers wait until it has ended."""
        with self._lock, self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite has rolled back by itself where the disk is full
                    self._connection.execute("ROLLBACK")
                raise

    def _write_ahead(self) -> None:
        # SQLite's own waiting for a lock leaves this one out: two processes may open a new file at the same moment.
        give_up = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                    raise
            time.sleep(_LOCKED_SECONDS)

    def _prepare(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise InputError(f"{self.path} was made by a newer er_distill. Update er_distill, or name another folder.")
        if version == 0:
            if self._connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                raise InputError(f"{self.path} is a database, but no label store. Name another folder.")
            for statement in filter(str.strip, _SCHEMA.split(";\n")):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {VERSION}")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise InputError(
                f"{self.path} cannot be used as a label store: {error}. "
                "Check the disk and the permissions, or name another folder."
            ) from error


def now() -> str:
    """Return the time as it is stored: ISO 8601, UTC."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")

"""A student on workers: found, checked against the driver's, opened once a process."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from er_distill import artefact, errors
from er_distill.artefact import MANIFEST, sha256
from er_distill.errors import ErDistillError, InputError, StudentError
from er_distill.student import Student
from er_distill.threads import VARIABLE

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class StudentAt:
    """A student, to be opened where it is used.

    Attributes
    ----------
    source : str
        The name of a bundled student, or a folder.
    digest : str
        Hex sha256 of its manifest, on the driver.
    device : str
        As in `er_distill.link`. Where the task was given a GPU, ``"auto"`` and ``"cuda"`` are that GPU.
    threads : int or None
        By default what ``ER_DISTILL_THREADS`` says on the worker, else the cores of the task.
    variant : str or None
        None for the one that suits the worker. Which one it is is settled once, so it is no part of what a process
        knows its student by.
    """

    source: str
    digest: str
    device: str
    threads: int | None
    variant: str | None = field(default=None, compare=False)

    def open(self) -> Student:
        """Return the student, loaded once a process.

        Raises
        ------
        StudentError
            When it is not on this worker, cannot be used, or is another one than on the driver.
        DeviceError, MissingExtraError
            As `Student.load`.
        """
        from pyspark import TaskContext

        task: Any = TaskContext.get()
        device = self.device
        gpu = task.resources().get("gpu")
        if gpu is not None and device in ("auto", "cuda"):
            device = f"cuda:{int(gpu.addresses[0])}"
        here = replace(self, device=device, threads=threads_of_task(self.threads))
        loaded = _loaded(here)
        if self.variant is not None and loaded.variant is not loaded.manifest.variants[self.variant]:
            _loaded.cache_clear()  # an earlier run had settled on another one
            loaded = _loaded(here)
        return loaded


def threads_of_task(threads: int | None) -> int | None:
    """Return `threads`; by default the cores that Spark gave the task, unless ``ER_DISTILL_THREADS`` decides."""
    from pyspark import TaskContext

    if threads is not None or os.environ.get(VARIABLE):
        return threads
    task: Any = TaskContext.get()
    return int(task.cpus())


def student_on_workers(
    session: SparkSession,
    source: str | Path,
    device: str,
    threads: int | None,
    profile: ResourceProfile | None,
    *,
    lists_are_parted: bool,
) -> tuple[StudentAt, float]:
    """Open a student on one worker, and return it, with the variant that suits the workers, and its threshold.

    Whatever is wrong with the student there is found out before the tables are read, and all workers run one variant.

    Parameters
    ----------
    session : pyspark.sql.SparkSession
    source, device, threads, profile
        As `student` and others in `er_distill.spark.link`.
    lists_are_parted : bool
        Whether a task sees a part of some candidate lists, as in one table with context.

    Raises
    ------
    InputError
        When the student reads whole lists, which are parted.
    StudentError, DeviceError, MissingExtraError
        As `StudentAt.open`.
    """
    folder = artefact.locate(source)
    manifest = artefact.read(folder)
    if lists_are_parted and manifest.reader == "lists":
        raise InputError(
            f"student {manifest.name!r} reads whole candidate lists, and those of one table cannot be divided among "
            "workers. Use er_distill.dedupe or er_distill.score_pairs on one machine, or context=False."
        )
    bundled = folder.parent == artefact.locate("default").parent
    name = folder.name if bundled else str(folder.resolve())
    student = StudentAt(name, sha256(folder / MANIFEST), device, threads)
    one = session.range(0, 1, 1, 1)
    with explained():
        found = one.mapInArrow(partial(_opened, student), "variant string, threshold double", profile=profile).toArrow()
    (row,) = found.to_pylist()
    return replace(student, variant=row["variant"]), row["threshold"]


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Raise what er_distill said on a worker as the error that it is, not as a failed job."""
    from pyspark.errors import PySparkException

    try:
        yield
    except PySparkException as error:
        said = re.search(r"er_distill\.errors\.(\w+): (.+)", str(error))
        kind = getattr(errors, said[1], None) if said else None
        if said and isinstance(kind, type) and issubclass(kind, ErDistillError):
            raise kind(said[2].strip()) from error
        raise


def _opened(student: StudentAt, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for _ in batches:
        loaded = student.open()
        (name,) = (name for name, variant in loaded.manifest.variants.items() if variant is loaded.variant)
        yield pa.RecordBatch.from_pydict({"variant": [name], "threshold": [loaded.threshold]})


@lru_cache(maxsize=1)
def _loaded(student: StudentAt) -> Student:
    folder = _folder(student.source)
    loaded = Student.load(folder, variant=student.variant, device=student.device, threads=student.threads)
    if sha256(folder / MANIFEST) != student.digest:
        raise StudentError(
            f"{folder} on worker {socket.gethostname()} is another student than {student.source} was on the driver "
            "when the run began. Give all of them the same folder, and start again."
        )
    return loaded


def _folder(source: str) -> Path:
    from pyspark import SparkFiles

    try:
        return artefact.locate(source)
    except StudentError:
        shipped = Path(SparkFiles.get(Path(source).name))
        if shipped.is_dir():
            return shipped
        raise StudentError(
            f"student {source!r} is not on worker {socket.gethostname()}. Put the folder where every worker finds it "
            "under that path, or ship it: spark.sparkContext.addFile(folder, recursive=True)."
        ) from None

"""A run folder: stages whose results outlive the process that made them.

A stage is named after what it makes and known by a fingerprint of what it is made from. Its result is a folder of plain
files that appears whole, by one rename, or not at all; it is found again as long as its inputs are the same, so that a
run that was killed goes on where it was, and a changed setting repeats only the stages it has a part in.

    with Run(Path("runs/shops"), progress=True) as run:
        run.plan("features", "trees")
        features = run.stage("features", {"records": records.values}, lambda folder: write_features(folder))
        trees = run.stage("trees", {"features": features.fingerprint}, lambda folder: write_trees(folder))
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import errno
import fcntl
import hashlib
import json
import logging
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from tqdm import tqdm

from er_distill.errors import InputError

log = logging.getLogger(__name__)

UNFINISHED = "unfinished"
"""Folder inside a stage's folder for what helps to go on after a kill, as checkpoints do; no part of the result."""

_ABOUT = "stage.json"
_LOCK = "run.lock"
_BYTES_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024


@dataclasses.dataclass(frozen=True)
class Result:
    """What a stage left.

    Attributes
    ----------
    folder : Path
        Holds its files; never written to again.
    fingerprint : str
        Of its inputs: an input of the stages that build on it.
    seconds : float
        It took, in the process that finished it.
    peak_memory : int
        Bytes, of that process up to the end of the stage.
    """

    folder: Path
    fingerprint: str
    seconds: float
    peak_memory: int


class Run:
    """A run folder, held by one process at a time.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    progress : bool
        Whether to show stages and bars on stderr.

    Attributes
    ----------
    results : dict of str to Result
        By stage, of those this process has come to.

    Raises
    ------
    InputError
        When the folder cannot be written, or another process holds it.
    """

    def __init__(self, folder: Path, *, progress: bool = False) -> None:
        self.folder = folder
        self.progress = progress
        self.results: dict[str, Result] = {}
        self._planned: list[str] = []
        self._stage = ""
        self._lock = _hold(folder)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes have the folder."""
        self._lock.close()

    def plan(self, *stages: str) -> None:
        """Say which stages are to come, in order, so that each is announced with its number of how many."""
        self._planned += [stage for stage in stages if stage not in self._planned]

    def stage(self, name: str, inputs: Mapping[str, Any], make: Callable[[Path], object]) -> Result:
        """Return a stage's result: the one that is there, or else made now.

        Parameters
        ----------
        name : str
            Of the stage, fit for a folder's name.
        inputs : mapping of str to object
            All that the result depends on, as `fingerprint` takes it.
        make : callable
            Gets a folder and writes the result's files into it. What a killed attempt left in its folder
            :data:`UNFINISHED` is still there.

        Raises
        ------
        InputError
            When the disk is full, or the folder cannot be written any more. What is finished is kept.
        """
        self.plan(name)
        digest = fingerprint({"stage": name, "inputs": inputs})
        folder = self.folder / f"{name}-{digest[:16]}"
        self._stage = name
        if folder.is_dir():
            self._announce("kept from before")
        else:
            self._announce()
            with self.guarded():
                self._make(folder, digest, make)
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        self.results[name] = Result(folder, digest, about["seconds"], about["peak_memory_bytes"])
        return self.results[name]

    def bar(self, total: int, unit: str) -> tqdm:
        """Return a progress bar of the stage, with the time left; silent unless progress was asked for."""
        return tqdm(
            total=total, desc=self._stage, unit=unit, unit_scale=True, disable=not self.progress, file=sys.stderr
        )

    def _make(self, folder: Path, digest: str, make: Callable[[Path], object]) -> None:
        partial = folder.with_name(f"{folder.name}.partial")
        partial.mkdir(exist_ok=True)
        for left in partial.iterdir():  # of an attempt that was killed
            if left.is_file():
                left.unlink()
            elif left.name != UNFINISHED:
                shutil.rmtree(left)
        started = time.perf_counter()
        make(partial)
        about = {
            "stage": self._stage,
            "fingerprint": digest,
            "seconds": round(time.perf_counter() - started, 2),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_OF_MAXRSS,
        }
        (partial / _ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(partial / UNFINISHED, ignore_errors=True)
        publish(partial, folder)

    def _announce(self, remark: str = "") -> None:
        text = f"[{self._planned.index(self._stage) + 1}/{len(self._planned)}] {self._stage}"
        text += f" ({remark})" if remark else ""
        log.info("%s", text)
        if self.progress:
            tqdm.write(f"{dt.datetime.now():%H:%M:%S}  {text}", file=sys.stderr)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn a disk that is full, or a folder that was closed to us, into a message that says how to go on.

        Raises
        ------
        InputError
            In the place of the system's error.
        """
        try:
            yield
        except Exception as error:
            problem = _problem_of_disk(error)
            if problem is None:
                raise
            done = ", ".join(self.results) or "none"
            raise InputError(
                f"{self.folder}, stage {self._stage!r}: {problem}. The stages that are finished are kept ({done}). Make"
                " room, or the folder writable, and start the same run again: it goes on there."
            ) from error


def publish(partial: Path, folder: Path) -> None:
    """Put a finished folder in its place by one rename, its files being on the disk by then."""
    for path in [*sorted(partial.rglob("*")), partial]:
        _sync(path)
    partial.rename(folder)
    _sync(folder.parent)


def fingerprint(value: Any) -> str:
    """Return the hex sha256 of a value's content.

    Parameters
    ----------
    value : object
        None, a number, text, an array, a dataclass, a mapping, set or sequence of these. A ``Path`` stands for the
        content of the file, or of all files of the folder, and not for its place.

    Raises
    ------
    TypeError
        For anything else.
    """
    digest = hashlib.sha256()
    _feed(digest.update, value)
    return digest.hexdigest()


def _feed(update: Callable[[bytes], object], value: Any) -> None:
    # Each part begins with its kind and size: no two values run together into the same bytes.
    if isinstance(value, str):
        text = value.encode()
        update(b"text %d " % len(text) + text)
    elif value is None or isinstance(value, bool | int | float | np.generic):
        update(f"value {value!r} ".encode())
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        update(f"array {value.dtype.str} {value.shape} ".encode())
        update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Path):
        files = sorted(p for p in value.rglob("*") if p.is_file()) if value.is_dir() else [value]
        update(b"files %d " % len(files))
        for path in files:
            with path.open("rb") as handle:
                _feed(update, path.relative_to(value).as_posix())
                update(hashlib.file_digest(handle, "sha256").digest())
    elif dataclasses.is_dataclass(value):
        _feed(update, {field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    elif isinstance(value, Mapping):
        update(b"mapping %d " % len(value))
        for key in sorted(value, key=repr):
            _feed(update, key)
            _feed(update, value[key])
    elif isinstance(value, Set):
        _feed(update, sorted(value, key=repr))
    elif isinstance(value, list | tuple | np.ndarray):
        update(b"sequence %d " % len(value))
        for part in value:
            _feed(update, part)
    else:
        raise TypeError(f"{type(value).__name__} has no fingerprint: give its content as numbers, text or arrays.")


def _hold(folder: Path) -> IO[str]:
    """Lock the folder for as long as this process lives; the system lets go of the lock however that ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
    except OSError as error:
        raise InputError(
            f"the run folder {folder} cannot be written: {error.strerror or error}. Choose another folder."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise InputError(
            f"another process is at work in the run folder {folder}. Wait for it, or choose another folder."
        ) from error
    return lock


def _problem_of_disk(error: BaseException) -> str | None:
    """What an error says of the disk, if that is what it is about."""
    # Writers in other languages (safetensors, onnxruntime) raise errors of their own with the system's words.
    known = {code: os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)}
    code = getattr(error, "errno", None)
    found = known.get(code) if code else next((text for text in known.values() if text in str(error)), None)
    return found or (None if error.__cause__ is None else _problem_of_disk(error.__cause__))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

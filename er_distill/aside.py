"""Arrays put aside on disk between two passes over the same chunks."""

from __future__ import annotations

import io
import logging
import shutil
import tempfile
from types import TracebackType
from typing import cast

import numpy as np

logger = logging.getLogger("er_distill")


class Aside:
    """Puts arrays aside in a temporary file without a name, and gives them back in their order.

    Where the disk of the temporary folder (``TMPDIR``) has not twice the room, or gets full, nothing is kept: who puts
    aside must be able to make the arrays again.

    Parameters
    ----------
    n_bytes : int
        What all arrays will take together; 0 keeps nothing.
    """

    def __init__(self, n_bytes: int) -> None:
        self._file: io.RawIOBase | None = None
        folder = tempfile.gettempdir()
        if n_bytes and shutil.disk_usage(folder).free > 2 * n_bytes:
            file = tempfile.TemporaryFile(prefix="er_distill-", buffering=0)  # noqa: SIM115 - `_drop` closes it
            self._file = cast(io.RawIOBase, file)
        elif n_bytes:
            logger.info("%s has no room for %.1f GB: similarities are made twice.", folder, n_bytes / 1e9)

    def __enter__(self) -> Aside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()

    def put(self, array: np.ndarray) -> None:
        """Put a C-contiguous array aside."""
        if self._file is None:
            return
        try:
            whole = self._file.write(array.data.cast("B")) == array.nbytes
        except OSError as error:
            logger.info("the temporary folder cannot keep similarities: %s", error)
            whole = False
        if not whole:
            self._drop()

    def rewind(self) -> None:
        """Go back to the first array."""
        if self._file is not None:
            self._file.seek(0)

    def take(self, into: np.ndarray) -> bool:
        """Read the next array into one of its shape and dtype; False where it was not kept."""
        return self._file is not None and self._file.readinto(into.data.cast("B")) == into.nbytes

    def _drop(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

"""Which file formats there are, and whether a file is what its ending says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from er_distill.errors import InputError, did_you_mean

ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")

# First bytes that give a file of another kind away.
_MAGIC = {
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "a gzip file",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}


@dataclass(frozen=True)
class Format:
    """What the ending of a path says.

    Attributes
    ----------
    ending : str
        One of `ENDINGS`.
    """

    ending: str

    @property
    def parquet(self) -> bool:
        """Whether it is Parquet, and otherwise text."""
        return self.ending == ".parquet"

    @property
    def gzip(self) -> bool:
        """Whether the text is compressed."""
        return self.ending.endswith(".gz")


def format_of(path: Path) -> Format:
    """Return the format that the ending of `path` names.

    Raises
    ------
    InputError
        When it is none of `ENDINGS`.
    """
    name = path.name.lower()
    for ending in ENDINGS:
        if name.endswith(ending):
            return Format(ending)
    raise InputError(f"{path}: the ending says no known format. Use one of {', '.join(ENDINGS)}.")


def check_first_bytes(path: Path, form: Format) -> None:
    """Raise InputError when a file is missing, empty, or of another kind than `form`."""
    if path.is_dir():
        raise InputError(f"{path} is a folder. Name a file in it.")
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.{_near(path)}") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}. Check the path and its permissions."
        ) from error
    if not start:
        raise InputError(f"{path} is empty. Check how it was made.")
    found = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "text or another format")
    wanted = "a Parquet file" if form.parquet else "a gzip file" if form.gzip else "text or another format"
    if found == wanted:
        return
    if found == "text in UTF-16":
        raise InputError(f"{path} is {found}. Save it as UTF-8 (in Excel: 'CSV UTF-8').")
    raise InputError(
        f"{path} is {found}, not {form.ending} as its ending says. "
        f"Rename it, or save it as one of {', '.join(ENDINGS)}."
    )


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f" There is no folder {path.parent} either. Check the path."
    tables = [entry.name for entry in path.parent.iterdir() if entry.name.lower().endswith(ENDINGS)]
    return f" {did_you_mean(path.name, tables)}" if tables else " Check the path."


def first_line(error: BaseException) -> str:
    """Return the first line of an error's own message, as a sentence."""
    text = str(error).strip().split("\n")[0].rstrip(".")
    return f"{text}."

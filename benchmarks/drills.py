"""Faults made on purpose: processes killed, disks filled, files broken, students swapped; and what is left after them.

    python -m benchmarks.drills

Every drill scores the same 5,608 candidate pairs of generated people in a process of its own, in chunks, and
breaks something while it runs: for real, with SIGKILL, a full tmpfs (in a mount namespace of its own: `unshare`), bytes
overwritten on the disk. Then the run is resumed. Each drill says what the failing process said, how many pairs were
finished by then, how many of these were scored again (there must be none), and whether the output is that of an
undisturbed run to the last bit. Some four minutes on two cores. docs/faults.md shows the result; a test sees to it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.drill_site import PATIENCE, Outcome, Site, child, prepare, python
from benchmarks.provenance import ROOT, Benchmark, Target
from er_distill.artefact import MANIFEST
from er_distill.errors import ErDistillError


def killed(site: Site) -> Outcome:
    """Kill a scoring process, at three moments of a chunk."""
    for seconds in (0.0, 0.1, 0.2):
        site.kill("", seconds)
    return site.outcome("killed (SIGKILL) in the middle of a chunk, three times", site.run())


def killed_link(site: Site) -> Outcome:
    """Kill a link."""
    for seconds in (0.0, 0.2):
        site.kill("matches.parquet", seconds)
    said = site.run("matches.parquet")
    return site.outcome("`link` killed in the same way, twice", said, "matches.parquet", "linked.parquet")


def full_disk(site: Site) -> Outcome:
    """Leave a disk room for a few chunks, then give it more; `inside` has mounted a tmpfs at the folder."""
    used = os.statvfs(site.folder)
    _remount(site.folder, (used.f_blocks - used.f_bfree) * used.f_frsize + 96 * 1024)
    said = site.run()
    _remount(site.folder, 256 * 2**20)
    site.run()
    return site.outcome("disk full (ENOSPC of a small tmpfs), then made larger", said)


def broken_page(site: Site) -> Outcome:
    """Overwrite a page of the input before the run."""
    whole = site.pairs.read_bytes()
    where = pq.read_metadata(site.pairs).row_group(3).column(2).data_page_offset
    site.pairs.write_bytes(whole[:where] + bytes(64) + whole[where + 64 :])
    said = site.run()
    site.pairs.write_bytes(whole)
    site.run()
    return site.outcome("a page of the input overwritten; then repaired", said)


def cut_off(site: Site) -> Outcome:
    """Cut the input off before the run."""
    whole = site.pairs.read_bytes()
    site.pairs.write_bytes(whole[: len(whole) // 2])
    said = site.run()
    site.pairs.write_bytes(whole)
    site.run()
    return site.outcome("the input cut off; then repaired", said)


def cut_off_meanwhile(site: Site) -> Outcome:
    """Cut the input off during the run."""
    whole = site.pairs.read_bytes()
    process = site.start()
    site.wait(process, 2)
    site.pairs.write_bytes(whole[: len(whole) // 2])
    said = site.end(process)
    site.pairs.write_bytes(whole)
    site.run()
    return site.outcome("the input cut off during the run; then repaired", said)


def swapped_student(site: Site) -> Outcome:
    """Put another student in the place of the one that scores."""
    manifest = site.student / MANIFEST
    before = manifest.read_text(encoding="utf-8")
    process = site.start()
    site.wait(process, 2)
    manifest.write_text(json.dumps(json.loads(before) | {"name": "another"}), encoding="utf-8")
    said = [site.end(process), site.run()]
    manifest.write_text(before, encoding="utf-8")
    site.run()
    return site.outcome("the student's folder swapped; resumed with the other; then put back", " Then: ".join(said))


def two_at_once(site: Site) -> Outcome:
    """Start a second process with the output of the first."""
    first = site.start()
    site.wait(first, 1)
    first.send_signal(signal.SIGSTOP)  # else it might be done before the second is there
    said = site.run()
    first.send_signal(signal.SIGCONT)
    site.end(first)
    return site.outcome("two processes with one output at once", said)


def one_shard_twice(site: Site) -> Outcome:
    """Start shard 1/2 twice and 2/2 never, and put them together."""
    tables = [str(site.folder / f"{name}.parquet") for name in ("left", "right")]
    scored = [str(site.folder / f"part-{k}.parquet") for k in (1, 2)]
    student = ["--student", str(site.student)]

    def shard(number: int, output: str) -> subprocess.Popen[str]:
        options = ["--matching", "all", "--shard", f"{number}/2", "--resume", "-o", output]
        return python("-c", _COMMAND, "link", *tables, *options, *student)

    def together() -> str:
        options = ["--scored", scored[0], "--scored", scored[1], "-o", str(site.folder / "matches.parquet")]
        said = python("-c", _COMMAND, "link", *tables, *options, *student).communicate(timeout=PATIENCE)[1]
        return said.strip().splitlines()[-1].replace(f"{site.folder}/", "")

    for process in [shard(1, output) for output in scored]:
        process.communicate(timeout=PATIENCE)
    said = together()
    shard(2, scored[1]).communicate(timeout=PATIENCE)
    together()
    return site.outcome("shard 1/2 started twice, 2/2 never; then 2/2", said, "matches.parquet", "linked.parquet")


def removed(site: Site) -> Outcome:
    """Remove the finished chunks under a run."""
    process = site.start()
    site.wait(process, 2)
    shutil.rmtree(site.folder / "scored.parquet.parts", ignore_errors=True)
    said = site.end(process)
    site.run()
    return site.outcome("the folder of finished chunks removed during the run; then started again", said)


DRILLS: dict[str, Callable[[Site], Outcome]] = {
    drill.__name__: drill
    for drill in (
        killed, killed_link, full_disk, broken_page, cut_off, cut_off_meanwhile, swapped_student, two_at_once,
        one_shard_twice, removed,
    )
}  # fmt: skip

PAGE = ROOT / "docs" / "faults.md"
START, END = "<!-- drills:start -->", "<!-- drills:end -->"
_COMMAND = "from er_distill.cli import main; main()"


def drilled(name: str, prepared: Path, folder: Path) -> Outcome:
    """Run a drill in a copy of what is prepared."""
    if name == "full_disk" and not os.path.ismount(folder):
        folder.mkdir()
        inside = 'mount -t tmpfs tmpfs "$0" && exec "$@"'
        command = [sys.executable, "-m", "benchmarks.drills", "--inside", name, str(prepared), str(folder)]
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inside, str(folder), *command],
            cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        return Outcome(**json.loads(done.stdout))
    shutil.copytree(prepared, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.log"))
    return DRILLS[name](Site(folder))


def table(outcomes: dict[str, dict[str, Any]]) -> str:
    """The rows of docs/faults.md."""
    lines = [
        "| fault | what the run says | finished, then scored again | rows lost | output |",
        "|---|---|---|---|---|",
    ]
    for one in outcomes.values():
        said = one["said"].replace("|", "\\|") or "(killed: nothing)"
        again = f"{one['finished']:,}, {one['again']:,}"
        lines.append(f"| {one['fault']} | {said} | {again} | {one['lost']:,} | {'same' if one['same'] else 'OTHER'} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(DRILLS), action="append")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/drills.json")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--link", default="", help=argparse.SUPPRESS)
    parser.add_argument("--inside", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        try:
            child(args.child, args.link)
        except ErDistillError as error:
            sys.exit(str(error))
        return
    if args.inside:
        name, prepared, folder = args.inside
        print(json.dumps(asdict(drilled(name, Path(prepared), Path(folder)))))
        return
    benchmark = Benchmark("drills")
    outcomes = {}
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared"
        prepare(prepared)
        for name in args.only or DRILLS:
            outcomes[name] = asdict(drilled(name, prepared, Path(scratch) / name))
            print(table({name: outcomes[name]}).splitlines()[-1], flush=True)
    targets = [
        Target("finished pairs that were scored again, over all drills", sum(one["again"] for one in outcomes.values()),
               at_most=0),
        Target("rows lost, over all drills", sum(abs(one["lost"]) for one in outcomes.values()), at_most=0),
        Target("outputs that differ from the undisturbed one", sum(not one["same"] for one in outcomes.values()),
               at_most=0),
    ]  # fmt: skip
    benchmark.write(outcomes, targets, args.output)
    if not args.only and args.output is None:
        PAGE.write_text(with_rows(PAGE.read_text(encoding="utf-8"), table(outcomes)), encoding="utf-8")


def with_rows(page: str, rows: str) -> str:
    """Put the rows into docs/faults.md."""
    before, rest = page.split(START, 1)
    return f"{before}{START}\n{rows}{END}{rest.split(END, 1)[1]}"


def _remount(folder: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


if __name__ == "__main__":
    main()

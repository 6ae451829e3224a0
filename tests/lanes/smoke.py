"""Link two small tables with an installed er_distill, from the command line, as its first user would.

Run by the `wheel` lane in an empty environment: standard library only, nothing from the source tree.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

LEFT = """\
id,name,street,city,phone
a1,Katherine Johnson,12 Orbit Road,Hampton,757-555-0112
a2,Dorothy Vaughan,4 Compiler Street,Newport News,757-555-0164
a3,Mary Jackson,77 Wind Tunnel Lane,Norfolk,757-555-0199
a4,Grace Hopper,1906 Cobol Avenue,Arlington,703-555-0141
a5,Annie Easley,33 Rocket Drive,Cleveland,216-555-0177
a6,Evelyn Boyd Granville,8 Project Court,Washington,202-555-0103
"""
RIGHT = """\
id,name,street,city,phone
b1,Grace M. Hopper,1906 Cobol Ave,Arlington,703-555-0141
b2,Kathrine Johnson,12 Orbit Rd.,Hampton,757-555-0112
b3,Anne Easley,33 Rocket Drive,Cleveland,216-555-0177
b4,Dorothy Vaughn,4 Compiler St,Newport News,757-555-0164
b5,Valerie Thomas,61 Landsat Crescent,Baltimore,410-555-0158
b6,Mary W. Jackson,77 Wind Tunnel Ln,Norfolk,757-555-0199
"""
TRUTH = {("a1", "b2"), ("a2", "b4"), ("a3", "b6"), ("a4", "b1"), ("a5", "b3")}


def main() -> None:
    here = Path.cwd()
    (here / "left.csv").write_text(LEFT, encoding="utf-8")
    (here / "right.csv").write_text(RIGHT, encoding="utf-8")
    command = Path(sys.executable).with_name("er-distill")
    subprocess.run([command, "link", "left.csv", "right.csv", "-o", "matches.csv"], check=True, cwd=here)
    with open(here / "matches.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(row["left_id"], row["right_id"]) for row in rows}
    if found != TRUTH or len(rows) != len(TRUTH):
        sys.exit(f"matches.csv: missed {sorted(TRUTH - found)}, wrong {sorted(found - TRUTH)}, {len(rows)} rows")
    if not all(0.0 <= float(row["score"]) <= 1.0 for row in rows):
        sys.exit(f"matches.csv: a score is not a probability: {[row['score'] for row in rows]}")

    import er_distill

    if here not in Path(er_distill.__file__).parents:
        sys.exit(f"er_distill was imported from {er_distill.__file__}, not from the installed wheel")
    print(f"The installed wheel linked two tables: {len(rows)} of {len(TRUTH)} matches.")


if __name__ == "__main__":
    main()

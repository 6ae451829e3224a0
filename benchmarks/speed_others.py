"""Peers of `speed` that live in an environment of their own: fastembed's cross-encoder, and Splink on DuckDB.

    <python of that environment> benchmarks/speed_others.py <fastembed or splink> <job folder>

It imports nothing of this project. The job folder holds what `speed` put there, and gets ``result.json``: the seconds
of one run over all pairs, loading and warming up not counted; scores where the peer has any; versions.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

WARM_UP = 64  # pairs


def main() -> None:
    peer, folder = sys.argv[1], Path(sys.argv[2])
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    seconds, scores = {"fastembed": fastembed, "splink": splink}[peer](folder, job)
    packages = {"fastembed": ("fastembed", "onnxruntime"), "splink": ("splink", "duckdb")}[peer]
    versions = {name: metadata.version(name) for name in packages}
    result = {"seconds": seconds, "scores": scores, "versions": versions}
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def fastembed(folder: Path, job: dict[str, Any]) -> tuple[float, list[float]]:
    """`TextCrossEncoder.rerank_pairs` with the float32 graph of the same weights; scores are logits."""
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    TextCrossEncoder.add_custom_model(
        "local/encoder", ModelSource(hf="local/encoder"), model_file="encoder.column.onnx"
    )
    encoder = TextCrossEncoder("local/encoder", specific_model_path=job["model"], threads=job["threads"])
    pairs = [tuple(pair) for pair in json.loads((folder / "texts.json").read_text(encoding="utf-8"))]
    list(encoder.rerank_pairs(pairs[:WARM_UP]))
    started = time.perf_counter()
    scores = [float(score) for score in encoder.rerank_pairs(pairs)]
    return time.perf_counter() - started, scores


def splink(folder: Path, job: dict[str, Any]) -> tuple[float, None]:
    """Jaro-Winkler levels of each shared field, from tables in memory to match weights in memory.

    Its default m and u stand in: the cost of a pair does not depend on them, so it has no decisions to compare either.
    """
    import duckdb
    import pyarrow.parquet as pq
    import splink.comparison_library as library
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    # A row a pair on both sides and a rule that joins them: exactly the given pairs are scored.
    settings = SettingsCreator(
        link_type="link_only",
        comparisons=[library.JaroWinklerAtThresholds(field, [0.9, 0.7]) for field in job["fields"]],
        blocking_rules_to_generate_predictions=[block_on("pair")],
        retain_matching_columns=False,
    )
    api = DuckDBAPI(duckdb.connect(":memory:", config={"threads": job["threads"]}))
    tables = [api.register(pq.read_table(folder / f"{side}.parquet"), dataset_display_name=side) for side in ("a", "b")]
    linker = Linker(tables, settings, log_level=logging.CRITICAL)
    started = time.perf_counter()
    scored = linker.inference.predict().as_pyarrow_table()
    seconds = time.perf_counter() - started
    if len(scored) != job["pairs"]:
        raise SystemExit(f"Splink scored {len(scored)} pairs, not {job['pairs']}")
    return seconds, None


if __name__ == "__main__":
    main()

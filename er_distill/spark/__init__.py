"""Spark DataFrames scored and linked: `link`, `dedupe` and `score_pairs` as in `er_distill`, for clusters that exist.

The same options, column names, rules and results as the doors of the same name for pandas, polars and Arrow. What runs
where, and what it needs: docs/spark.md. The only package that imports pyspark, when it is used and not before.
"""

from __future__ import annotations

from er_distill.spark.doors import dedupe, link, score_pairs

__all__ = ["dedupe", "link", "score_pairs"]

"""Spark: the results of one machine whatever the cluster does with the work, and whatever goes wrong on it."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import er_distill
from er_distill import Exact, InputError, MissingExtraError, StudentError, TopK, artefact
from er_distill import spark as doors
from er_distill.spark import students
from er_distill.spark.students import StudentAt
from tests.fake_student import needs_bundled_student
from tests.small_lists import addresses, student

pytestmark = [
    # PySpark's own: sockets that its garbage collector closes, and its word on pandas 3.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyspark"),
    pytest.mark.filterwarnings("ignore:The recursion limit will not be reset"),  # it raises it; Hypothesis notices
]
few = settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
RULES = [
    None,
    [TopK(2, "mutual"), Exact("locality")],
    [TopK(3, "left"), TopK(4, "mutual"), Exact("province", "postal_code")],
]


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    """Two workers on this machine; a task that fails is tried three times."""
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        pytest.skip("no Java on this machine: Spark needs Java 17 or 21")
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2, 3]").appName("er_distill")
    for name, value in {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",  # a quick start counts here
        "spark.driver.host": "127.0.0.1",
        "spark.log.level": "FATAL",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "40",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }.items():
        builder = builder.config(name, value)
    found = builder.getOrCreate()
    yield found
    found.stop()
    gc.collect()  # its sockets, while what they say is still ignored


@cache
def streets() -> pa.Table:
    """A table with duplicates in it."""
    lists = addresses()
    columns = [name for name in lists.left.column_names if name in lists.right.column_names]
    return pa.concat_tables([lists.left.select(columns), lists.right.select(columns)])


def rows(table: Any) -> list[dict[str, Any]]:
    """The rows of a table in an order that does not depend on how it came about."""
    table = table if isinstance(table, pa.Table) else table.toArrow()
    return sorted(table.to_pylist(), key=repr)


@pytest.mark.needs("pyspark", "onnxruntime")
@needs_bundled_student
class TestResults:
    @few
    @given(
        seed=st.integers(0, 99), partitions=st.integers(1, 5), chunk_size=st.integers(20, 300), context=st.booleans()
    )
    def test_scores_of_pairs(self, session: Any, seed: int, partitions: int, chunk_size: int, context: bool) -> None:
        lists = addresses()
        table = lists.table.take(np.random.default_rng(seed).permutation(len(lists.pairs)))
        frames = [session.createDataFrame(one) for one in (table, lists.left, lists.right)]
        found = doors.score_pairs(*frames, context=context, partitions=partitions, chunk_size=chunk_size)
        wanted = er_distill.score_pairs(table, lists.left, lists.right, student=student(), context=context)
        assert found.columns == wanted.column_names
        assert rows(found) == rows(wanted)

    @pytest.mark.parametrize("context", [True, False])
    def test_scores_of_one_table_with_pairs_from_either_end(self, session: Any, context: bool) -> None:
        table = streets()
        once = pa.table(er_distill.link(addresses().left, addresses().right, student=student(), top_k=3))
        once = once.select(["left_id", "right_id"])
        again = once.select(["right_id", "left_id"]).rename_columns(["left_id", "right_id"]).slice(0, 40)
        pairs = pa.concat_tables([once, again, once.slice(0, 10)])
        found = doors.score_pairs(
            session.createDataFrame(pairs), session.createDataFrame(table), context=context, partitions=2
        )
        assert rows(found) == rows(er_distill.score_pairs(pairs, table, student=student(), context=context))

    @pytest.mark.parametrize("blocking", RULES)
    def test_candidates_and_scores_of_link(self, session: Any, blocking: Any) -> None:
        left, right = addresses().left, addresses().right
        options: dict[str, Any] = {"blocking": blocking, "matching": "all", "threshold": 0.0}
        found = doors.link(session.createDataFrame(left), session.createDataFrame(right), partitions=2, **options)
        assert rows(found) == rows(er_distill.link(left, right, student=student(), **options))

    @pytest.mark.parametrize("blocking", RULES)
    def test_candidates_and_scores_of_dedupe(self, session: Any, blocking: Any) -> None:
        """At a threshold of 0 a component is what candidates join; average linkage weighs every score."""
        for options in ({"threshold": 0.0}, {"threshold": 0.4, "clustering": "average"}):
            found = doors.dedupe(session.createDataFrame(streets()), partitions=2, blocking=blocking, **options)
            wanted = er_distill.dedupe(streets(), student=student(), blocking=blocking, **options)
            assert found.columns == wanted.column_names
            assert rows(found) == rows(wanted)

    @pytest.mark.parametrize(
        "options",
        [
            {"how": "inner"},
            {"optimal": True, "threshold": 0.2, "context": False},
            {"matching": "many_to_one", "how": "left", "suffixes": ("_a", "_b")},
            {"matching": "best", "blocking": [TopK(3, "left")]},
            {"top_k": 2, "threshold": 0.1, "how": "left"},
        ],
        ids=str,
    )
    def test_matches(self, session: Any, options: dict[str, Any]) -> None:
        rng = np.random.default_rng(1)
        left, right = (
            table.take(rng.permutation(len(table))).append_column("a.b", pa.array(range(len(table))))
            for table in (addresses().left, addresses().right)
        )
        found = doors.link(session.createDataFrame(left), session.createDataFrame(right), partitions=2, **options)
        wanted = er_distill.link(left, right, student=student(), **options)
        assert found.columns == wanted.column_names
        assert rows(found) == rows(wanted)

    def test_names_types_and_pairs_of_the_caller(self, session: Any) -> None:
        left = (
            addresses().left.drop_columns("id").append_column("key", pa.array(range(100, 100 + len(addresses().left))))
        )
        right = addresses().right.rename_columns(
            ["id" if n == "id" else f"{n}.2" for n in addresses().right.column_names]
        )
        pairs = pa.table({"left_id": [100, 100, 101, 100], "right_id": ["b1", "b2", "b1", "b1"]})  # one is there twice
        on: dict[str, Any] = {
            "left_on": ["address_1", "locality"],
            "right_on": ["address_1.2", "locality.2"],
            "id": ("key", "id"),
        }
        on |= {"matching": "all", "threshold": 0.0}
        frames = [session.createDataFrame(table) for table in (left, right, pairs)]
        found = doors.link(*frames[:2], pairs=frames[2], **on)
        wanted = er_distill.link(left, right, pairs=pairs, student=student(), **on)
        assert len(wanted) == 3
        assert found.toArrow().sort_by("score").equals(wanted.sort_by("score"))

    def test_tables_that_share_nothing(self, session: Any) -> None:
        left = session.createDataFrame([(1, "aaaa"), (2, "bbbb")], ["id", "name"])
        right = session.createDataFrame([(1, "cccc")], ["id", "name"])
        with pytest.warns(er_distill.ErDistillWarning, match="no candidate pair in left and right"):
            assert doors.link(left, right, partitions=1).count() == 0


@pytest.mark.needs("pyspark", "onnxruntime")
@needs_bundled_student
class TestFaults:
    def test_worker_that_is_killed(self, session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each kind of task loses its process once, after its first batch: nothing is lost, nothing is there twice."""
        from pyspark.sql.classic.dataframe import DataFrame

        run = DataFrame.mapInArrow

        def lethal(frame: Any, function: Any, schema: Any, **options: Any) -> Any:
            mark = str(tmp_path / function.func.__name__)

            def killed_once(batches: Any) -> Any:
                for batch in function(batches):
                    yield batch
                    try:
                        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
                    except FileExistsError:
                        continue
                    os.kill(os.getpid(), signal.SIGKILL)

            return run(frame, killed_once, schema, **options)

        monkeypatch.setattr(DataFrame, "mapInArrow", lethal)
        left, right = addresses().left, addresses().right
        options: dict[str, Any] = {"matching": "all", "threshold": 0.0, "chunk_size": 30}
        found = doors.link(session.createDataFrame(left), session.createDataFrame(right), partitions=2, **options)
        assert rows(found) == rows(er_distill.link(left, right, student=student(), **options))
        pairs = addresses().table.slice(0, 90)
        frames = map(session.createDataFrame, (pairs, left, right))
        scored = doors.score_pairs(*frames, partitions=2, chunk_size=30)
        assert rows(scored) == rows(er_distill.score_pairs(pairs, left, right, student=student()))
        once = doors.dedupe(session.createDataFrame(streets()), partitions=2, chunk_size=30)
        assert rows(once) == rows(er_distill.dedupe(streets(), student=student()))
        kinds = {"_opened", "block", "look_up", "summarise", "decide_lists", "score_rows", "score_codes"}
        assert {path.name for path in tmp_path.iterdir()} == kinds

    @pytest.mark.parametrize(
        ("harm", "said"),
        [
            (lambda folder: (folder / "trees.onnx").write_bytes(b"not a graph"), "trees.onnx"),
            (
                lambda folder: (folder / "student.json").write_bytes((folder / "student.json").read_bytes() + b"\n"),
                "another student",
            ),
            (lambda folder: folder.rename(folder.with_name("elsewhere")), "is not on worker .*addFile"),
        ],
        ids=["corrupt", "swapped", "missing"],
    )
    def test_student_that_is_harmed_on_a_worker(
        self,
        session: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        harm: Callable[[Path], object],
        said: str,
    ) -> None:
        folder = copied_student(tmp_path / "shop-students")
        after_driver(monkeypatch, lambda: harm(folder))
        frame = session.createDataFrame(addresses().left)
        with pytest.raises(StudentError, match=said):
            doors.dedupe(frame, student=folder, partitions=1)

    def test_student_that_is_shipped(self, session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = copied_student(tmp_path / "shipped-student")
        session.sparkContext.addFile(str(folder), recursive=True)
        session.range(1).count()  # every worker fetches it before its first task
        after_driver(monkeypatch, lambda: folder.rename(tmp_path / "only the driver had it"))
        frame = session.createDataFrame(streets())
        found = doors.dedupe(frame, student=folder, partitions=2)
        assert rows(found) == rows(er_distill.dedupe(streets(), student=student()))

    def test_student_is_opened_once_a_worker(self, session: Any) -> None:
        def opened(batches: Any) -> Any:
            from er_distill.spark.students import _loaded

            for _ in batches:
                yield pa.RecordBatch.from_pydict({"pid": [os.getpid()], "times": [_loaded.cache_info().misses]})

        def times() -> dict[int, int]:
            probe = session.range(0, 8, 1, 8).mapInArrow(opened, "pid long, times long").toArrow()
            return {row["pid"]: row["times"] for row in probe.to_pylist()}

        frame = session.createDataFrame(streets())
        doors.dedupe(frame, partitions=4)
        before = times()
        doors.dedupe(frame, partitions=4)
        after = times()
        assert any(before.values())
        assert {pid: after[pid] for pid in before if pid in after} == {
            pid: before[pid] for pid in before if pid in after
        }


@pytest.mark.needs("pyspark", "onnxruntime")
@needs_bundled_student
class TestErrors:
    @pytest.fixture
    def people(self, session: Any) -> Any:
        return session.createDataFrame([(1, "ann", "x"), (2, "bob", "y"), (3, "cy", "z")], ["id", "name", "entity_id"])

    def test_input(self, session: Any, people: Any) -> None:
        pairs = session.createDataFrame([(1, 2), (1, 9)], ["left_id", "right_id"])
        twice = session.createDataFrame([(1, "ann"), (1, "bob")], ["id", "name"])
        refused: list[tuple[Callable[[], Any], str]] = [
            (lambda: doors.link(pa.table({"id": [1]}), people), "left is a pyarrow.*spark.createDataFrame"),
            (lambda: doors.link(people, people, columns=["nam"]), "left has no column 'nam'. Did you mean 'name'"),
            (lambda: doors.link(people, people, id="key"), "left has no column 'key'"),
            (lambda: doors.link(people.drop("id"), people), "left has no column 'id'.*id="),
            (lambda: doors.link(people, twice), "right: id column 'id' has 1 more than once"),
            (lambda: doors.link(people, people.where("id > 5")), "right has no rows"),
            (lambda: doors.link(people, people, matching="some"), "matching='some' is not known"),
            (lambda: doors.link(people, people, how="outer"), "how='outer' is not known"),
            (
                lambda: doors.link(people, people, how="left", suffixes=("", "")),
                "suffixes=.* give two columns the name 'name'",
            ),
            (
                lambda: doors.link(people, people, blocking=[Exact("town")]),
                "blocking: no compared column 'town' on both",
            ),
            (lambda: doors.link(people, people, blocking=[], pairs=pairs), "pairs= brings candidate pairs"),
            (lambda: doors.link(people, people, student=SimpleNamespace()), "student=.* cannot be sent to workers"),
            (lambda: doors.link(people, people, partitions=0), "partitions=0 must be at least 1"),
            (lambda: doors.dedupe(people), "frame has a column 'entity_id' already"),
            (lambda: doors.dedupe(people, entity_column="entity", threshold=2), "threshold=2 must be a number"),
            (lambda: doors.score_pairs(people, people), "pairs has no column 'left_id'"),
            (lambda: doors.score_pairs(pairs.selectExpr("*", "1 as score"), people), "pairs has a column 'score'"),
            (lambda: doors.score_pairs(pairs, people, id=("id", "id")), "left_on, right_on and a pair of ids need two"),
            (lambda: doors.score_pairs(pairs, people, partitions=1), "pairs: column 'right_id' names 1 id.* such as 9"),
        ]
        for call, said in refused:
            with pytest.raises(InputError, match=f"^{said}"):
                call()

    def test_student(self, people: Any) -> None:
        with pytest.raises(StudentError, match="no student 'shop'"):
            doors.link(people, people, student="shop")


def test_without_pyspark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    table = pa.table({"id": [1, 2], "name": ["ann", "bob"]})
    with pytest.raises(MissingExtraError, match=r"pip install 'er-distill\[spark\]'"):
        doors.dedupe(table)


@pytest.mark.needs("pyspark", "onnxruntime")
@needs_bundled_student
def test_page(session: Any) -> None:
    page = (Path(__file__).parent.parent / "docs" / "spark.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "docs/spark.md", "exec"), names)
    found = {(row["left_id"], row["right_id"]): row["score"] for row in rows(names["matches"])}
    assert found.keys() == {("s1", "f2"), ("s2", "f1")}
    assert {(row["left_id"], row["right_id"]) for row in rows(names["ranked"]) if row["rank"] == 1} >= found.keys()
    entity = {row["id"]: row["entity_id"] for row in rows(names["entities"])}
    assert entity["s1"] == entity["f2"] != entity["s2"] == entity["f1"]
    assert {(row["left_id"], row["right_id"]) for row in rows(names["scored"])} == found.keys()


@pytest.mark.needs("pyspark", "onnxruntime")
@needs_bundled_student
def test_profile_goes_to_the_tasks_that_open_a_student(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyspark.sql.classic.dataframe import DataFrame

    run, profile = DataFrame.mapInArrow, object()
    given_to = {}

    def recorded(frame: Any, function: Any, schema: Any, profile: Any = None) -> Any:
        given_to[function.func.__name__] = profile
        return run(frame, function, schema)

    monkeypatch.setattr(DataFrame, "mapInArrow", recorded)
    left, right = (session.createDataFrame(table) for table in (addresses().left, addresses().right))
    doors.link(left, right, partitions=2, profile=profile)  # type: ignore[arg-type]
    assert given_to == {"_opened": profile, "block": None, "summarise": None, "score_codes": profile}


@pytest.mark.needs("pyspark")
@pytest.mark.parametrize(
    ("device", "addresses_of_gpus", "variable", "threads", "wanted"),
    [
        ("auto", ["3"], "", None, ("cuda:3", 2)),
        ("cuda", ["0", "1"], "", 5, ("cuda:0", 5)),
        ("cpu", ["3"], "4", None, ("cpu", None)),
        ("auto", None, "", None, ("auto", 2)),
    ],
)
def test_device_and_threads_are_those_of_the_task(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    addresses_of_gpus: list[str] | None,
    variable: str,
    threads: int | None,
    wanted: tuple[str, int | None],
) -> None:
    from pyspark import TaskContext

    resources = {} if addresses_of_gpus is None else {"gpu": SimpleNamespace(addresses=addresses_of_gpus)}
    task = SimpleNamespace(cpus=lambda: 2, resources=lambda: resources)
    monkeypatch.setattr(TaskContext, "get", classmethod(lambda _: task))
    monkeypatch.setattr(students, "_loaded", lambda student: student)  # it says how it would be loaded
    monkeypatch.setenv("ER_DISTILL_THREADS", variable)
    opened: Any = StudentAt("default", "", device, threads).open()
    assert (opened.device, opened.threads) == wanted


def copied_student(folder: Path) -> Path:
    return Path(shutil.copytree(artefact.locate("default"), folder))


def after_driver(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], object]) -> None:
    """Let something happen when the driver has checked its student and no worker has."""
    digest = students.sha256

    def digest_then(path: Path) -> str:
        found = digest(path)
        happen()
        return found

    monkeypatch.setattr(students, "sha256", digest_then)

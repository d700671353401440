"""Limits of a calculation are kept by the system, whatever the engine makes of them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cohorts import engine_process
from cohorts.databases import InvalidIds, QueryFailed, open_database
from cohorts.engine_process import EngineProcess, Job
from events.engine import Limits, TimedOut, TooLarge

pytestmark = pytest.mark.once

LIMITS = Limits(memory_mb=500, threads=1, temp_mb=500, seconds=60)
# One value: DuckDB neither counts it nor can be interrupted in it.
GIGABYTE = "SELECT substring(repeat('x', 1000000000), 1, 10) AS user_id"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineProcess]:
    with EngineProcess(LIMITS, tmp_path) as engine:
        yield engine


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def ends(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_running(pid)


def test_a_value_that_outgrows_the_limit_of_memory_is_refused_by_the_system(engine: EngineProcess) -> None:
    with pytest.raises(TooLarge, match="more than 500 MB of memory"):
        engine.run(Job(GIGABYTE, target=str(engine.folder / "a")))
    engine.run(Job("SELECT 'u' AS user_id", target=str(engine.folder / "b"), ids=True))
    assert (engine.folder / "b").read_text() == '"u"\n'


def test_a_query_of_a_person_over_files_keeps_the_limit_of_memory(tmp_path: Path) -> None:
    files = open_database(f"duckdb://{tmp_path}")
    with pytest.raises(TooLarge):
        list(files.rows(GIGABYTE, {}, LIMITS, tmp_path))


def test_time_that_is_over_ends_the_process(engine: EngineProcess) -> None:
    engine.limits = replace(LIMITS, memory_mb=4_000, seconds=0.5)
    process = engine.start()
    with pytest.raises(TimedOut, match=r"longer than 0.5 seconds"):
        engine.run(Job(GIGABYTE, target=str(engine.folder / "a")))
    assert (process.returncode, engine.process) == (-9, None)


def test_a_process_that_is_ended_from_outside_is_an_error_and_the_next_job_has_another(
    engine: EngineProcess,
) -> None:
    engine.start().kill()
    with pytest.raises(TooLarge, match="signal 9"):
        engine.run(Job("SELECT 1 AS user_id", target=str(engine.folder / "a")))
    engine.run(Job("SELECT 1 AS user_id", target=str(engine.folder / "a"), ids=True))
    assert (engine.folder / "a").read_text() == '"1"\n'


def test_the_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from cohorts.engine_process import EngineProcess, Job; "
        "from events.engine import Limits; "
        f"engine = EngineProcess(Limits(500, 1, 500, None), Path({str(tmp_path)!r})); "
        "print(engine.start().pid, flush=True); "
        "engine.run(Job('SELECT count(*) AS user_id FROM range(1000000000000)', target='/dev/null'))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=engine_process.HERE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    assert ends(pid)


def test_the_process_knows_no_secret_of_the_site(engine: EngineProcess) -> None:
    process = engine.start()
    engine.run(Job("SELECT 1 AS user_id", target=str(engine.folder / "a")))
    names = {
        line.split("=")[0] for line in Path(f"/proc/{process.pid}/environ").read_text().split("\0") if line
    }
    assert names <= set(engine_process.INHERITED) and "DATABASE_URL" not in names


def test_what_fails_says_what_failed_and_the_process_goes_on(engine: EngineProcess) -> None:
    target = str(engine.folder / "a")
    process = engine.start()
    with pytest.raises(QueryFailed, match="nothing"):
        engine.run(Job("SELECT nothing AS user_id", target=target))
    with pytest.raises(InvalidIds, match="is blank: ' '"):
        engine.run(Job("SELECT ' ' AS user_id", target=target, ids=True))
    with pytest.raises(QueryFailed, match="not one SELECT"):
        engine.run(Job(f"COPY (SELECT 1) TO '{target}'", target=target))
    engine.run(Job(f"COPY (SELECT 7 AS n) TO '{target}.csv'"))
    assert Path(f"{target}.csv").read_text() == "n\n7\n"
    assert engine.process is process and os.getpid() != process.pid


def test_a_process_for_a_calculation_imports_no_django() -> None:
    script = "import sys, cohorts.engine_child; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=engine_process.HERE
    )
    assert not {"django", "sqlglot", "psycopg", "requests", "numpy"} & set(found.stdout.split())

"""Every engine gives the oracle's members, whatever the definition and the events."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cohorts.definitions import parse
from cohorts.tests import engines, oracle, strategies
from cohorts.tests.oracle import NeedsUsers, World
from events.engine import MissingTable

pytestmark = [pytest.mark.slow, pytest.mark.once]

# AGREE_EXAMPLES=2000 for the long form: each drawn definition costs an engine some hundredths of a second.
EXAMPLES = int(os.environ.get("AGREE_EXAMPLES", "20"))
drawn = settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
# What only adds a sample to definitions that are drawn anyway, or costs ClickHouse ten times as much.
few = settings(drawn, max_examples=max(EXAMPLES // 3, 1))


def expected(definition: dict[str, Any], world: World) -> list[str] | None:
    try:
        return sorted(oracle.members(definition, strategies.AS_OF, world))
    except NeedsUsers:
        return None


def agree_on_duckdb(definition: dict[str, Any], world: World, numbers: dict[str, int]) -> None:
    world = world._replace(users=world.users or None)
    with tempfile.TemporaryDirectory() as folder:
        layout = engines.duckdb_layout(world, Path(folder), numbers)
        try:
            found = engines.duckdb_members(parse(definition), world, layout)
        except MissingTable:
            assert expected(definition, world) is None or not world.events
            return
    assert found == expected(definition, world)


@drawn
@given(strategies.definitions, strategies.worlds, st.booleans())
def test_duckdb_over_our_files_gives_the_oracles_members(
    definition: dict[str, Any], world: World, columns: bool
) -> None:
    every = {name: i for i, name in enumerate(strategies.PROPERTIES)}
    agree_on_duckdb(definition, world, every if columns else {"p": 0})


@drawn
@given(strategies.sequences(), strategies.crowded(16))
def test_duckdb_finds_the_oracles_sequences(sequence: dict[str, Any], world: World) -> None:
    agree_on_duckdb({"version": 1, "where": sequence}, world, {"p": 0})


@few
@given(strategies.sampled, strategies.populated)
def test_duckdb_draws_the_oracles_samples(where: dict[str, Any], world: World) -> None:
    agree_on_duckdb({"version": 1, "where": where}, world, {"p": 0})


def agree_on_tables(
    engine: engines.PostgreSQLEngine | engines.ClickHouseEngine, definition: dict[str, Any], world: World
) -> None:
    engine.fill(world)
    try:
        found = engine.members(parse(definition), strategies.AS_OF, engines.tables(world))
    except MissingTable:
        assert expected(definition, world) is None
        return
    assert found == expected(definition, world)


@drawn
@given(definition=strategies.definitions, world=strategies.worlds)
def test_postgresql_gives_the_oracles_members(
    postgresql: engines.PostgreSQLEngine, definition: dict[str, Any], world: World
) -> None:
    agree_on_tables(postgresql, definition, world)


@drawn
@given(sequence=strategies.sequences(), world=strategies.crowded(16))
def test_postgresql_finds_the_oracles_sequences(
    postgresql: engines.PostgreSQLEngine, sequence: dict[str, Any], world: World
) -> None:
    agree_on_tables(postgresql, {"version": 1, "where": sequence}, world)


@drawn
@given(definition=strategies.definitions, world=strategies.worlds)
def test_clickhouse_gives_the_oracles_members(
    clickhouse: engines.ClickHouseEngine, definition: dict[str, Any], world: World
) -> None:
    agree_on_tables(clickhouse, definition, world)


@drawn
@given(sequence=strategies.sequences(), world=strategies.crowded(16))
def test_clickhouse_finds_the_oracles_sequences(
    clickhouse: engines.ClickHouseEngine, sequence: dict[str, Any], world: World
) -> None:
    agree_on_tables(clickhouse, {"version": 1, "where": sequence}, world)


@few
@given(where=strategies.sampled, world=strategies.populated)
def test_postgresql_draws_the_oracles_samples(
    postgresql: engines.PostgreSQLEngine, where: dict[str, Any], world: World
) -> None:
    agree_on_tables(postgresql, {"version": 1, "where": where}, world)


@few
@given(where=strategies.sampled, world=strategies.populated)
def test_clickhouse_draws_the_oracles_samples(
    clickhouse: engines.ClickHouseEngine, where: dict[str, Any], world: World
) -> None:
    agree_on_tables(clickhouse, {"version": 1, "where": where}, world)

"""What a role of PostgreSQL must not be able to do, so that a query of a person's own may run as it."""

from typing import Any

import psycopg

from events.engine import EngineError


class UnsafeRole(EngineError):
    code = "unsafe_role"


# Each yields what the role can do, in words, and one that it can do it with.
QUESTIONS = (
    (
        "is a superuser, or may make roles or databases, replicate or pass by row security",
        """SELECT rolname FROM pg_roles WHERE rolname IN (current_user, session_user)
           AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)""",
    ),
    (
        "is a member of {}",
        """SELECT rolname FROM pg_roles WHERE rolname LIKE 'pg\\_%'
           AND rolname NOT IN ('pg_read_all_data', 'pg_database_owner')
           AND pg_has_role(current_user, oid, 'MEMBER')""",
    ),
    (
        "owns the database {}",
        """SELECT datname FROM pg_database WHERE datname = current_database()
           AND pg_has_role(current_user, datdba, 'MEMBER')""",
    ),
    (
        "may change the table {}",
        """SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE c.relkind IN ('r', 'p', 'v', 'f', 'm')
           AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_t%'
           AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')""",
    ),
    (
        "may create things in the schema {}",
        """SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'
           AND has_schema_privilege(oid, 'CREATE')""",
    ),
    (
        "may call {}, which runs with another's rights, or outside of the database",
        """SELECT p.oid::regprocedure::text FROM pg_proc p
           JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
           LEFT JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
           LEFT JOIN pg_extension e ON e.oid = d.refobjid
           WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
           AND (p.prosecdef OR (NOT l.lanpltrusted AND e.oid IS NULL) OR e.extname = 'dblink')
           AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')""",
    ),
)
ADVICE = (
    "Queries of people run as a role that may read what cohorts may see, and nothing else; "
    "docs/behavioral.md, “A query instead”, has the statements that make one."
)


def check_role(connection: psycopg.Connection[Any]) -> None:
    """Raise UnsafeRole unless the connection's role can only read."""
    for said, question in QUESTIONS:
        found = connection.execute(question.encode() + b" LIMIT 1").fetchone()
        if found:
            role = connection.info.user
            raise UnsafeRole(f"The role {role!r} {said.format(found[0])}. {ADVICE}")

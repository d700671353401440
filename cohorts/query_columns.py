"""That `t.name` names a column, on PostgreSQL: where `t` has no column `name`, it calls the function name(t).

The columns are the database's own, asked for on the connection that runs the query.
"""

from collections.abc import Callable, Iterator

from sqlglot import exp

# The columns of a table, as it is written, in their order; empty when there is none.
Columns = Callable[[str], list[str]]


def calls_by_a_dot(query: exp.Query, columns: Columns) -> str | None:
    """Return the first `t.name` in the query that is not plainly a column; None when all are."""
    sources = Sources(query, columns)
    for column in query.find_all(exp.Column):
        if column.table and not isinstance(column.this, exp.Star) and not sources.has(column):
            return column.sql("postgres")
    return None


def folded(identifier: exp.Expr) -> str:
    """A name as PostgreSQL reads it: in small letters unless it is quoted."""
    name = identifier.name
    return name if isinstance(identifier, exp.Identifier) and identifier.quoted else name.lower()


class Sources:
    """What stands in FROM anywhere in a query, by the names that columns put before their dot."""

    def __init__(self, query: exp.Query, columns: Columns) -> None:
        self.columns = columns
        self.named: dict[str, list[exp.Expr]] = {}
        self.ctes: dict[str, list[exp.CTE]] = {}
        for cte in query.find_all(exp.CTE):
            self.ctes.setdefault(alias_of(cte), []).append(cte)
        for source in query.find_all(exp.Table, exp.Subquery, exp.UDTF):
            self.named.setdefault(alias_of(source), []).append(source)
        self.open: list[exp.Expr] = []

    def has(self, column: exp.Column) -> bool:
        """Whether each source of that name, wherever it stands, has the column."""
        sources = self.named.get(folded(column.args["table"]), [])
        name = folded(column.this)
        return bool(sources) and all(name in self.columns_of(source) for source in sources)

    def columns_of(self, source: exp.Expr) -> list[str]:
        if any(source is one for one in self.open):  # a recursive WITH: what its first part selects
            return []
        self.open.append(source)
        try:
            return renamed(source, self.own_columns(source))
        finally:
            self.open.pop()

    def own_columns(self, source: exp.Expr) -> list[str]:
        if isinstance(source, exp.Table):
            return self.columns_of_table(source)
        inner = source.this
        if isinstance(source, exp.Lateral) and isinstance(inner, exp.Subquery):
            inner = inner.this
        if isinstance(inner, exp.Query):
            return list(self.selected(inner))
        return [alias_of(source)]

    def columns_of_table(self, table: exp.Table) -> list[str]:
        if not isinstance(table.this, exp.Identifier):  # a function that makes rows
            return [alias_of(table)]
        ctes = [] if table.db else self.ctes.get(folded(table.this), [])
        if not ctes:
            return self.columns(
                exp.table_(table.this, table.args.get("db"), table.args.get("catalog")).sql("postgres")
            )
        found = [renamed(cte, list(self.selected(cte.this))) for cte in ctes]
        return [name for name in found[0] if all(name in other for other in found)] if found else []

    def selected(self, query: exp.Query) -> Iterator[str]:
        while isinstance(query, (exp.SetOperation, exp.Subquery)):
            query = query.this
        for one in query.selects:
            if not one.is_star:
                if isinstance(one, (exp.Alias, exp.Column)):  # else the database makes up a name
                    yield folded(one.args["alias"] if isinstance(one, exp.Alias) else one.this)
                continue
            of = folded(one.args["table"]) if isinstance(one, exp.Column) else None
            for source in sources_of(query):
                if of in (None, alias_of(source)):
                    yield from self.columns_of(source)


def sources_of(query: exp.Query) -> Iterator[exp.Expr]:
    from_ = query.args.get("from_")
    if from_:
        yield from_.this
    for join in query.args.get("joins") or []:
        yield join.this


def alias_of(source: exp.Expr) -> str:
    alias = source.args.get("alias")
    if alias is not None and alias.this is not None:
        return folded(alias.this)
    return folded(source.this) if isinstance(source.this, exp.Identifier) else ""


def renamed(source: exp.Expr, columns: list[str]) -> list[str]:
    """`AS t(a, b)` gives the first columns other names."""
    alias = source.args.get("alias")
    names = [folded(column) for column in (alias.args.get("columns") or [])] if alias is not None else []
    return [*names, *columns[len(names) :]]

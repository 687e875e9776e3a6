"""The matrix of access: which role reads which rows of which relation.

Belongs here: reading the seed ``access_rules`` and saying a rule as an SQL condition. What the
rules become on Postgres belongs in ``orchestration.access.catalogue``, what they cut out of a file
in ``orchestration.export``. Nothing that stands in no rule can be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ingest.errors import UserError
from ingest.settings import Settings
from orchestration.dbt_project import seed_rows
from orchestration.relations import READERS_SCHEMA, Relation

#: Roles of people. Who has no rule, as clients have none, sees nothing.
PEOPLE = ("admin", "superadmin", "monitor", "reader", "advisor", "creator", "brand", "client")

#: Schemas of which a rule opens every table at once.
WHOLE_SCHEMAS = ("raw", "ops", "intermediate")


@dataclass(frozen=True)
class Rule:
    """One cell of the matrix: a role may read a relation, or rows of it.

    Without ``own_column`` it reads all rows. Else those whose value is a subject of the person, or,
    with ``owners_relation``, whose value that relation gives to a subject in ``owners_column``.
    ``last_days`` dates are open, counted back from the newest of ``date_column``.
    """

    role: str
    schema: str
    relation: str
    own_column: str | None = None
    owners_relation: str | None = None
    owners_column: str | None = None
    last_days: int | None = None
    date_column: str | None = None

    @property
    def everything(self) -> bool:
        """Whether the role reads every row."""
        return self.own_column is None and self.last_days is None

    def condition(self, subjects: str, newest: str, owned: str | None = None) -> str:
        """Return the rows as an SQL condition.

        ``subjects`` and ``owned`` are queries of one column: what the person is, and what belongs
        to it by ``owners_relation``; ``newest`` is an expression of the relation's newest date.
        """
        parts = []
        if self.own_column:
            parts.append(f'"{self.own_column}" in ({owned if self.owners_relation else subjects})')
        if self.last_days is not None:
            parts.append(f'"{self.date_column}" > {newest} - {self.last_days}')
        return " and ".join(parts) or "true"


def read_matrix(settings: Settings, marts: Sequence[Relation]) -> list[Rule]:
    """Return the rules for the relations that there are.

    Raises:
        UserError: a rule names no relation, or a column that its relation does not have.

    """
    return list(expand(seed_rows(settings, "access_rules"), marts))


def expand(rows: Iterable[Mapping[str, str]], marts: Sequence[Relation]) -> Iterable[Rule]:
    """Yield a rule for each relation that a row of the seed names, patterns resolved.

    Raises:
        UserError: as ``read_matrix``.

    """
    known = {mart.name: mart for mart in marts}
    for row in rows:
        schema, _, pattern = row["relation"].rpartition(".")
        if schema in WHOLE_SCHEMAS:
            yield Rule(row["role"], schema, pattern)
            continue
        for mart in marts:
            if fnmatchcase(mart.name, pattern) and not (mart.is_view and row["own_column"]):
                yield _rule(row, mart, known)


def _rule(row: Mapping[str, str], mart: Relation, known: Mapping[str, Relation]) -> Rule:
    names = ("own_column", "owners_relation", "owners_column")
    own, owners, owner = (row[name] or None for name in names)
    where = f"access_rules.csv: {row['role']} on {mart.name}"
    for column, relation in ((own, mart), (own if owners else None, known.get(owners or ""))):
        if column and (relation is None or column not in relation.column_names):
            name = relation.name if relation else owners
            raise UserError(f"{where}: {name} has no column {column!r}")
    if owners and owner not in known[owners].column_names:
        raise UserError(f"{where}: {owners} has no column {owner!r}")
    if row["last_days"] and not mart.date_column:
        raise UserError(f"{where}: last_days needs a relation with dates")
    return Rule(
        role=row["role"],
        schema=READERS_SCHEMA,
        relation=mart.name,
        own_column=own,
        owners_relation=owners,
        owners_column=owner,
        last_days=int(row["last_days"]) if row["last_days"] else None,
        date_column=mart.date_column,
    )

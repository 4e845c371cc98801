"""`unpivot`: columns that become rows."""

from __future__ import annotations

from itertools import count

from sqlglot import exp

from sao_dagster.core.proofs import Proof
from sao_dagster.sql.inference.dependencies import Domain
from sao_dagster.sql.inference.joins import Side
from sao_dagster.sql.inference.names import NotUnderstoodError, name_of, read_only
from sao_dagster.sql.inference.output import Output
from sao_dagster.sql.inference.types import TEXT


def unpivoted(side: Side, pivot: exp.Pivot, ids: count[int], dialect: str) -> Output:
    """Return what is known of `side unpivot (value for name in (a, b))`: the other columns, the name, the value.

    Raises:
        NotUnderstoodError: It is a `pivot`, or an `unpivot` of another form.
    """
    read_only(pivot, "expressions", "fields", "unpivot", "include_nulls", "alias")
    fields, values = pivot.args.get("fields") or [], pivot.expressions
    if not pivot.args.get("unpivot") or len(fields) != 1 or len(values) != 1 or side.names.open or side.outer:
        raise NotUnderstoodError("a pivot of this form")
    if not isinstance(fields[0], exp.In) or not isinstance(values[0], exp.Identifier):
        raise NotUnderstoodError("an unpivot of several columns at once")
    proof, labels = Proof("unpivot"), []
    shown: list[str] = []
    turned: list[int] = []
    for each in fields[0].expressions:
        column, label = (each.this, each.args["alias"]) if isinstance(each, exp.PivotAlias) else (each, None)
        found = side.names.find(name_of(column.this, dialect)) if isinstance(column, exp.Column) else set()
        if len(found) != 1:
            raise NotUnderstoodError("what an unpivot turns")
        turned += found
        labels.append(label.name if isinstance(label, exp.Literal) else None)
        shown.append((column if label is None else label).name.lower())
    name, value, rows = next(ids), next(ids), side.rows.copy()
    # of what is turned, one row each; two that are called the same are told apart by nothing
    rows.identity |= {name if len(set(shown)) == len(shown) else next(ids)}
    rows.not_empty = None
    rows.bind({value}, proof)
    rows.types[name] = TEXT
    rows.not_null[name] = proof
    rows.choose(value, [(side.rows, each) for each in turned], "unpivot")
    if not pivot.args.get("include_nulls"):
        rows.not_null[value] = proof
    known = frozenset(each for each in labels if each is not None)
    if len(known) == len(labels):
        rows.narrow(name, Domain(known, proof))
    kept = [(each, column) for each, column in side.names.star if column not in turned]
    added = [(name_of(fields[0].this, dialect), name), (name_of(values[0], dialect), value)]
    names, columns = zip(*kept, *added, strict=True)
    return Output(list(names), list(columns), rows)

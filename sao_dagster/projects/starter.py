"""A small project to start from: a source, two models, a data test, a profile, and a file for Dagster."""

from __future__ import annotations

from pathlib import Path

from sao_dagster.errors import ProjectError

FILES = {
    "dbt_project.yml": """\
name: {name}
profile: {name}

models:
  +materialized: table
""",
    "profiles.yml": """\
{name}:
  target: dev
  outputs:
    dev: {{type: duckdb, path: {name}.duckdb}}
""",
    "raw/orders.csv": """\
order_id,customer,amount
1,ada,30
2,grace,25
3,ada,45
""",
    "models/sources.yml": """\
sources:
  - name: raw
    tables:
      - name: orders
        meta: {{external_location: raw/orders.csv}}  # a file; without this it is a table of the schema raw
""",
    "models/orders.sql": "select order_id, customer, amount from {{{{ source('raw', 'orders') }}}}\n",
    "models/customers.sql": """\
select customer, count(*) as orders, sum(amount) as amount
from {{{{ ref('orders') }}}}
group by customer
""",
    "models/models.yml": """\
models:
  - name: orders
    description: One row for each order.
    columns:
      - name: order_id
        data_tests: [unique, not_null]
  - name: customers
    description: What each customer has ordered.
""",
    "definitions.py": '''\
"""The project in Dagster: `sao ui`, or `dagster dev -f definitions.py`."""

from pathlib import Path

from sao_dagster import load_project
from sao_dagster.dagster import build_schedule, definitions

defs = definitions(
    load_project(Path(__file__).parent),
    parts=[lambda project: build_schedule(project, "hourly", "0 * * * *")],
)
''',
    ".gitignore": "*.duckdb\n.sao/\n",
}
"""The files by their path, as `str.format` takes them."""


def project_name(folder: Path) -> str:
    """Return the name of a project in a folder, which is also one of a profile, of a database and in Python.

    >>> project_name(Path("/work/my-shop")), project_name(Path("/work/2026"))
    ('my_shop', 'project_2026')
    """
    name = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in folder.name).strip("_")
    return name if name[:1].isalpha() else f"project_{name}".rstrip("_")


def write_starter(folder: Path) -> tuple[str, ...]:
    """Write the files into a folder, which is made if it is not there, and return their paths; nothing is overwritten.

    Raises:
        ProjectError: One of them is there already, or the folder cannot be written; nothing was written in the first case.
    """
    taken = [path for path in FILES if (folder / path).exists()]
    if taken:
        raise ProjectError(f"{folder} has {', '.join(taken)} already; choose a folder without a project")
    try:
        for path, text in FILES.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.format(name=project_name(folder)), encoding="utf-8")
    except OSError as error:
        raise ProjectError(f"{folder} cannot be written: {error.strerror}") from error
    return tuple(FILES)

"""Warehouses that are reached through an adapter of dbt alone, each with the small project in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tests.dbt.bakery import Bakery
from tests.waiting import until


@dataclass
class OnSQLite(Bakery):
    """On SQLite: no schemas, no versions of any kind, and dbt-sqlite drops a table before it builds it."""

    def _output(self) -> dict[str, Any]:
        place = self.folder / "db"
        place.mkdir(exist_ok=True)
        return {
            "type": "sqlite",
            "threads": 1,
            "database": "database",
            "schema": "main",
            "schemas_and_paths": {each: str(place / f"{each}.db") for each in ("main", self.branch)},
            "schema_directory": str(place),
        }

    def execute(self, *statements: str) -> None:
        """Run statements in the warehouse."""
        with closing(self._connected()) as connection, connection:
            for each in statements:
                connection.execute(each)

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Return the rows of a table, sorted."""
        with closing(self._connected()) as connection:
            return sorted(connection.execute(f"select * from {table}").fetchall(), key=str)

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.folder / "db/main.db")
        connection.execute(f"attach '{self.folder}/db/{self.branch}.db' as {self.branch}")
        return connection


@dataclass
class Asked(Bakery):
    """A warehouse that a program asks, which prints the rows of the last statement as JSON."""

    asking: ClassVar[str]

    def _arguments(self) -> tuple[str, ...]:
        """Return what the program gets before the statements."""
        return ()

    def execute(self, *statements: str) -> list[list[Any]]:
        """Run statements in the warehouse; return the rows of the last one."""
        command = [self.python, "-c", self.asking, *self._arguments(), *statements]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found: list[list[Any]] = json.loads(done.stdout)
        return found

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Return the rows of a table, sorted."""
        return sorted(map(tuple, self.execute(f"select * from {table}")), key=str)


@dataclass
class OnServer(Asked):
    """On a server that the test starts."""

    _port: int = 0
    _server: subprocess.Popen[bytes] | None = None

    def _serve(
        self, arguments: Callable[[int], Sequence[str | Path]], environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the server, whose command depends on its port, and wait until it answers."""
        with socket.socket() as free:
            free.bind(("localhost", 0))
            self._port = free.getsockname()[1]
        with (self.folder / "server.log").open("wb") as log:
            self._server = subprocess.Popen(arguments(self._port), stdout=log, stderr=log, env=environment)
        until("the server", lambda: _answers(self._port))

    def _arguments(self) -> tuple[str, ...]:
        return (str(self._port),)

    def close(self) -> None:
        """Stop the server."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()


_LAKE = """
import json, sys, duckdb
folder, *statements = sys.argv[1:]
lake = duckdb.connect(config={"extension_directory": folder + "/extensions"})
lake.execute(f"load ducklake; attach 'ducklake:{folder}/lake.db' as lake (data_path '{folder}/data/'); use lake")
for each in statements:
    found = lake.execute(each).fetchall()
print(json.dumps(found, default=str))
"""


@dataclass
class OnDuckLake(Asked):
    """On a DuckLake whose catalog is a file of DuckDB: exact versions. The packages of its extension have the version of duckdb."""

    versions: ClassVar[str] = "exact"
    takes_two: ClassVar[bool] = False
    at: ClassVar[str] = "lake.main."
    asking: ClassVar[str] = _LAKE

    def _output(self) -> dict[str, Any]:
        [extension] = self.python.parents[1].glob("lib/*/site-packages/duckdb_extension_ducklake/extensions/*/*")
        place = self.folder / "extensions" / extension.parent.name / self._query("pragma platform")
        place.mkdir(parents=True)
        shutil.copy(extension, place)
        lake = {
            "path": f"ducklake:{self.folder}/lake.db",
            "alias": "lake",
            "is_ducklake": True,
            "options": {"data_path": f"{self.folder}/data/"},
        }
        return {
            "type": "duckdb",
            "path": ":memory:",
            "database": "lake",
            "schema": "main",
            "threads": 1,  # so that no two nodes commit to the lake at once
            "config_options": {"extension_directory": str(self.folder / "extensions")},
            "extensions": ["ducklake"],
            "attach": [lake],
        }

    def _query(self, sql: str) -> str:
        program = f"import duckdb; print(duckdb.execute({sql!r}).fetchone()[0])"
        return subprocess.run([self.python, "-c", program], check=True, capture_output=True, text=True).stdout.strip()

    def _arguments(self) -> tuple[str, ...]:
        return (str(self.folder),)


_SNOWFLAKE = """
import json, sys, snowflake.connector as snowflake
port, *statements = sys.argv[1:]
at = dict(user="u", password="p", account="fakesnow", host="localhost", port=int(port), protocol="http", network_timeout=20)
with snowflake.connect(**at, database="SHOP", schema="BAKERY") as connection, connection.cursor() as cursor:
    for each in statements:
        found = cursor.execute(each).fetchall()
print(json.dumps(found, default=str))
"""


@dataclass
class OnFakeSnowflake(OnServer):
    """On a server that answers as Snowflake does: names in upper case, and times of change that never move.

    It cannot make the temporary relations of increments, so there is none.
    """

    versions: ClassVar[str] = "times"
    branch: ClassVar[str] = "BRANCH"
    branch_database: ClassVar[str] = "LAB"
    asking: ClassVar[str] = _SNOWFLAKE

    def _output(self) -> dict[str, Any]:
        program = self.python.parent / "fakesnow"
        self._serve(lambda port: [program, "-s", "-p", str(port)])
        self.write("models/log.sql", "select id, pieces from {{ ref('stg_sales') }}")
        at = {"account": "fakesnow", "host": "localhost", "port": self._port, "protocol": "http"}
        place = {"user": "u", "password": "p", "database": "SHOP", "schema": "BAKERY", "warehouse": "W"}
        return {"type": "snowflake", **at, **place, "threads": 2}


_BIGQUERY = """
import json, sys
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
port, *statements = sys.argv[1:]
client = bigquery.Client("shop", AnonymousCredentials(), client_options={"api_endpoint": f"http://127.0.0.1:{port}"})
config = bigquery.QueryJobConfig(default_dataset="shop.bakery")
for each in statements:
    found = [list(row.values()) for row in client.query(each, job_config=config).result()]
print(json.dumps(found, default=str))
"""


@dataclass
class OnFakeBigQuery(OnServer):
    """On a server that answers as BigQuery does, but for the times of tables, which stay when rows come, and for views that are dropped by its API."""

    versions: ClassVar[str] = "times"
    drops_views: ClassVar[bool] = False
    asking: ClassVar[str] = _BIGQUERY

    def _output(self) -> dict[str, Any]:
        [extension] = self.python.parents[1].glob("lib/*/site-packages/duckdb_extension_spatial/extensions/*/*")
        place = self.folder / "home/.duckdb/extensions" / extension.parent.name / "linux_amd64"
        place.mkdir(parents=True)
        shutil.copy(extension, place)
        program = self.python.parent / "bqemulator"
        self._serve(
            lambda port: [program, "start", "--project", "shop", "--rest-port", str(port), "--grpc-port", "0"],
            {**os.environ, "HOME": str(self.folder / "home")},
        )
        self.execute("create schema bakery")
        at = {"method": "oauth-secrets", "token": "none", "api_endpoint": f"http://127.0.0.1:{self._port}"}
        return {"type": "bigquery", **at, "project": "shop", "schema": "bakery", "threads": 2}

    def execute(self, *statements: str) -> list[list[Any]]:
        """Run statements in the warehouse; return the rows of the last one."""
        return super().execute(*map(_for_bigquery, statements))


def _for_bigquery(statement: str) -> str:
    """Return a statement as BigQuery wants it."""
    return re.sub(r"'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)'", r"timestamp '\1'", statement).replace("varchar", "string")


def _answers(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("localhost", port)) == 0


_METASTORE = "org.apache.hadoop.hive.metastore.HiveMetaStore"
_SPARK = """
import json, sys
from pyspark.sql import SparkSession
builder = SparkSession.builder.enableHiveSupport()
for name, value in json.loads(sys.argv[1]).items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
for line in sys.stdin:
    try:
        for each in json.loads(line):
            found = [list(row) for row in spark.sql(each).collect()]
        said = {"rows": found}
    except Exception as error:
        said = {"error": str(error)}
    print(json.dumps(said, default=str), flush=True)
"""


@dataclass
class OnSpark(Bakery):
    """On Spark with tables of Iceberg, whose catalog is a Hive metastore, as several Sparks share it: exact versions.

    dbt has a Spark of its own (`method: session`); that of the tests is another one.
    """

    versions: ClassVar[str] = "exact"
    increments_of_none_are_news: ClassVar[bool] = True
    upkeep: ClassVar[tuple[str, ...]] = ()
    _metastore: subprocess.Popen[bytes] | None = None
    _spark: subprocess.Popen[str] | None = None

    def _output(self) -> dict[str, Any]:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        [packages] = self.python.parents[1].glob("lib/*/site-packages")
        [jar] = packages.glob("snowpark_connect_deps_iceberg/jars/iceberg-spark-runtime-3.5_2.12-*.jar")
        settings = {
            "hive.async.log.enabled": "false",
            "hive.metastore.schema.verification": "false",
            "datanucleus.schema.autoCreateAll": "true",
            "javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={self.folder}/metastore;create=true",
            "derby.stream.error.file": f"{self.folder}/derby.log",
        }
        given = [f"-D{name}={value}" for name, value in settings.items()]
        command = ["java", "-Xmx256m", *given, "-cp", f"{packages}/pyspark/jars/*", _METASTORE, "-p", str(port)]
        with (self.folder / "metastore.log").open("wb") as log:
            self._metastore = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        until("the metastore", lambda: _answers(port))
        catalog = "spark.sql.catalog.spark_catalog"
        parameters = {
            "spark.master": "local[2]",
            "spark.jars": str(jar),
            "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
            catalog: "org.apache.iceberg.spark.SparkSessionCatalog",
            f"{catalog}.type": "hive",
            f"{catalog}.cache-enabled": "false",  # else a table is read as it was some time ago
            "spark.hadoop.hive.metastore.uris": f"thrift://localhost:{port}",
            "spark.hadoop.iceberg.engine.hive.lock-enabled": "false",
            "spark.sql.warehouse.dir": str(self.folder / "data"),
            "spark.sql.shuffle.partitions": "1",
            "spark.ui.enabled": "false",
            "spark.driver.memory": "1g",
        }
        with (self.folder / "spark.log").open("wb") as log:
            self._spark = subprocess.Popen(
                [self.python, "-c", _SPARK, json.dumps(parameters)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.folder,
                text=True,
            )
        self.execute("create schema bakery", "use bakery")
        self.replace("dbt_project.yml", "+materialized: table", "+materialized: table\n    +file_format: iceberg")
        self.write(
            "dbt_project.yml",
            (self.folder / "dbt_project.yml").read_text() + "seeds:\n  bakery:\n    +file_format: iceberg\n",
        )
        return {
            "type": "spark",
            "method": "session",
            "host": "NA",
            "schema": "bakery",
            "threads": 1,
            "server_side_parameters": parameters,
        }

    def execute(self, *statements: str) -> list[list[Any]]:
        """Run statements in the warehouse; return the rows of the last one."""
        assert self._spark is not None
        assert self._spark.stdin is not None
        assert self._spark.stdout is not None
        self._spark.stdin.write(json.dumps([_for_spark(each) for each in statements]) + "\n")
        self._spark.stdin.flush()
        said = json.loads(self._spark.stdout.readline())
        assert "error" not in said, said["error"]
        found: list[list[Any]] = said["rows"]
        return found

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Return the rows of a table, sorted."""
        return sorted(map(tuple, self.execute(f"select * from {table}")), key=str)

    def close(self) -> None:
        """Stop the servers."""
        for each in (self._spark, self._metastore):
            if each is not None:
                each.kill()
                each.wait()


def _for_spark(statement: str) -> str:
    """Return a statement as Spark wants it."""
    statement = re.sub(r"'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)'", r"timestamp '\1'", statement).replace("varchar", "string")
    statement = re.sub(r"^(create or replace table \w+) as ", r"\1 using iceberg as ", statement)
    return f"{statement} using iceberg" if re.fullmatch(r"create table \w+ \(.*\)", statement) else statement


BEDS: dict[str, tuple[str, type[Bakery]]] = {
    "sqlite": ("SAO_TEST_DBT_SQLITE", OnSQLite),
    "fakesnow": ("SAO_TEST_DBT_SNOWFLAKE", OnFakeSnowflake),
    "bigquery": ("SAO_TEST_DBT_BIGQUERY", OnFakeBigQuery),
    "ducklake": ("SAO_TEST_DBT_DUCKLAKE", OnDuckLake),
    "spark": ("SAO_TEST_DBT_SPARK", OnSpark),
}
"""By name, the environment variable that names a Python with the adapter, and the project there."""

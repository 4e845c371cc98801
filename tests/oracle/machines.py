"""All machines, and how many histories of each make a round of the soak."""

from __future__ import annotations

from hypothesis.stateful import RuleBasedStateMachine

from tests.oracle.deferral import DeferralHistory, DeferralOnPostgres
from tests.oracle.environments import EnvironmentsHistory
from tests.oracle.increments import IncrementHistory, IncrementsOnPostgres
from tests.oracle.machine import History
from tests.oracle.on_postgres import PostgresHistory
from tests.oracle.projects import ProjectsHistory, ProjectsOnPostgres
from tests.oracle.reuse import ReuseHistory, ReuseOnPostgres
from tests.oracle.runners import RunnersHistory
from tests.oracle.standing import StandingHistory, StandingOnPostgres
from tests.oracle.undeclared import FilesHistory, UndeclaredHistory, UndeclaredOnPostgres
from tests.oracle.volatile import VolatileHistory, VolatileOnPostgres
from tests.oracle.with_tests import TestedHistory
from tests.oracle.writers import WritersHistory

MACHINES: dict[type[RuleBasedStateMachine], int] = {
    History: 100,
    TestedHistory: 200,
    UndeclaredHistory: 50,
    FilesHistory: 50,
    IncrementHistory: 50,
    StandingHistory: 50,
    VolatileHistory: 50,
    EnvironmentsHistory: 20,
    DeferralHistory: 50,
    ProjectsHistory: 50,
    ReuseHistory: 50,
    PostgresHistory: 20,
    UndeclaredOnPostgres: 10,
    IncrementsOnPostgres: 10,
    StandingOnPostgres: 10,
    VolatileOnPostgres: 10,
    WritersHistory: 10,
    RunnersHistory: 20,
    DeferralOnPostgres: 10,
    ProjectsOnPostgres: 10,
    ReuseOnPostgres: 10,
}

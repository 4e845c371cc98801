"""The words of a decision about a model: what becomes of it, how a run decides, and why."""

from __future__ import annotations

from enum import Enum


class Outcome(str, Enum):
    """What becomes of a model in a run."""

    BUILT = "built"
    REUSED = "reused"
    SKIPPED = "skipped"
    FAILED = "failed"


class Mode(str, Enum):
    """How a run decides: by the shared state, or by building all it selects.

    `without-state` is what a run falls back to when the state cannot be reached and `on_state_error` is `build`.
    """

    STATE_AWARE = "state-aware"
    FORCE = "force"
    FULL_REFRESH = "full-refresh"
    WITHOUT_STATE = "without-state"


class Reason(str, Enum):
    """Why a model was built, reused, skipped or failed: one for each row of `truth_table.ROWS`, which says what it means.

    The values are stored; they are never renamed.
    """

    UPSTREAM_FAILED = "upstream_failed"
    FORCED = "forced"
    FULL_REFRESH = "full_refresh"
    STATE_UNREACHABLE = "state_unreachable"
    NEVER_BUILT = "never_built"
    RELATION_MISSING = "relation_missing"
    RELATION_ALTERED = "relation_altered"
    CHANGED_ELSEWHERE = "changed_elsewhere"
    CODE_CHANGED = "code_changed"
    TEST_FAILED = "test_failed"
    NO_NEW_DATA = "no_new_data"
    WITHIN_INTERVAL = "within_interval"
    WITHIN_TOLERANCE = "within_tolerance"
    INPUT_UNKNOWN = "input_unknown"
    WAITING_FOR_INPUTS = "waiting_for_inputs"
    VOLATILE_EXPIRED = "volatile_expired"
    INTERVAL_ELAPSED = "interval_elapsed"
    UNSETTLED = "unsettled"
    NEW_DATA = "new_data"
    SAME_ELSEWHERE = "same_elsewhere"
    BUILD_ERROR = "build_error"

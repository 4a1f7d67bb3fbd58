"""Jobs run in the process of the tests: the same functions, without importing everything again.

A worker's imports are most of what a small job costs. That jobs work in workers, and what happens
when those fail, is for tests/jobs, tests/cli and tests/test_exports.py.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rethined_export.jobs.parent import JobError
from rethined_export.jobs.registry import Job
from rethined_export.jobs.worker import describe


def run_job(job: Job, arguments: dict[str, Any], on_stage: Callable[[str], None]) -> dict[str, Any]:
    """As :func:`rethined_export.jobs.parent.run_job` does, through JSON too, without a process."""
    try:
        result = job(on_stage, **json.loads(json.dumps(arguments)))
    except Exception as error:
        told = describe(error)
        raise JobError(told["message"], told["exit_code"]) from error
    made: dict[str, Any] = json.loads(json.dumps(result))
    return made | {"peak_rss_bytes": 0}


@contextmanager
def jobs_here() -> Iterator[None]:
    """Exports and comparisons run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rethined_export.export.run_job", run_job)
        yield

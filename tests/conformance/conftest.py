"""Three replicas that know the plugin with the suite's fixtures."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.conformance.suite import FOLDER
from tests.faults.worker import running_worker
from tests.replicas.cluster import PYTHONPATH, Replicas, running_replicas


@pytest.fixture(scope="module")
def replicas(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """They run, with a worker."""
    environment = {
        "PYTHONPATH": f"{PYTHONPATH}{os.pathsep}{FOLDER / 'plugin'}",
        # The suite is one address, and in a hurry.
        "MARINA_PUBLIC_RATE": "1000000/1",
    }
    folder = tmp_path_factory.mktemp("replicas")
    with running_replicas(folder, environment=environment) as made, running_worker(folder, environment):
        yield made

"""What the tests of the plugin share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.plugins.node_stand_in import NodeStandIn
from tests.plugins.orthanc_server import free_port


@pytest.fixture
def node() -> Iterator[NodeStandIn]:
    stand_in = NodeStandIn(free_port())
    yield stand_in
    stand_in.stop()

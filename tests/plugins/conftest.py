"""What the tests of the plugin share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from node.demo.pacs import free_port
from tests.plugins.node_stand_in import NodeStandIn


@pytest.fixture
def node() -> Iterator[NodeStandIn]:
    stand_in = NodeStandIn(free_port())
    yield stand_in
    stand_in.stop()

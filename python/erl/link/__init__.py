"""The link of a Python program to a node: `start`, `connect`, `here`, and the `Node` that they give."""

from __future__ import annotations

from erl.errors import NodeDownError, NodeError
from erl.link.node import Node
from erl.link.nodes import connect, default, here, start

__all__ = ["Node", "NodeDownError", "NodeError", "connect", "default", "here", "start"]

"""Runs MCP servers for sessions: the contract is `Workers`, its implementation by way of the keeper is `keeper`."""

from .contract import Exit, Worker, Workers

__all__ = ["Exit", "Worker", "Workers"]

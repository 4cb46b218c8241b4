"""Holdfast keeps MCP sessions alive."""

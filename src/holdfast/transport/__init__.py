"""The protocol edge: MCP Streamable HTTP in front of sessions.

Read `pipeline.py` first; `host.py` keeps the sessions of this node, `calls.py` what is in flight in one, `live.py`
routes what a server says, `streams.py` journals and carries it, `rules.py` decides.
"""

"""The HTTP server process: its data directory, its socket, its signals."""

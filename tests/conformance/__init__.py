"""The official conformance suite against a server of ours that is hosted over stdio."""

#!/bin/sh
# A session's server for bench/idle_streams.py: the cheapest there is, once the file $1 is there; else the echo server.
# It answers initialize with the id it came with, which stands before the method, and nothing else. Under dash, which
# is Debian's sh, it has about 100 kB of its own.
[ -e "$1" ] || exec python3 "$2"
while IFS= read -r line; do
	case $line in
	*'"method": "initialize"'* | *'"method":"initialize"'*)
		id=${line#*\"id\":}
		printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"idle","version":"1"}}}\n' "${id%%,*}"
		;;
	esac
done

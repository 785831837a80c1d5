#!/usr/bin/env bash
# all.sh PYTEST…: all tests. Those that need no engine run beside those that mostly wait for one, and
# what they say comes last.
set -euo pipefail

said=$(mktemp)
files=
trap 'kill ${files:+"$files"} 2>/dev/null || true; rm -f "$said"' EXIT

"$@" tests/unit tests/apps tests/template >"$said" 2>&1 &
files=$!
status=0
"$@" tests/containers || status=$?
wait "$files" || status=$?
files=
cat "$said"
exit "$status"

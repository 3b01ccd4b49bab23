#!/usr/bin/env bash
# Runs every fuzz target below the given directories for the given time: fuzz.sh 10s pkg services tools
set -euo pipefail
cd "$(dirname "$0")/../.."
time=$1
shift
targets=$(grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' "$@" | sort)
while IFS= read -r line; do
	dir=$(dirname "${line%%:*}")
	name=${line##*func }
	echo "== $dir $name"
	go test "./$dir" -run '^$' -fuzz "^${name}\$" -fuzztime "$time"
done <<<"$targets"

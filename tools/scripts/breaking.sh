#!/usr/bin/env bash
# Compares proto/ with what main has: only additions pass (WIRE_JSON). On main itself it compares with the
# commit before. Git has no copy of validate.proto, so both sides use the one in third_party/.
set -euo pipefail
cd "$(dirname "$0")/../.."
buf=${BUF:-buf}
main=main
git rev-parse --verify --quiet origin/main >/dev/null && main=origin/main
base=$(git merge-base HEAD "$main" 2>/dev/null || true)
if [[ "$base" == "$(git rev-parse HEAD)" ]]; then
	base=$(git rev-parse --verify --quiet HEAD^ || true)
fi
if [[ -z "$base" ]] || ! git cat-file -e "$base:buf.yaml" 2>/dev/null; then
	echo "breaking: nothing to compare with; not checked" >&2
	exit 0
fi
old=$(mktemp -d)
trap 'rm -rf "$old"' EXIT
git archive "$base" proto buf.yaml | tar -x -C "$old"
cp -R third_party "$old/third_party"
"$buf" breaking --against "$old"

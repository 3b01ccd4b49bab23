#!/usr/bin/env bash
# Copies buf/validate/validate.proto out of the protovalidate Go module into third_party/ and checks its sum,
# so that buf needs no registry.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=v1.2.2
sum=a1dc1163ebac930b3b070655b91f2bc78df8b4aea940021661fe5ec7904a7b88
dir=$(GOWORK=off GOFLAGS=-mod=mod go mod download -json "github.com/bufbuild/protovalidate@${version}" | sed -n 's/.*"Dir": "\(.*\)",*/\1/p')
mkdir -p third_party/protovalidate/buf/validate
install -m 0644 "$dir/proto/protovalidate/buf/validate/validate.proto" third_party/protovalidate/buf/validate/validate.proto
echo "${sum}  third_party/protovalidate/buf/validate/validate.proto" | sha256sum --check --quiet

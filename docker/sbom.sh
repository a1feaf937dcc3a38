#!/bin/sh
# Write dist/: sbom.server.cdx.json (CycloneDX) and licences.server.md, of exactly what the cpu image installs.
# `make sbom` calls it: sbom.sh FOLDER_OF_TOOLS PYTHON
set -eu
cd "$(dirname "$0")/.."
tools=$1 python=$2
installed=$(mktemp -d)
trap 'rm -rf "$installed"' EXIT
mkdir -p dist
"$python" -m venv "$installed/venv"
"$installed/venv/bin/python" -m pip install -q --require-hashes -r docker/server.cpu.lock
"$installed/venv/bin/python" -m pip install -q --no-deps ./clients/python ./server
"$installed/venv/bin/python" -m pip uninstall -q -y pip
find "$installed/venv" -name direct_url.json -delete  # says from which folder of this machine ours came
"$tools/cyclonedx-py" environment --pyproject server/pyproject.toml --output-reproducible --of JSON \
  -o dist/sbom.server.cdx.json "$installed/venv/bin/python"
"$tools/pip-licenses" --python "$installed/venv/bin/python" --from=mixed --order=name --format=markdown \
  --output-file=dist/licences.server.md

#!/bin/sh
# Write sbom.server.cdx.json (CycloneDX) and licences.server.md, of exactly what the cpu image installs.
# `make sbom` calls it: sbom.sh FOLDER_OF_TOOLS PYTHON [FOLDER, dist by itself]
set -eu
cd "$(dirname "$0")/.."
tools=$1 python=$2 folder=${3:-dist}
installed=$(mktemp -d)
trap 'rm -rf "$installed"' EXIT
mkdir -p "$folder"
"$python" -m venv "$installed/venv"
"$installed/venv/bin/python" -m pip install -q --require-hashes --report "$installed/report.json" -r docker/server.cpu.lock
"$installed/venv/bin/python" -m pip install -q --no-deps ./clients/python ./server
"$installed/venv/bin/python" -m pip uninstall -q -y pip setuptools
find "$installed/venv" -name direct_url.json -delete  # says from which folder of this machine ours came
"$tools/cyclonedx-py" environment --pyproject server/pyproject.toml --output-reproducible --of JSON \
  -o "$folder/sbom.server.cdx.json" "$installed/venv/bin/python"
# With all: by itself it leaves out what it stands on, of which the server has some, too.
"$tools/pip-licenses" --python "$installed/venv/bin/python" --with-system --from=mixed --format=json \
  --output-file="$installed/licences.json"
"$python" docker/complete_sbom.py "$folder/sbom.server.cdx.json" "$installed/licences.json" "$installed/report.json" \
  "$folder/licences.server.md"

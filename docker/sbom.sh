#!/bin/sh
# Write sbom.server.cdx.json (CycloneDX) and licences.server.md, of exactly what the cpu image installs: the archives for
# the Python and the Debian of its base and for this kind of processor, whichever Python carries this out.
# `make sbom` calls it: sbom.sh FOLDER_OF_TOOLS PYTHON [FOLDER, dist by itself]
set -eu
cd "$(dirname "$0")/.."
tools=$1 python=$2 folder=${3:-dist}
installed=$(mktemp -d)
trap 'rm -rf "$installed"' EXIT
mkdir -p "$folder"
release=$(sed -nE 's/^ARG BASE=.*python:([0-9]+\.[0-9]+)\..*-trixie$/\1/p' docker/server.Dockerfile)
machine=$(uname -m)
[ -n "$release" ] || { echo "sbom: docker/server.Dockerfile has no Python of Debian trixie as its base" >&2; exit 1; }
# Best platform first, in the order of pip: glibc 2.41 and all before.
set --
for minor in $(seq 41 -1 5); do
  set -- "$@" --platform "manylinux_2_${minor}_$machine"
  [ "$minor" != 17 ] || set -- "$@" --platform "manylinux2014_$machine"
done
"$python" -m venv "$installed/pip"
"$python" -m venv --without-pip "$installed/venv"
site=$("$installed/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# Nothing of it runs: the tools read the metadata of the packages.
"$installed/pip/bin/python" -m pip install -q --target "$site" --no-deps --require-hashes --only-binary :all: \
  --implementation cp --python-version "$release" "$@" --report "$installed/report.json" -r docker/server.cpu.lock
"$installed/pip/bin/python" -m pip install -qq --target "$site" --no-deps ./clients/python ./server
find "$site" -name direct_url.json -delete  # names the folder on this machine that our packages came from
"$tools/cyclonedx-py" environment --pyproject server/pyproject.toml --output-reproducible --of JSON \
  -o "$folder/sbom.server.cdx.json" "$installed/venv/bin/python"
# --with-system: otherwise it leaves out its own requirements, some of which the server has too.
"$tools/pip-licenses" --python "$installed/venv/bin/python" --with-system --from=mixed --format=json \
  --output-file="$installed/licences.json"
"$python" docker/complete_sbom.py "$folder/sbom.server.cdx.json" "$installed/licences.json" "$installed/report.json" \
  "$folder/licences.server.md"

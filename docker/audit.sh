#!/bin/sh
# Ask for known vulnerabilities of every release that an image installs; `make audit` calls it: audit.sh FOLDER_OF_TOOLS
# It also fails when the service does not answer or does not know a release, since nothing was looked up then.
set -eu
cd "$(dirname "$0")/.."
tools=$1 failed=
training=$(mktemp)
trap 'rm -f "$training"' EXIT
# The training image installs the constraints, and the releases that its build takes as arguments.
cat constraints.txt > "$training"
sed -nE 's/^ARG TORCH=/torch==/p; s/^ARG TORCHVISION=/torchvision==/p; s/^ARG ONNXRUNTIME=/onnxruntime==/p
  s/^ARG FAISS=/faiss-cpu==/p' docker/training.Dockerfile >> "$training"
audit() {
  what=$1
  shift
  echo "audit: $what" >&2
  "$tools/pip-audit" --strict --disable-pip "$@" || failed="$failed, $what"
}
for lock in docker/*.lock; do audit "$lock" --require-hashes -r "$lock"; done
audit 'the training image' --no-deps -r "$training"
[ -z "$failed" ] || {
  echo "audit: vulnerable, or not looked up:${failed#,}. 'could not be audited' above means that the service was not" \
    "reached or does not know the release" >&2
  exit 1
}

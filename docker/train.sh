#!/bin/sh
# Data, training, evaluation and export, one after the other: `train RECIPE RUN NAME`, which publishes under NAME.
# DIPTYCH_PRECISIONS lists what is exported; if it is not set, `export` chooses.
# `train refresh [FLAG ...]` teaches a model the pictures at /srv/pictures, and publishes it under DIPTYCH_NAME.
# A signal is passed to the running step, which keeps a checkpoint. Started again, each step resumes.
set -eu
child= stopped=

tell() {
  stopped=1
  [ -z "$child" ] || kill -TERM "$child"
}
trap tell TERM INT

# In a session of its own: otherwise Ctrl-C would reach the step twice, and a second signal ends it at once.
step() {
  [ -z "$stopped" ] || exit 143  # 128 + SIGTERM: the signal came while no step was running
  setsid "$@" &
  child=$!
  [ -z "$stopped" ] || tell
  code=0
  wait "$child" || code=$?
  # A signal ends `wait` early, while the step is still ending.
  while kill -0 "$child" 2>/dev/null; do
    code=0
    wait "$child" || code=$?
  done
  child=
  [ "$code" = 0 ] || exit "$code"
}

refuse() {
  echo "train: $1" >&2
  exit 1
}

if [ "$1" = refresh ]; then
  shift
  [ -n "${DIPTYCH_PICTURES:-}" ] ||
    refuse "no pictures: set DIPTYCH_PICTURES to their folder, as in DIPTYCH_PICTURES=./photos DIPTYCH_NAME=mine docker\
 compose run --rm train refresh"
  [ -n "${DIPTYCH_NAME:-}" ] || refuse "no name to publish under: set DIPTYCH_NAME, as in DIPTYCH_NAME=mine"
  step diptych-train refresh /srv/pictures --name "$DIPTYCH_NAME" "$@"
  exit
fi

recipe=$1 run=$2 name=$3
# Checked before hours of training, not after them. A model repository accepts these names.
case "$name" in
  "") refuse "no name to publish under: set DIPTYCH_NAME, as in DIPTYCH_NAME=mine docker compose run --rm train" ;;
  everyday) refuse "DIPTYCH_NAME is everyday, the name of the default model, whose versions come with diptych:\
 publish under a name of your own" ;;
  [!a-z0-9]* | *[!a-z0-9._-]*) bad=1 ;;
  *) bad= ;;
esac
[ -z "$bad" ] && [ "${#name}" -le 64 ] ||
  refuse "model name '$name' (DIPTYCH_NAME) must be at most 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter\
 or digit"
repository=${DIPTYCH_MODEL_REPO:-model_repo}
for place in "$DIPTYCH_CACHE" "$repository" "$repository/$name"; do
  [ ! -e "$place" ] || [ -w "$place" ] ||
    refuse "$place cannot be written by user $(id -u):$(id -g), who must own it (UID and GID in .env)"
done

folder=${DIPTYCH_RUNS_DIR:-$DIPTYCH_CACHE/runs}/$run
step diptych-train data pictograms
resume=
if [ -f "$folder/config.toml" ]; then resume=--resume; fi
step diptych-train train "$recipe" --name "$run" $resume
step diptych-train evaluate --run "$run"
step diptych-train export --run "$run" --name "$name" --evaluation "$folder/evaluation-eval/evaluation.json" \
  ${DIPTYCH_PRECISIONS:+--precisions "$DIPTYCH_PRECISIONS"}

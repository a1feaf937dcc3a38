# The server, in two targets: `cpu` (the last, so the default) and `gpu`. No torch in either: the build checks.
#   docker build -f docker/server.Dockerfile --target cpu -t diptych-server:cpu .
# BASE is any Debian-like image with Python 3.13 and venv. Pin it by digest where builds must repeat to the byte:
#   --build-arg BASE=docker.io/library/python@sha256:...
ARG BASE=docker.io/library/python:3.13.9-slim-trixie

# Our packages, as files below /ours. Apart from their requirements, which change seldom and are most of the image.
FROM ${BASE} AS ours
WORKDIR /src
COPY docker/build.lock docker/
RUN python3 -m venv /opt/build \
 && /opt/build/bin/python -m pip install --no-cache-dir --require-hashes -r docker/build.lock \
 && python3 -m venv --without-pip /opt/diptych
COPY clients/python/pyproject.toml clients/python/README.md clients/python/
COPY clients/python/src clients/python/src
COPY server/pyproject.toml server/README.md server/
COPY server/src server/src
RUN /opt/build/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation -w /wheels ./clients/python ./server \
 && /opt/build/bin/python -m pip --python /opt/diptych/bin/python install --no-cache-dir --no-deps --no-index \
      --root /ours /wheels/*.whl

# The requirements: every file is checked by its hash. The environment has no pip of its own.
FROM ${BASE} AS cpu-packages
COPY docker/server.cpu.lock /locks/
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/diptych \
 && /opt/build/bin/python -m pip --python /opt/diptych/bin/python install --no-cache-dir --require-hashes \
      --only-binary :all: -r /locks/server.cpu.lock

FROM ${BASE} AS gpu-packages
COPY docker/server.gpu.lock /locks/
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/diptych \
 && /opt/build/bin/python -m pip --python /opt/diptych/bin/python install --no-cache-dir --require-hashes \
      --only-binary :all: -r /locks/server.gpu.lock

# The default model, so that the image serves without a mount; no version that was trained locally. Everybody can read it
# and nobody can write it, whatever the modes of the checkout, whose files only the owner can read under a umask of 077.
FROM ${BASE} AS model
COPY model_repo/everyday/2 /model_repo/everyday/2
COPY model_repo/everyday/2.calibration.npz /model_repo/everyday/
RUN chmod -R u=rwX,go=rX /model_repo

# The layers of the targets come on top, in the order of how seldom they change: packages, the model, our code.
FROM ${BASE} AS runtime
LABEL org.opencontainers.image.title="diptych" \
      org.opencontainers.image.description="Self-hosted image-text embedding server" \
      org.opencontainers.image.licenses="Apache-2.0"
# The image may run as any other user with a writable data folder.
RUN groupadd --gid 10001 diptych \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin diptych \
 && install -d -o 10001 -g 10001 -m 0700 /srv/data \
 && install -d /srv/model_repo /usr/local/lib/diptych
ENV PATH=/opt/diptych/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DIPTYCH_HOST=0.0.0.0 \
    DIPTYCH_PORT=8000 \
    DIPTYCH_MODEL_REPO=/srv/model_repo \
    DIPTYCH_DATA_DIR=/srv/data \
    DIPTYCH_LOG_FORMAT=json \
    ORT_DISABLE_TELEMETRY=1
WORKDIR /srv
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
  CMD ["python3", "-I", "-S", "/usr/local/lib/diptych/healthcheck.py"]
ENTRYPOINT ["diptych"]
CMD ["serve"]

FROM runtime AS gpu
COPY --from=gpu-packages /opt/diptych /opt/diptych
COPY --from=model /model_repo /srv/model_repo
COPY --chmod=0644 docker/healthcheck.py /usr/local/lib/diptych/healthcheck.py
COPY --from=ours /ours/ /
# CUDA and cuDNN come as packages of the environment; the driver's own libraries come from the host.
ENV LD_LIBRARY_PATH=/opt/diptych/lib/cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN --mount=type=bind,source=docker/assert_image.py,target=/tmp/assert_image.py \
    --mount=type=bind,source=docker/server.gpu.lock,target=/tmp/packages.lock \
    --mount=type=bind,source=training/pyproject.toml,target=/tmp/training.toml \
    mkdir -p /opt/diptych/lib/cuda \
 && find /opt/diptych/lib/python3*/site-packages/nvidia -name '*.so*' -exec ln -s {} /opt/diptych/lib/cuda/ ';' \
 && python3 -I /tmp/assert_image.py /tmp/packages.lock /tmp/training.toml
ARG REVISION=unknown
LABEL org.opencontainers.image.revision="${REVISION}"
USER 10001:10001

FROM runtime AS cpu
COPY --from=cpu-packages /opt/diptych /opt/diptych
COPY --from=model /model_repo /srv/model_repo
COPY --chmod=0644 docker/healthcheck.py /usr/local/lib/diptych/healthcheck.py
COPY --from=ours /ours/ /
RUN --mount=type=bind,source=docker/assert_image.py,target=/tmp/assert_image.py \
    --mount=type=bind,source=docker/server.cpu.lock,target=/tmp/packages.lock \
    --mount=type=bind,source=training/pyproject.toml,target=/tmp/training.toml \
    python3 -I /tmp/assert_image.py /tmp/packages.lock /tmp/training.toml
ARG REVISION=unknown
LABEL org.opencontainers.image.revision="${REVISION}"
USER 10001:10001

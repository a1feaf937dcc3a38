# Training: data, train, evaluate, export, import. Writes versions into the mounted model repository.
#   docker build -f docker/training.Dockerfile -t diptych-training .
# Releases come from constraints.txt, without hashes: builds of torch differ by the index that they come from.
# TORCH_INDEX for a GPU: https://download.pytorch.org/whl/cu130, for drivers from release 580 on; whl/cu126 for older ones.
ARG BASE=docker.io/library/python:3.13.9-slim-trixie
FROM ${BASE}
ARG TORCH=2.13.0
ARG TORCHVISION=0.28.0
ARG ONNXRUNTIME=1.32.0
ARG FAISS=1.15.1
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
LABEL org.opencontainers.image.title="diptych-training" \
      org.opencontainers.image.description="CLIP training and proven export for diptych" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 diptych \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /srv/cache --shell /usr/sbin/nologin diptych \
 && install -d -o 10001 -g 10001 -m 0700 /srv/cache \
 && install -d /srv/model_repo \
 && python3 -m venv /opt/diptych
ENV PATH=/opt/diptych/bin:$PATH
# Without requirements: constraints.txt has their releases, and the indexes of torch have others.
RUN python3 -m pip install --no-cache-dir --no-deps --index-url "${TORCH_INDEX}" "torch==${TORCH}" "torchvision==${TORCHVISION}"
# What builds our wheels, and npm, which `diptych-train data` fetches drawings with: by hash.
COPY docker/build.lock docker/node.lock /src/
RUN python3 -m pip install --no-cache-dir --require-hashes -r /src/build.lock \
 && python3 -m pip install --no-cache-dir --require-hashes --only-binary :all: -r /src/node.lock \
 && npm --version
# The requirements, from the pyproject.toml files alone: a change of our code rebuilds only the layers after this.
COPY constraints.txt docker/requirements_of.py /src/
COPY clients/python/pyproject.toml /src/clients/python/
COPY server/pyproject.toml /src/server/
COPY training/pyproject.toml /src/training/
WORKDIR /src
RUN python3 requirements_of.py 'clients/python' 'server[cpu]' 'training[import,parquet,remote]' > requirements.txt \
 && python3 -m pip install --no-cache-dir -c constraints.txt -r requirements.txt --extra-index-url "${TORCH_INDEX}" \
      "torch==${TORCH}" "torchvision==${TORCHVISION}" "onnxruntime==${ONNXRUNTIME}" "faiss-cpu==${FAISS}"
COPY clients/python clients/python
COPY server/README.md server/
COPY server/src server/src
COPY training/README.md training/
COPY training/src training/src
RUN python3 -m pip install --no-cache-dir --no-deps --no-build-isolation ./clients/python ./server ./training
COPY --chmod=0755 docker/train.sh /usr/local/bin/train
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/srv/cache \
    DIPTYCH_CACHE=/srv/cache \
    DIPTYCH_MODEL_REPO=/srv/model_repo \
    MPLCONFIGDIR=/tmp \
    ORT_DISABLE_TELEMETRY=1 \
    USER=diptych
WORKDIR /srv
STOPSIGNAL SIGTERM
# The command ends by itself. Its log shows its progress.
HEALTHCHECK NONE
ARG REVISION=unknown
LABEL org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
# Runs as that user, who must be able to read everything.
RUN test -r /usr/local/bin/train && test -x /usr/local/bin/train && diptych-train --help > /dev/null
ENTRYPOINT ["diptych-train"]
CMD ["--help"]

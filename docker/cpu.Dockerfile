# syntax=docker/dockerfile:1
# gmeta_tf for CPUs.
#
#   docker build -f docker/cpu.Dockerfile -t gmeta_tf:cpu .
FROM python:3.11-slim-bookworm

# The package of the ssh server makes host keys; they go, so that no two containers share them (see docker/host.sh).
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends gcc g++ cmake make openssh-server openssh-client && \
    rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_*

ENV VENV=/opt/venv \
    PYTHON=/usr/local/bin/python3.11 \
    GMETA_CACHE=/opt/cache \
    TF_USE_LEGACY_KERAS=1
WORKDIR /work

# Only what decides the dependencies, so that other changes leave this layer alone. Horovod's wheel outlives it in a cache.
COPY setup.py setup.cfg pyproject.toml constraints.txt ./
COPY scripts/install.sh scripts/
COPY gmeta_tf/__init__.py gmeta_tf/version.py gmeta_tf/
RUN --mount=type=cache,id=gmeta-cpu,target=/opt/cache,sharing=locked \
    --mount=type=cache,target=/root/.cache/pip \
    bash scripts/install.sh
ENV PATH=/opt/venv/bin:$PATH

COPY . .
CMD ["bash"]

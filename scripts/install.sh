#!/usr/bin/env bash
# Makes .venv with gmeta_tf, its pinned dependencies and Horovod.
#
#   bash scripts/install.sh              for users
#   bash scripts/install.sh test bench   with the packages of these extras (test, bench, gpu)
#   bash scripts/install.sh --flags      prints what Horovod would be built with, and does nothing
#
# Horovod is built once, against this TensorFlow, and kept in ${GMETA_CACHE:-~/.cache/gmeta_tf}. It has Gloo, MPI where mpicc is
# found, and NCCL where nvcc and nccl.h are found. It compiles on all cores; MAKEFLAGS or CMAKE_BUILD_PARALLEL_LEVEL say otherwise.
#   PYTHON                   interpreter to use (default python3.11)
#   VENV                     environment to make (default .venv)
#   HOROVOD_WITH_MPI         1 builds with MPI, 0 without, whatever is found
#   HOROVOD_GPU_OPERATIONS   NCCL or MPI builds the GPU collectives with it, empty builds none, whatever is found
#   CUDA_HOME                where CUDA is, if nvcc is not on PATH (or HOROVOD_CUDA_HOME)
#   HOROVOD_NCCL_HOME        where NCCL is, if not with CUDA or among the system's libraries (or HOROVOD_NCCL_INCLUDE, HOROVOD_NCCL_LIB)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=${VENV:-.venv}
PYTHON=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}
CACHE=${GMETA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gmeta_tf}
HOROVOD=0.28.1
export PIP_DISABLE_PIP_VERSION_CHECK=1

fail() { echo "error: $1" >&2; exit 1; }
say() { echo "install: $1" >&2; }
pip() { "$VENV/bin/python" -m pip --quiet "$@" 2>&1 | { grep -v '^WARNING: ' || true; } >&2; }

# What Horovod is built with: what is asked for, else what is found.
mpicc=$(command -v mpicc || true)
nvcc=$(command -v nvcc || true)
for home in "${CUDA_HOME:-}" "${HOROVOD_CUDA_HOME:-}"; do
  if [ -x "$home/bin/nvcc" ]; then nvcc=$home/bin/nvcc; fi
done
cuda=
if [ -n "$nvcc" ]; then
  # On PATH may be a link, or a wrapper such as a cache's: the compiler itself says where it lies, as CMake asks it, too.
  top=$("$nvcc" -v __where 2>&1 | while read -r _ word; do case $word in TOP=*) echo "${word#TOP=}" ;; esac done || true)
  for home in "$(dirname "$(dirname "$nvcc")")" "$(dirname "$(dirname "$(readlink -f "$nvcc")")")" "$top"; do
    if [ -z "$cuda" ] && [ -e "$home/include/cuda_runtime.h" ]; then cuda=$(cd "$home" && pwd -P); fi
  done
fi
nccl=
nccl_version=
for folder in "${HOROVOD_NCCL_INCLUDE:-}" ${HOROVOD_NCCL_HOME:+"$HOROVOD_NCCL_HOME/include"} ${cuda:+"$cuda/include"} /usr/local/include /usr/include; do
  if [ -z "$nccl" ] && [ -e "$folder/nccl.h" ]; then nccl=$folder/nccl.h; fi
done
if [ -n "$nccl" ]; then
  while read -r _ name value; do if [ "$name" = NCCL_VERSION_CODE ]; then nccl_version=$value; fi; done <"$nccl"
fi
with_mpi=${HOROVOD_WITH_MPI:-${mpicc:+1}}
gpu=${HOROVOD_GPU_OPERATIONS-${nvcc:+${nccl:+NCCL}}}
case ${with_mpi:-0} in
  0) mpi= ;;
  1) mpi=$("${mpicc:-mpicc}" -show 2>/dev/null) || fail "mpicc must be installed to build Horovod with MPI. Received: ${mpicc:-none}. apt-get install libopenmpi-dev openmpi-bin, or HOROVOD_WITH_MPI=0" ;;
  *) fail "HOROVOD_WITH_MPI must be 0 or 1. Received: $HOROVOD_WITH_MPI. Unset it to build with MPI where mpicc is found." ;;
esac
# Told before the minutes of compiling after which it would show.
if [ -n "$gpu" ] && [ -z "$cuda" ]; then
  fail "CUDA must be found to build Horovod's GPU collectives. Received: nvcc ${nvcc:-none}, without include/cuda_runtime.h beside its bin. Set CUDA_HOME to the folder that has both, or HOROVOD_GPU_OPERATIONS= for none"
fi
if [ "$gpu" = NCCL ] && [ -z "$nccl" ]; then
  fail "nccl.h must be found to build Horovod with NCCL. Received: none in HOROVOD_NCCL_INCLUDE, HOROVOD_NCCL_HOME/include, $cuda/include, /usr/local/include and /usr/include. apt-get install libnccl-dev, or set HOROVOD_NCCL_HOME"
fi
FLAGS=(HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITH_GLOO=1)
if [ -n "$mpi" ]; then FLAGS+=(HOROVOD_WITH_MPI=1); else FLAGS+=(HOROVOD_WITHOUT_MPI=1); fi
if [ -n "$gpu" ]; then FLAGS+=("HOROVOD_GPU_OPERATIONS=$gpu" "HOROVOD_CUDA_HOME=$cuda"); fi
BUILT="Gloo${mpi:+, MPI}${gpu:+, GPU collectives by $gpu} (mpicc: ${mpicc:-none}, nvcc: ${nvcc:-none}, nccl.h: ${nccl:-none}${nccl_version:+, $nccl_version})"
# What the wheel depends on besides flags, and tools that have a version of their own.
LINKED="${mpi:+ $mpi}${gpu:+ $nccl $nccl_version ${HOROVOD_NCCL_HOME:-} ${HOROVOD_NCCL_LIB:-} ${HOROVOD_NCCL_LINK:-}}"
if [ "${1:-}" = --flags ]; then
  printf '%q ' "${FLAGS[@]}"
  echo
  say "Horovod with $BUILT"
  exit 0
fi

"$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null ||
  fail "PYTHON must be Python 3.11. Received: ${PYTHON:-none}. Install it, or set PYTHON to its path."
for tool in gcc g++ cmake make flock; do
  command -v "$tool" >/dev/null || fail "$tool must be installed to build Horovod. Received: none on PATH. apt-get install build-essential cmake"
done

# One install at a time, and none where nothing has changed.
mkdir -p "$CACHE"
exec 9>"$CACHE/lock"
flock 9
stamp=$(cat scripts/install.sh setup.cfg constraints.txt <(echo "${FLAGS[*]} $PYTHON$LINKED") | sha256sum | cut -d' ' -f1)
installed() { [ "$(head -n 1 "$VENV/.installed" 2>/dev/null)" = "$stamp" ]; }
if installed && grep -qx "extras: $*" "$VENV/.installed"; then exit 0; fi

say "environment $VENV, Horovod with $BUILT"
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
extras=$(IFS=,; echo "$*")
pip install -c constraints.txt setuptools wheel packaging
pip install -c constraints.txt --no-build-isolation -e ".${extras:+[$extras]}"

tensorflow=$("$VENV/bin/python" -c 'import importlib.metadata as m; print(m.version("tensorflow"))')
key=$(echo "$HOROVOD $("$VENV/bin/python" -VV) $tensorflow ${FLAGS[*]} $(uname -m) $(g++ -dumpfullversion) $("${nvcc:-nvcc}" --version 2>/dev/null | tail -n 1) ${HOROVOD_BUILD_CUDA_CC_LIST:-}$LINKED" | sha256sum | cut -c1-16)
wheels="$CACHE/horovod-$key"
if ! ls "$wheels"/horovod-*.whl >/dev/null 2>&1; then
  say "building Horovod once, about two minutes on two cores (log: $CACHE/horovod-build.log)"
  building=$(mktemp -d "$CACHE/building.XXXXXX")
  # Horovod's own eight jobs are too many for the memory of a small machine, too few for a large one.
  export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
  export MAKEFLAGS=${MAKEFLAGS:--j$CMAKE_BUILD_PARALLEL_LEVEL}
  env "${FLAGS[@]}" "$VENV/bin/python" -m pip wheel --no-build-isolation --no-deps --no-cache-dir -w "$building" "horovod==$HOROVOD" >"$CACHE/horovod-build.log" 2>&1 ||
    { tail -n 20 "$CACHE/horovod-build.log" >&2; fail "horovod $HOROVOD must build against TensorFlow $tensorflow. Received: the log above. See $CACHE/horovod-build.log."; }
  mv "$building" "$wheels"
fi
pip install -c constraints.txt "$wheels"/horovod-*.whl
installed || echo "$stamp" >"$VENV/.installed"
echo "extras: $*" >>"$VENV/.installed"
say "done"

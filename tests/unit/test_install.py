"""What `scripts/install.sh` builds Horovod with, by what it finds; stand-ins for mpicc, nvcc and
Python, and nothing is built.
"""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYSTEM_NCCL = any(
    pathlib.Path(folder, "nccl.h").exists() for folder in ("/usr/include", "/usr/local/include")
)


@pytest.fixture
def machine(tmp_path):
    """A folder with the few programs that the script needs to look around; `bin` is all of PATH."""
    (tmp_path / "bin").mkdir()
    for name in ("bash", "dirname", "readlink"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    return tmp_path


def put(*files):
    """Makes stand-ins, which succeed and say nothing that matters."""
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\necho gcc -lmpi\n")
        file.chmod(0o755)


def put_cuda(home, *, nccl="22105"):
    """Makes a stand-in for CUDA, with NCCL of a version, or without."""
    put(home / "bin" / "nvcc", home / "include" / "cuda_runtime.h")
    if nccl:
        (home / "include" / "nccl.h").write_text(
            f"#pragma once\n#define NCCL_VERSION_CODE {nccl}\n"
        )


def flags(machine, **variables):
    """(exit status, flags, what was said) of a dry run."""
    environment = {"PATH": str(machine / "bin"), "HOME": str(machine)} | variables
    command = [shutil.which("bash"), str(ROOT / "scripts" / "install.sh"), "--flags"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.split(), done.stderr


def test_gloo_alone_where_nothing_is_found(machine):
    status, made, said = flags(machine)
    assert (status, made[3:]) == (0, ["HOROVOD_WITH_GLOO=1", "HOROVOD_WITHOUT_MPI=1"])
    assert said.startswith("install: Horovod with Gloo (mpicc: none, nvcc: none, nccl.h: ")


def test_mpi_where_mpicc_is_found(machine):
    put(machine / "bin" / "mpicc")
    status, made, said = flags(machine)
    assert (status, made[3:]) == (0, ["HOROVOD_WITH_GLOO=1", "HOROVOD_WITH_MPI=1"])
    assert said.startswith(
        f"install: Horovod with Gloo, MPI (mpicc: {machine}/bin/mpicc, nvcc: none, nccl.h: "
    )


@pytest.mark.parametrize("where", ["PATH", "CUDA_HOME", "HOROVOD_CUDA_HOME"])
def test_nccl_where_cuda_and_nccl_are_found(machine, where):
    put_cuda(machine / "cuda")
    variables = (
        {where: f"{machine}/cuda"}
        if where != "PATH"
        else {where: f"{machine}/bin:{machine}/cuda/bin"}
    )
    status, made, said = flags(machine, **variables)
    assert (status, made[4:]) == (
        0,
        [
            "HOROVOD_WITHOUT_MPI=1",
            "HOROVOD_GPU_OPERATIONS=NCCL",
            f"HOROVOD_CUDA_HOME={machine}/cuda",
        ],
    )
    assert "Horovod with Gloo, GPU collectives by NCCL (mpicc: none, " in said
    assert said.endswith(f"nccl.h: {machine}/cuda/include/nccl.h, 22105)\n")


def test_nccl_in_a_folder_of_its_own(machine):
    put_cuda(machine / "cuda", nccl=None)
    put(machine / "nccl" / "include" / "nccl.h")
    _, made, _ = flags(machine, CUDA_HOME=f"{machine}/cuda", HOROVOD_NCCL_HOME=f"{machine}/nccl")
    assert "HOROVOD_GPU_OPERATIONS=NCCL" in made


@pytest.mark.parametrize("leads", ["link", "wrapper"])
def test_cuda_is_where_the_compiler_is_not_where_something_leads_to_it(machine, leads):
    cuda, nvcc = machine / "my cuda", machine / "bin" / "nvcc"
    put_cuda(cuda)
    if leads == "link":
        nvcc.symlink_to(cuda / "bin" / "nvcc")
    else:
        put(nvcc)
        nvcc.write_text(
            f"#!/bin/sh\necho '#$ _HERE_=/x' >&2\necho '#$ TOP={cuda}/bin/..' >&2\nexit 1"
        )
    status, made, _ = flags(machine)
    assert (status, " ".join(made[-2:])) == (0, f"HOROVOD_CUDA_HOME={machine}/my\\ cuda")


@pytest.mark.skipif(SYSTEM_NCCL, reason="the system has NCCL")
def test_cuda_without_nccl_builds_no_gpu_collectives(machine):
    put(machine / "bin" / "nvcc")
    _, made, said = flags(machine)
    assert made[-1] == "HOROVOD_WITHOUT_MPI=1"
    assert f"nvcc: {machine}/bin/nvcc, nccl.h: none" in said


def test_what_is_asked_for_comes_before_what_is_found(machine):
    put(machine / "bin" / "mpicc")
    put_cuda(machine)
    _, made, _ = flags(machine)
    assert made[4:] == [
        "HOROVOD_WITH_MPI=1",
        "HOROVOD_GPU_OPERATIONS=NCCL",
        f"HOROVOD_CUDA_HOME={machine}",
    ]
    _, made, _ = flags(machine, HOROVOD_WITH_MPI="0", HOROVOD_GPU_OPERATIONS="")
    assert made[4:] == ["HOROVOD_WITHOUT_MPI=1"]
    _, made, _ = flags(machine, HOROVOD_GPU_OPERATIONS="MPI")
    assert "HOROVOD_GPU_OPERATIONS=MPI" in made


def test_what_is_asked_for_and_not_there_is_refused(machine):
    status, made, said = flags(machine, HOROVOD_WITH_MPI="1")
    assert (status, made) == (1, [])
    assert said.startswith(
        "error: mpicc must be installed to build Horovod with MPI. Received: none. apt-get install "
    )
    status, made, said = flags(machine, HOROVOD_WITH_MPI="yes")
    assert (status, made) == (1, [])
    assert said.startswith("error: HOROVOD_WITH_MPI must be 0 or 1. Received: yes. Unset it ")


def test_collectives_that_would_not_build_are_refused_at_once(machine):
    status, made, said = flags(machine, HOROVOD_GPU_OPERATIONS="NCCL")
    told = r"error: CUDA must be found to build .*\. Received: nvcc none, .* Set CUDA_HOME to "
    assert (status, made, bool(re.match(told, said))) == (1, [], True), said
    put(machine / "bin" / "nvcc")  # a wrapper of nothing
    status, made, said = flags(machine, HOROVOD_GPU_OPERATIONS="MPI")
    told = rf"error: CUDA must .* Received: nvcc {machine}/bin/nvcc, without include/cuda_runtime.h"
    assert (status, made, bool(re.match(told, said))) == (1, [], True), said


@pytest.mark.skipif(SYSTEM_NCCL, reason="the system has NCCL")
def test_nccl_that_is_asked_for_and_not_there_is_refused_at_once(machine):
    put_cuda(machine, nccl=None)
    status, made, said = flags(machine, HOROVOD_GPU_OPERATIONS="NCCL")
    told = (
        rf"error: nccl.h must be .*\. Received: none in .*, {machine}/include, .* HOROVOD_NCCL_HOME"
    )
    assert (status, made, bool(re.match(told, said))) == (1, [], True), said


PYTHON = """#!/bin/sh
case "$*" in
  *"pip wheel"*)
    printf '%s\\n' "$MAKEFLAGS" "$CMAKE_BUILD_PARALLEL_LEVEL" "$HOROVOD_CUDA_HOME" >>"$BUILDS"
    while [ "$1" != -w ]; do shift; done
    touch "$2/horovod-0.whl" ;;
esac
"""


def install(machine, **variables):
    """Installs into a folder of stand-ins; [MAKEFLAGS, CMake's jobs, CUDA's home] of each build."""
    python, builds = machine / "venv" / "bin" / "python", machine / "builds"
    put(python)
    python.write_text(PYTHON)
    environment = {
        "PATH": os.environ["PATH"],
        "BUILDS": str(builds),
        "GMETA_CACHE": str(machine / "cache"),
        "HOME": str(machine),
        "PYTHON": str(python),
        "VENV": str(machine / "venv"),
    } | variables
    command = [shutil.which("bash"), str(ROOT / "scripts" / "install.sh")]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    lines = builds.read_text().splitlines()
    return [lines[place : place + 3] for place in range(0, len(lines), 3)]


def test_horovod_is_compiled_on_the_cores_and_again_for_another_nccl(machine):
    cuda = machine / "my cuda"
    put_cuda(cuda)
    cores = str(len(os.sched_getaffinity(0)))
    asked = {"CUDA_HOME": str(cuda), "HOROVOD_WITH_MPI": "0", "HOROVOD_GPU_OPERATIONS": "NCCL"}
    for _ in range(2):
        assert install(machine, **asked) == [[f"-j{cores}", cores, str(cuda)]]
    put_cuda(cuda, nccl="22203")
    assert len(install(machine, **asked)) == 2
    other = install(machine, **asked, HOROVOD_NCCL_LIB="/elsewhere", MAKEFLAGS="-j1")
    assert [made[0] for made in other] == [f"-j{cores}", f"-j{cores}", "-j1"]
    assert len(list((machine / "cache").glob("horovod-*/horovod-0.whl"))) == 3

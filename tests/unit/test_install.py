"""What `scripts/install.sh` would build Horovod with, by what it finds; stand-ins for mpicc and
nvcc, and nothing is built.
"""

import pathlib
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
    for name in ("bash", "dirname"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    return tmp_path


def put(*files):
    """Makes stand-ins, which succeed and say nothing that matters."""
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\necho gcc -lmpi\n")
        file.chmod(0o755)


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
    put(machine / "cuda" / "bin" / "nvcc", machine / "cuda" / "include" / "nccl.h")
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


def test_nccl_in_a_folder_of_its_own(machine):
    put(machine / "cuda" / "bin" / "nvcc", machine / "nccl" / "include" / "nccl.h")
    _, made, _ = flags(machine, CUDA_HOME=f"{machine}/cuda", HOROVOD_NCCL_HOME=f"{machine}/nccl")
    assert "HOROVOD_GPU_OPERATIONS=NCCL" in made


@pytest.mark.skipif(SYSTEM_NCCL, reason="the system has NCCL")
def test_cuda_without_nccl_builds_no_gpu_collectives(machine):
    put(machine / "bin" / "nvcc")
    _, made, said = flags(machine)
    assert made[-1] == "HOROVOD_WITHOUT_MPI=1"
    assert f"nvcc: {machine}/bin/nvcc, nccl.h: none" in said


def test_what_is_asked_for_comes_before_what_is_found(machine):
    put(machine / "bin" / "mpicc", machine / "bin" / "nvcc", machine / "include" / "nccl.h")
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

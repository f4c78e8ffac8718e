import ctypes
import math
import os
import pathlib
import signal
import socket

import pytest

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import launch


@pytest.fixture(autouse=True)
def _a_machine_of_eight_cores(monkeypatch):
    """Where nothing is set, no launcher is at work, and TensorFlow's settings are noted,
    not made.
    """
    for name in (
        *launch.LAUNCHERS,
        *filter(None, launch.LAUNCHERS.values()),
        launch.PMIX,
        launch.CHOSEN_GPUS,
        launch.INTRA,
        launch.INTER,
        launch.CYCLE,
        launch.TIMELINE,
        launch.GLOO,
        launch.GLOO_TIMEOUT,
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOROVOD_LOG_LEVEL", "info")
    bind(monkeypatch, 8)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(launch, "quota", lambda: math.inf)


def bind(monkeypatch, own, *, parents=8):
    """Numbers of cores in the affinity masks of this process and its parent."""
    monkeypatch.setattr(
        os, "sched_getaffinity", lambda process: set(range(parents if process else own))
    )


def settings(monkeypatch, *, gpus=()):
    """A list that receives what `take_devices` sets."""
    calls = []
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: list(gpus) if kind == "GPU" else []
    )
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda device, kind: calls.append((device, kind))
    )
    monkeypatch.setattr(
        tf.config.experimental,
        "set_memory_growth",
        lambda device, enable: calls.append((device, enable)),
    )
    monkeypatch.setattr(
        tf.config.threading,
        "set_intra_op_parallelism_threads",
        lambda threads: calls.append(f"intra {threads}"),
    )
    monkeypatch.setattr(
        tf.config.threading,
        "set_inter_op_parallelism_threads",
        lambda threads: calls.append(f"inter {threads}"),
    )
    return calls


@pytest.mark.parametrize(
    ("own", "parents", "neighbours", "cores"),
    [
        (8, 8, 1, 8),
        (8, 8, 2, 4),  # the ranks share a mask
        (8, 8, 3, 2),
        (8, 8, 16, 1),  # more ranks than cores
        (4, 8, 2, 4),  # the launcher bound each rank to cores of its own
        (4, 8, 4, 2),  # to a socket that two share
        (1, 8, 2, 1),
        (2, 2, 2, 1),  # all of the job is bound to two cores
    ],
)
def test_a_rank_uses_its_mask_or_its_share_of_it(monkeypatch, own, parents, neighbours, cores):
    bind(monkeypatch, own, parents=parents)
    assert launch.own_cores(neighbours) == cores


def test_a_parent_that_is_gone_is_no_matter(monkeypatch):
    def affinity(process):
        if process:
            raise ProcessLookupError
        return {0, 1, 2, 3}

    monkeypatch.setattr(os, "sched_getaffinity", affinity)
    assert launch.own_cores(2) == 2


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        ("0::/", {}, math.inf),
        ("0::/job/step", {"cpu.max": "max 100000"}, math.inf),
        ("0::/job/step", {"job/cpu.max": "250000 100000", "cpu.max": "800000 100000"}, 2.5),
        (
            "4:memory:/x\n3:cpu,cpuacct:/docker/a",
            {"cpu,cpuacct/cpu.cfs_quota_us": "400000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            4,
        ),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ("1:name=systemd:/\n0::/", {"cpu.max": "20000 100000"}, 1),  # a fifth of a core
        ("0::/", {"cpu.max": "what is this"}, math.inf),
    ],
)
def test_a_containers_quota_is_known(monkeypatch, tmp_path, cgroup, files, cores):
    monkeypatch.undo()
    monkeypatch.setattr(launch, "CGROUPS", tmp_path)
    read = pathlib.Path.read_text

    def of_this_process(path, *options):
        return cgroup if str(path) == "/proc/self/cgroup" else read(path, *options)

    monkeypatch.setattr(pathlib.Path, "read_text", of_this_process)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert launch.quota() == cores


def test_ranks_share_a_containers_quota(monkeypatch):
    monkeypatch.setattr(launch, "quota", lambda: 3.5)
    assert [launch.own_cores(neighbours) for neighbours in (1, 2, 8)] == [3, 1, 1]
    calls = settings(monkeypatch)
    launch.take_devices(0, 1)  # which TensorFlow does not know
    assert calls == ["intra 3", "inter 3"]


@pytest.mark.parametrize(("place", "gpu"), [(0, "gpu 0"), (1, "gpu 1")])
def test_each_local_rank_takes_a_gpu_of_its_own_and_its_share_of_the_cores(monkeypatch, place, gpu):
    calls = settings(monkeypatch, gpus=["gpu 0", "gpu 1"])
    launch.take_devices(place, 2)
    assert calls == [(gpu, "GPU"), (gpu, True), "intra 4", "inter 4"]


def test_one_rank_keeps_the_threads_that_tensorflow_would_take(monkeypatch):
    calls = settings(monkeypatch)
    launch.take_devices(0, 1)
    assert calls == []


def test_threads_that_the_user_set_stand(monkeypatch):
    calls = settings(monkeypatch)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    launch.take_devices(0, 2)
    assert calls == ["intra 3", "inter 4"]
    monkeypatch.setattr(tf.config.threading, "get_inter_op_parallelism_threads", lambda: 7)
    assert launch.threads(2) == (3, 7)


def test_a_number_of_threads_must_be_one(monkeypatch):
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "many")
    with pytest.raises(
        ValueError,
        match=r"TF_NUM_INTEROP_THREADS must be a number of threads. Received: TF_NUM_INTEROP_THREADS='many'. Unset",
    ):
        launch.threads(2)


@pytest.mark.parametrize(
    ("gpus", "chosen", "refused"), [(1, None, True), (2, "0,1", True), (1, "3", False)]
)
def test_a_gpu_is_not_shared(monkeypatch, gpus, chosen, refused):
    """But where a launcher shows each rank one of its own."""
    calls = settings(monkeypatch, gpus=[f"gpu {i}" for i in range(gpus)])
    if chosen:
        monkeypatch.setenv(launch.CHOSEN_GPUS, chosen)
    if not refused:
        launch.take_devices(5, 8)
        assert calls[0] == ("gpu 0", "GPU")
        return
    with pytest.raises(
        RuntimeError,
        match=rf"^ranks of a host must have a GPU each. Received: 8 ranks, {gpus} GPUs. Start no",
    ):
        launch.take_devices(5, 8)


@pytest.mark.parametrize(("place", "chosen", "warned"), [(0, None, 1), (1, None, 0), (0, "", 0)])
def test_a_gpu_that_cannot_be_used_is_told(monkeypatch, tmp_path, recwarn, place, chosen, warned):
    settings(monkeypatch)
    monkeypatch.setattr(launch, "NVIDIA", tmp_path)  # something that is there
    if chosen is not None:
        monkeypatch.setenv(launch.CHOSEN_GPUS, chosen)
    launch.take_devices(place, 2)
    told = [str(one.message) for one in recwarn]
    assert len(told) == warned
    assert all("TensorFlow must load CUDA's libraries" in text for text in told)


@pytest.mark.parametrize(("neighbours", "ranks"), [(1, 1), (1, 2), (2, 2)])
def test_devices_are_taken_before_tensorflow_runs(monkeypatch, neighbours, ranks):
    settings(monkeypatch, gpus=["gpu 0", "gpu 1"])

    def refuse(*_):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    told = r"comm.init must come before TensorFlow's first operation. Received: Visible devices"
    if ranks == 1:
        with pytest.warns(UserWarning, match=told):
            launch.take_devices(0, 1)
        return
    with pytest.raises(RuntimeError, match=told):
        launch.take_devices(0, neighbours, ranks=ranks)


@pytest.mark.parametrize(
    ("variables", "cycle"),
    [
        ({"HOROVOD_SIZE": "8", "HOROVOD_LOCAL_SIZE": "8"}, "1"),  # one core a rank
        ({"HOROVOD_SIZE": "16", "HOROVOD_LOCAL_SIZE": "2"}, "0.25"),  # eight hosts
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, "0.5"),
        ({"PMI_SIZE": "4"}, "0.5"),  # unknown: all on this host
        ({"HOROVOD_SIZE": "2", "HOROVOD_LOCAL_SIZE": "1"}, "0.12"),
        ({"HOROVOD_SIZE": "8", "HOROVOD_LOCAL_SIZE": "8", "HOROVOD_CYCLE_TIME": "7"}, "7"),
    ],
)
def test_the_cycle_is_shorter_where_a_rank_has_more_cores(monkeypatch, variables, cycle):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HOROVOD_LOG_LEVEL")
    launch.prepare_horovod(600)
    made = {name: os.environ.pop(name) for name in (launch.CYCLE, "HOROVOD_LOG_LEVEL")}
    assert made == {launch.CYCLE: cycle, "HOROVOD_LOG_LEVEL": "fatal"}
    del os.environ[launch.GLOO_TIMEOUT]


def test_the_cycle_never_gets_too_short(monkeypatch):
    bind(monkeypatch, 64, parents=64)
    launch.prepare_horovod(600)
    assert os.environ.pop(launch.CYCLE) == "0.1"
    del os.environ[launch.GLOO_TIMEOUT]


@pytest.mark.parametrize(
    ("set_by_user", "patience", "seconds"),
    [(None, 600.0, "86400"), (None, 100_000.5, "200001"), ("7", 600.0, "7")],
)
def test_gloo_waits_for_longer_than_the_watchdog(monkeypatch, set_by_user, patience, seconds):
    if set_by_user:
        monkeypatch.setenv(launch.GLOO_TIMEOUT, set_by_user)
    launch.prepare_horovod(patience)
    assert os.environ.pop(launch.GLOO_TIMEOUT) == seconds
    del os.environ[launch.CYCLE]


NAMES = [  # what the own name leads to, hosts of the job, what is told
    (
        socket.gaierror(-2, "Name or service not known"),
        1,
        "far-1, .*not known. .* '127.0.1.1 far-1'",
    ),
    (UnicodeError("label too long"), 1, "far-1, label too long. Add it to /etc/hosts of this host"),
    (["192.0.2.1"], 1, "far-1, 192.0.2.1, which is no address of this host. Add it to /etc/hosts"),
    (["192.0.2.1", "127.0.0.1"], 1, None),
    (
        ["127.0.0.1"],
        2,
        "far-1, 127.0.0.1. Add it to /etc/hosts of this host: 'ADDRESS far-1', above",
    ),
    (socket.gaierror(-2, "Name or service not known"), 2, "far-1, .*not known. .* 'ADDRESS far-1'"),
    (["0.0.0.0"], 2, None),  # stands for one that other hosts reach
]


@pytest.mark.parametrize(("leads_to", "hosts", "told"), NAMES, ids=range(len(NAMES)))
def test_a_host_whose_name_leads_nowhere_is_refused_before_gloo_takes_it(
    monkeypatch, leads_to, hosts, told
):
    def resolve(name, _, **options):
        assert name == "far-1"
        if isinstance(leads_to, Exception):
            raise leads_to
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (one, 0)) for one in leads_to]

    monkeypatch.setattr(socket, "gethostname", lambda: "far-1")
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setenv("HOROVOD_SIZE", "4")
    monkeypatch.setenv("HOROVOD_LOCAL_SIZE", str(4 // hosts))
    launch.require_own_name()  # of ranks that MPI started
    monkeypatch.setenv(launch.GLOO, "10.0.0.1")
    if not told:
        launch.require_own_name()
        return
    reach = " that other hosts reach" if hosts > 1 else ""
    with pytest.raises(
        RuntimeError,
        match=rf"^this host's name must resolve to an address of its own{reach}. Received: {told}",
    ):
        launch.require_own_name()


def test_a_rank_that_is_stopped_wakes_when_its_parent_ends():
    """The kernel's note of it: what stops and ends is tried by hand."""
    kernel, noted = ctypes.CDLL(None).prctl, ctypes.c_int()
    launch.wake_with_parent()
    kernel(2, ctypes.byref(noted))  # PR_GET_PDEATHSIG
    kernel(launch.SIGNAL_OF_A_PARENTS_DEATH, 0)
    assert noted.value == signal.SIGCONT


def test_launched_size(monkeypatch):
    assert launch.launched_size() == 1
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")  # srun, with PMIx
    monkeypatch.setenv("PMIX_RANK", "2")
    assert launch.launched_size() == 4
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "3")
    assert launch.launched_size() == 3


def test_a_launcher_that_tells_no_size_is_refused(monkeypatch):
    monkeypatch.setenv("PMIX_RANK", "2")
    with pytest.raises(
        RuntimeError,
        match=r"^launcher must be one of horovodrun, .* Received: PMIX_RANK=2, .* unset PMIX_RANK",
    ):
        launch.launched_size()


def test_one_line_tells_how_a_rank_runs(monkeypatch):
    assert (
        launch.describe(ranks=1, hosts=1, neighbours=1, backend=None)
        == "1 rank, 8 of 8 cores, threads 8/8"
    )
    monkeypatch.setenv("HOROVOD_CYCLE_TIME", "0.5")
    told = launch.describe(ranks=4, hosts=1, neighbours=4, backend="Gloo")
    assert told == "4 ranks on 1 host, 2 of 8 cores each, Gloo, threads 2/2, cycle 0.5 ms"
    told = launch.describe(ranks=4, hosts=2, neighbours=2, backend="MPI", heartbeat=False)
    assert told.endswith(", no heartbeat")
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["gpu 0"])
    monkeypatch.setenv("HOROVOD_THREAD_AFFINITY", "3")
    told = launch.describe(ranks=4, hosts=2, neighbours=2, backend="NCCL")
    assert (
        told
        == "4 ranks on 2 hosts, a GPU and 4 of 8 cores each, NCCL, threads 4/4, cycle 0.5 ms, Horovod on core 3"
    )

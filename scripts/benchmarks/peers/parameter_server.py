"""The same outer step with an asynchronous parameter server, as DMAML's:
`tf.distribute.ParameterServerStrategy`.

cd scripts/benchmarks && python -m peers.parameter_server --workers 2 --how map_fn --steps 200

Dense weights and table live on the server. A worker pulls the weights and the rows of its batch,
adapts to its tasks, and pushes the gradients; it waits for no other. Server and workers are
processes on ports of the loopback device. The process that hands out the steps starts them, and
they end with it, however it ends.
"""

import os
import socket
from typing import Literal

import tensorflow as tf
from harness.side import CORES, measure
from harness.workloads import Workload, first_weights, random_batches
from peers.tf_loops import outer_step

HOST = "127.0.0.1"


def start_cluster(*, workers: int) -> tf.train.ClusterSpec:
    """Starts a server and workers; TensorFlow must not have run an operation yet, since they are
    forked.
    """
    sockets = [
        socket.create_server((HOST, 0)) for _ in range(1 + workers)
    ]  # all at once, so that no port is given twice
    addresses = [f"{HOST}:{s.getsockname()[1]}" for s in sockets]
    cluster = tf.train.ClusterSpec({"ps": addresses[:1], "worker": addresses[1:]})
    for s in sockets:
        s.close()
    pipe = os.pipe()
    for task in [("ps", 0), *(("worker", index) for index in range(workers))]:
        if os.fork() == 0:
            try:
                serve(cluster, *task, pipe)
            finally:
                os._exit(1)
    os.close(pipe[0])
    return cluster


def serve(cluster: tf.train.ClusterSpec, job: str, index: int, pipe: tuple[int, int]):
    """Is a server or worker until the process that started it is gone, and with it the other end of
    the pipe.
    """
    os.close(pipe[1])
    workers = cluster.num_tasks("worker")
    # Calls from every worker may wait in the threads between operations at once.
    threads = {
        "intra_op_parallelism_threads": max(1, CORES // workers),
        "inter_op_parallelism_threads": workers + 1,
    }
    config = tf.compat.v1.ConfigProto(**threads)
    _server = tf.distribute.Server(
        cluster, job_name=job, task_index=index, protocol="grpc", config=config
    )
    os.read(pipe[0], 1)


def make(workload: Workload, workers: int = 2, how: Literal["map_fn", "vectorized"] = "map_fn"):
    """The steps behind `run(steps)` (see `side.measure`), each of which is taken by the next worker
    that is free.
    """
    cluster = start_cluster(workers=workers)
    strategy = tf.distribute.ParameterServerStrategy(
        tf.distribute.cluster_resolver.SimpleClusterResolver(cluster, rpc_layer="grpc")
    )
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    with strategy.scope():
        table, *dense = tf.nest.map_structure(tf.Variable, first_weights(workload))

    @tf.function
    def step(batches):
        return outer_step(how, workload, table, dense, *next(batches))

    def dataset():
        batches = tf.nest.map_structure(lambda *parts: tf.stack(parts), *random_batches(workload))
        return tf.data.Dataset.from_tensor_slices(batches).cache().repeat()

    batches = iter(coordinator.create_per_worker_dataset(dataset))

    def run(steps):
        for _ in range(steps):
            loss = coordinator.schedule(step, args=(batches,))
        coordinator.join()
        return float(loss.fetch())

    return run


if __name__ == "__main__":
    measure(make, description=__doc__)

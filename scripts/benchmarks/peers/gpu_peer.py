"""A peer of `gpu`: the step of workload `small` in PyTorch or JAX, a line of JSON for each kind of
input. Needs NumPy and the framework only.

    cd scripts/benchmarks && python -m peers.gpu_peer torch_compile 1024 GPU 3
    cd scripts/benchmarks && python -m peers.gpu_peer jax 1024 GPU 3

Arguments: torch_vmap, torch_compile or jax; tasks; device (GPU or CPU); seconds to time each input.
"""

import dataclasses
import json
import sys

from harness import spans
from harness.workloads import SMALL


def main():
    """Prints a line an input: batches sent from the host at each step (`cached`), or `resident`."""
    name, tasks, device, seconds = sys.argv[1:]
    workload = dataclasses.replace(SMALL, tasks=int(tasks))
    for given in ("cached", "resident"):
        try:
            run = {"torch": torch_run, "jax": jax_run}[name.split("_")[0]](
                name, workload, device, resident=given == "resident"
            )
            result = spans.timed(run, workload.samples_per_step, seconds=float(seconds))
            result["loss"] = run(spans.UNIT)
        except ImportError as error:
            result = {"absent": str(error)}
        except Exception as error:  # noqa: BLE001  # is reported, and the next input goes on
            result = {"failed": f"{type(error).__name__}: {str(error)[:500]}"}
        print(json.dumps({"input": given} | result), flush=True)


def torch_run(name, workload, device, *, resident):
    """`run(steps)` of PyTorch's peer."""
    import torch
    from peers import torch_loops

    if device == "GPU" and not torch.cuda.is_available():
        raise ImportError("PyTorch finds no GPU")
    return torch_loops.make(
        workload,
        how=name.split("_")[1],
        device="cuda" if device == "GPU" else "cpu",
        resident=resident,
    )


def jax_run(name, workload, device, *, resident):
    """`run(steps)` of JAX's peer."""
    del name
    import jax
    from peers import jax_loops

    if device == "GPU" and jax.default_backend() != "gpu":
        raise ImportError("JAX finds no GPU")
    return jax_loops.make(workload, resident=resident)


if __name__ == "__main__":
    main()

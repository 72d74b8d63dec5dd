"""Many calls at once: on every core by joblib, or on a Dask or Ray cluster by joblib's backend for it.

What a call gives depends on its arguments alone, so that results are the same wherever it runs, in the same order.
Without joblib calls run one after another.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Annotated, Any, NamedTuple

from llmcost.ground.errors import InputError
from llmcost.ground.options import Option, Word, count

DASK, RAY = "dask", "ray"
NEEDED = {DASK: "distributed", RAY: "ray"}  # what joblib's backend for a cluster needs


def _check_cluster(option: str, value: str) -> None:
    """Raise InputError for a cluster of another kind, or a Dask cluster without an address."""
    kind, _, address = value.partition(":")
    if kind not in NEEDED or (kind == DASK and not address):
        raise InputError(f"{option} {value[:60]}: dask:tcp://HOST:8786, ray, or ray:ADDRESS")


class Together(NamedTuple):
    """Where many calls run."""

    jobs: Annotated[
        int | None, count("Simulations at a time; needs joblib.", most=4096, default="one a core, where joblib is")
    ] = None
    cluster: Annotated[
        Word,
        Option(
            "A cluster that simulations run on: dask:tcp://HOST:8786, ray, or ray:ADDRESS.",
            metavar="CLUSTER",
            check=_check_cluster,
            default="this machine",
        ),
    ] = None

    def check(self) -> None:
        """Raise InputError for a package that is not installed, or for a number of jobs on a cluster."""
        if self.jobs is not None and self.cluster is not None:
            raise InputError(f"--jobs {self.jobs}: of this machine; on a cluster as many run as it has workers for")
        if self.jobs not in (None, 1) and find_spec("joblib") is None:
            raise InputError(f"--jobs {self.jobs}: needs joblib: pip install joblib")
        if self.cluster is not None:
            needed = ("joblib", NEEDED[self.cluster.partition(":")[0]])
            if missing := [name for name in needed if find_spec(name) is None]:
                raise InputError(f"--cluster {self.cluster}: needs {' and '.join(missing)}: pip install {missing[0]}")

    def asked(self) -> bool:
        """Whether anything is said of where calls run."""
        return self.jobs is not None or self.cluster is not None

    def results(self, call: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """What each call gives, in the order of its arguments, as soon as all before it are there.

        `call` is a module's own function. Raises InputError where a cluster does not answer.
        """
        each = list(arguments)
        if self.cluster is None and (self.jobs == 1 or len(each) < 2 or find_spec("joblib") is None):
            yield from (call(*given) for given in each)
            return
        from joblib import Parallel, delayed

        with ExitStack() as stack:
            if self.cluster is not None:
                stack.enter_context(_connected(*self.cluster.partition(":")[::2]))
            jobs = -1 if self.jobs is None else self.jobs
            as_they_come = self.cluster is None or self.cluster.startswith(DASK)  # Ray's backend gives all at the end
            yield from Parallel(jobs, return_as="generator" if as_they_come else "list")(
                delayed(call)(*given) for given in each
            )


@contextmanager
def _connected(kind: str, address: str) -> Iterator[None]:
    """While a block runs, joblib's calls go to a cluster."""
    from joblib import parallel_config

    if kind == DASK:
        from distributed import Client

        try:
            client = Client(address, timeout="10s")  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:  # a timeout is an OSError
            raise InputError(f"--cluster {kind}:{address}: no Dask scheduler answers there: {error}") from None
        with client, parallel_config(backend="dask"):
            yield
        return
    import ray
    from ray.util.joblib import register_ray

    try:
        ray.init(address=address or None, log_to_driver=False)
    except (ConnectionError, ValueError) as error:
        raise InputError(f"--cluster {kind}:{address}: no Ray cluster answers there: {error}") from None
    register_ray()
    with parallel_config(backend="ray"):
        yield
    ray.shutdown()

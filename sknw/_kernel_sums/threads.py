"""Queries are independent of each other, so threads share them out in chunks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from threading import current_thread, main_thread

from joblib.parallel import LokyBackend, MultiprocessingBackend, ParallelBackendBase, get_active_backend
from threadpoolctl import ThreadpoolController

# Backends whose workers are processes of this machine.
_PROCESSES_HERE = LokyBackend, MultiprocessingBackend


def for_each_chunk(
    task: Callable[[slice], None],
    n_queries: int,
    largest_chunk: int,
    n_threads: int,
    multiple_of: int = 1,
    uses_blas: bool = False,
) -> None:
    """Call ``task(rows)`` for consecutive slices of at most `largest_chunk` queries, in `n_threads` threads.

    Chunks are several a thread, so that no thread waits long for the last one, and a multiple of `multiple_of` long
    where there are queries enough. `uses_blas`: the task does, which then keeps to one thread.
    """
    size = min(largest_chunk, -(-n_queries // (4 * n_threads))) if n_threads > 1 else largest_chunk
    size = max(1, -(-size // multiple_of) * multiple_of)
    starts = deque(range(0, n_queries, size))

    def take() -> int | None:
        try:
            return starts.popleft()
        except IndexError:  # asking first would not do: another thread may take the last one in between
            return None

    def work() -> None:
        for start in iter(take, None):
            task(slice(start, min(start + size, n_queries)))

    with one_blas_thread() if uses_blas else nullcontext():
        if n_threads == 1 or len(starts) < 2:
            work()
            return
        # joblib's own thread pool takes 10 ms to start, as long as 20 million kernel evaluations. There is one future
        # for each thread: one for each chunk would hold 2 kB, and with 40 000 keys a chunk is a single query.
        with ThreadPoolExecutor(n_threads) as pool:
            workers = [pool.submit(work) for _ in range(n_threads)]
            try:
                wait(workers, return_when=FIRST_EXCEPTION)
            finally:
                starts.clear()  # after an error or an interrupt the other threads end with their chunk
        for worker in workers:
            worker.result()


def is_large_product(n_multiplications: int) -> bool:
    """Whether BLAS may take several threads for a product of matrices, as OpenBLAS does from here on."""
    return n_multiplications > 2**18


def one_blas_thread() -> AbstractContextManager:
    """Within it BLAS leaves threads to `for_each_chunk`: its own would wait for each other at every small product.

    The number of BLAS threads belongs to the process, and not every BLAS lets several threads set it and set it back:
    it is left alone outside of the main thread.
    """
    if current_thread() is not main_thread():
        return nullcontext()
    return _threadpools().limit(limits=1, user_api="blas")


@lru_cache(maxsize=1)
def _threadpools() -> ThreadpoolController:
    return ThreadpoolController()


def effective_n_threads(n_jobs: int | None) -> int:
    """`n_jobs` by joblib's conventions; joblib's own function would count processes, and those of a whole cluster."""
    if n_jobs == 1:
        return 1
    backend, n_jobs_of_context = get_active_backend(prefer="threads")
    if _is_distant(backend):
        backend, n_jobs_of_context = get_active_backend(require="sharedmem")
    return backend.effective_n_jobs(n_jobs_of_context if n_jobs is None else n_jobs)


def distant_backend() -> ParallelBackendBase | None:
    """The active joblib backend if its workers need not be on this machine, as those of dask, Ray and Spark."""
    backend, _ = get_active_backend(prefer="threads")
    return backend if _is_distant(backend) else None


def _is_distant(backend: ParallelBackendBase) -> bool:
    # the type itself: Ray's is a kind of multiprocessing
    return not getattr(backend, "supports_sharedmem", False) and type(backend) not in _PROCESSES_HERE

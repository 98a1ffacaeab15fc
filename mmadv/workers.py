"""Units of an audit shared out among processes, each of which holds its own victims."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mmadv.errors import RunError
from mmadv.stage import prepared

if TYPE_CHECKING:
    from mmadv.audit import Audit
    from mmadv.spec import Spec
    from mmadv.stage import Unit


class Crew:
    """Processes that share an audit, each of which holds its own victims; a context manager.

    While this process prepares the campaigns, from the first on, all but one of the crew do so from the last on. Who finds
    that another is making something goes on with the next campaign, so that models are trained and data fetched side by
    side, and once. What goes wrong in the crew meanwhile goes wrong here too, and is told here.

    Args:
        audit: what they share.
        workers: processes.
    """

    def __init__(self, audit: Audit, workers: int) -> None:
        self._audit, self._workers = audit, workers
        threads = max(1, int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1) // workers)
        allowed = [plugin.name for plugin in audit.host.loaded]
        # A fork would copy torch's threads in whatever state they are.
        self._pool = ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), _begin, (audit.spec, audit.folder.path, allowed, threads)
        )
        self._running: dict[Future[None], list[Unit]] = {}

    def __enter__(self) -> Self:
        names = [stage.campaign.name for stage in self._audit.stages][::-1]
        self._helping = []
        for helper in range(self._workers - 1):
            at = helper * len(names) // (self._workers - 1)
            self._helping.append(self._pool.submit(_prepare, names[at:] + names[:at]))
        return self

    def __exit__(self, *error: object) -> None:
        if not all(future.done() for future in (*self._helping, *self._running)):
            for process in list((self._pool._processes or {}).values()):
                process.terminate()  # what they have in hand is not waited for
        self._pool.shutdown(cancel_futures=True)

    def computed(self, rows: Iterable[Sequence[Unit]]) -> Iterator[Unit]:
        """Compute units, and tell each that stands, in the order in which they end.

        What a unit holds depends on its spec and its rows alone, so it is the same whichever process makes it.

        Args:
            rows: units that have to follow one another; this process has locked and begun the folder.

        Raises:
            MmadvError: what a worker raised; units that stand by then are kept.
            RunError: a worker died.
        """
        names = [stage.campaign.name for stage in self._audit.stages]
        waiting = [list(row) for row in rows if row]
        try:
            while waiting or self._running:
                while waiting and len(self._running) < self._workers:  # one in hand for each: an error is heard at once
                    row = waiting.pop(0)
                    self._running[self._pool.submit(_work, names, row[0])] = row
                done = next(as_completed(self._running))
                row = self._running.pop(done)
                done.result()
                yield row[0]
                if row[1:]:
                    waiting.insert(0, row[1:])
        except BrokenProcessPool as error:
            raise RunError(
                "a worker died, perhaps for want of memory",
                where=str(self._audit.folder.path),
                fix="run again with fewer workers; what was written so far stays",
            ) from error


_audit: Audit


def _begin(spec: Spec, folder: Path, allowed: list[str], threads: int) -> None:
    """In a worker: set up, and end with the process that started it, even when that is killed."""
    global _audit
    import torch

    from mmadv.audit import Audit
    from mmadv.host import Host

    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        with suppress(OSError):
            if parent is not None:
                connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    _audit = Audit(spec, folder, Host(allowed=allowed))


def _prepare(names: list[str]) -> None:
    """In a worker: prepare campaigns in this order."""
    stages = {stage.campaign.name: stage for stage in _audit.stages}
    for _ in prepared([stages[name] for name in names]):
        pass


def _work(names: list[str], unit: Unit) -> None:
    """In a worker: compute one unit, numbered among the campaigns of these names, into its place."""
    _audit.keep(names)
    _audit.compute(unit)

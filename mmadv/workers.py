"""Units of an audit shared out among processes, each of which holds its own victims."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING

from mmadv.errors import RunError

if TYPE_CHECKING:
    from mmadv.audit import Audit
    from mmadv.spec import Spec
    from mmadv.stage import Unit


def computed(audit: Audit, rows: Iterable[Sequence[Unit]], workers: int) -> Iterator[Unit]:
    """Compute units in processes of their own, and tell each that stands, in the order in which they end.

    What a unit holds depends on its spec and its rows alone, so it is the same whichever process makes it.

    Args:
        audit: whose folder this process has locked and begun.
        rows: units that have to follow one another.
        workers: processes.

    Raises:
        MmadvError: what a worker raised; units that stand by then are kept.
        RunError: a worker died.
    """
    threads = _threads(workers)
    names = [stage.campaign.name for stage in audit.stages]
    allowed = [plugin.name for plugin in audit.host.loaded]
    # A fork would copy torch's threads in whatever state they are.
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _begin, (audit.folder.path, names, allowed, threads)
    )
    waiting = [list(row) for row in rows if row]
    running: dict[Future[None], list[Unit]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:  # one in hand for each, so that an error is heard at once
                row = waiting.pop(0)
                running[pool.submit(_work, row[0])] = row
            done = next(as_completed(running))
            row = running.pop(done)
            done.result()
            yield row[0]
            if row[1:]:
                waiting.insert(0, row[1:])
    except BrokenProcessPool as error:
        raise RunError(
            "a worker died, perhaps for want of memory",
            where=str(audit.folder.path),
            fix="run again with fewer workers; what was written so far stays",
        ) from error
    finally:
        for process in list((pool._processes or {}).values()) if running else ():
            process.terminate()  # on an error, what the others have in hand is not waited for
        pool.shutdown(cancel_futures=True)


@contextmanager
def helpers(audit: Audit, count: int) -> Iterator[None]:
    """While campaigns are prepared in here, from the first on, do so in further processes, from the last on.

    That leaves models trained and data fetched in the cache, where whoever comes second finds them. What goes wrong in a
    helper goes wrong here too, and is told here.

    Args:
        audit: whose campaigns.
        count: of helpers.
    """
    names = [stage.campaign.name for stage in audit.stages][::-1]
    allowed = [plugin.name for plugin in audit.host.loaded]
    started = []
    try:
        for helper in range(count):
            at = helper * len(names) // count
            process = multiprocessing.get_context("spawn").Process(
                target=_help,
                args=(audit.spec, audit.folder.path, names[at:] + names[:at], allowed, _threads(count + 1)),
            )
            process.start()
            started.append(process)
        yield
    finally:
        for process in started:
            process.terminate()  # nothing that they could still prepare is asked for any more
            process.join()


def _threads(processes: int) -> int:
    """How many threads of torch's each of several processes may use."""
    return max(1, int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1) // processes)


_started: tuple[Path, list[str], list[str]]
_audit: Audit | None = None


def _begin(folder: Path, names: list[str], allowed: list[str], threads: int) -> None:
    """In a worker: note what it will work on, and end with the process that started it, even when that is killed."""
    global _started
    _started = folder, names, allowed
    _follow(threads)


def _follow(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        with suppress(OSError):
            if parent is not None:
                connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _help(spec: Spec, folder: Path, names: list[str], allowed: list[str], threads: int) -> None:
    """In a helper: prepare campaigns in this order."""
    from mmadv.audit import Audit
    from mmadv.host import Host
    from mmadv.stage import prepared

    _follow(threads)
    stages = {stage.campaign.name: stage for stage in Audit(spec, folder, Host(allowed=allowed)).stages}
    for _ in prepared([stages[name] for name in names]):
        pass


def _work(unit: Unit) -> None:
    """In a worker: compute one unit into its place."""
    global _audit
    if _audit is None:
        from mmadv.audit import Audit
        from mmadv.host import Host

        folder, names, allowed = _started
        _audit = Audit.of_folder(folder, Host(allowed=allowed))
        _audit.keep(names)
    _audit.compute(unit)

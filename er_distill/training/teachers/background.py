"""Run a coroutine in a thread and iterate over what it puts: works where a loop already runs, as in a notebook."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def iterate(main: Callable[[Callable[[T], None]], Coroutine[Any, Any, None]]) -> Iterator[T]:
    """Yield what a coroutine puts, as it comes; its exception is raised after everything it had put.

    Parameters
    ----------
    main : callable
        Given a function to put items with, returns the coroutine to run. It is cancelled when the iterator is closed.
    """
    run = _Run[T]()
    thread = threading.Thread(target=run.hold, args=(main,), name="er_distill-teacher", daemon=True)
    thread.start()
    try:
        while True:
            item = run.items.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        run.cancel()
        thread.join()


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Run(Generic[T]):
    def __init__(self) -> None:
        self.items: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def hold(self, main: Callable[[Callable[[T], None]], Coroutine[Any, Any, None]]) -> None:
        async def guarded() -> None:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            self._started.set()
            await main(self.items.put)

        error: BaseException | None = None
        try:
            asyncio.run(guarded())
        except BaseException as raised:  # whatever it is, it belongs to the thread that iterates
            error = raised
        finally:
            self._started.set()
            self.items.put(_End(error))

    def cancel(self) -> None:
        """Cancel the coroutine, where it still runs."""
        self._started.wait()
        if self._loop is not None and self._task is not None and not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(self._task.cancel)
            except RuntimeError:
                return  # the loop was closed in between: there is nothing left to cancel

"""An asyncio loop in a thread of its own, for tests and tools that are not asynchronous."""

import asyncio
import threading


class Background:
    """
    with Background() as background: value = background.call(coroutine)

    Ends its loop, and whatever still runs in it, at the end of the block or with stop().
    """

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="localcloud", daemon=True)
        self._thread.start()

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, coroutine, timeout=30):
        """Run it in the loop; its result or exception, or TimeoutError after timeout seconds."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def do(self, function, *args):
        """Call a plain function in the loop's thread and return what it returns."""

        async def run():
            return function(*args)

        return self.call(run())

    def stop(self):
        if not self._thread.is_alive():
            return
        self.call(self._cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    async def _cancel_all(self):
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

# link_asyncio: lets a client run inside an asyncio program. Stands on asyncio, and works with
# whatever has a do_next(): MQTTLink and every client that stands on it. Loaded only when wanted.

from asyncio import sleep_ms


async def run(client, idle_ms=20, until=None):
    """
    Step `client` until cancelled, or until until() is true, giving way to other tasks after each
    step. Start one such task for each client, and wait for things with further calls:

        create_task(run(link))
        await run(link, until=link.is_connected)
        await run(link, until=lambda: not link.inflight)     # all that was sent is acknowledged

    idle_ms: the longest sleep, in ms, while nothing happens, and so the longest that a message
        lies unread: sleeping begins at 0, doubles with each idle step, and is 0 again after one
        in which something happened. publish() sends at once and waits for no step.
    until: a function without arguments, asked before each step, such as an Event's is_set.

    Don't use the calls that wait (connect(), publish(wait_ms)) in an asyncio program: they hold up
    all of its tasks. Raises what do_next() raises, which is what a callback of the program raised;
    run() may be called again then. Cancelling leaves the connection open: disconnect() ends it.
    """
    pause = 0
    while not (until and until()):
        pause = 0 if client.do_next() else min(2 * pause + 1, idle_ms)
        await sleep_ms(pause)

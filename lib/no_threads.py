# no_threads: what stands in for _thread's lock on a port without threads. Stands on nothing.


class allocate_lock:
    """
    A lock that interrupts respect: one comes only where a program jumps, and nothing here does.
    """

    taken = False

    def acquire(self, wait=True):
        """Take it; returns whether it was free."""
        taken, self.taken = self.taken, True
        return not taken

    def release(self):
        """Let go of it."""
        self.taken = False

from given import EPOCH

import sys
import time as _real

class time:
    "The board's clock, moved by the test. ahead: seconds."
    ahead = 0
    def time():
        return int(_real.time()) + time.ahead - (946684800 if EPOCH == 2000 else 0)
    def gmtime(seconds=None):
        seconds = time.time() if seconds is None else seconds
        return _real.gmtime(seconds + (946684800 if EPOCH == 2000 else 0))
    def ticks_ms():
        # ticks_add() takes no more than half of the ticks' range; its last is ticks_add(0, -1).
        return (_real.ticks_ms() + time.ahead * 1000) & _real.ticks_add(0, -1)
    ticks_add = _real.ticks_add
    ticks_diff = _real.ticks_diff
    sleep_ms = _real.sleep_ms
    ticks_us = _real.ticks_us
    def mktime(parts):
        return _real.mktime(parts) - (946684800 if EPOCH == 2000 else 0)

sys.modules["time"] = time

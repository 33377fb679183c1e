"""
`import TeamViewerIoTPythonSDK.TVCMI_client as TVCMI_client`, as in the documents' examples.

The class is teamviewer_iot's, with a helping thread for programs that were written for the SDK and
only sleep: where the port has threads (CPython, MicroPython on unix, ESP32, RP2), provision() and
connect_api() start one that calls do_next(). It ends with disconnect_api(), or when the program
calls do_next() itself. Callbacks then run in that thread, as they do in the SDK. An exception that
one raises is printed, and the thread goes on. Where the port can't start one, its OSError comes
out of those two; do_next() helps then too.

A thread needs stack for TLS, 16 KB on a board. A program that can call do_next() should.

The documents' first example also imports os.path, which MicroPython has from micropython-lib only
(mpremote mip install os-path): write the folder's name out, or install that.
"""

import sys
import time

import teamviewer_iot
from teamviewer_iot import CertOverrideMode  # noqa: F401

try:
    import _thread
except ImportError:
    _thread = None

_Client = teamviewer_iot.TVCMI_client


class _Guard:
    # A lock that its holder may take again: callbacks make calls.

    def __init__(self):
        self._lock = _thread.allocate_lock()
        self._holder = None
        self._depth = 0

    def __enter__(self):
        me = _thread.get_ident()
        if self._holder != me:
            self._lock.acquire()
            self._holder = me
        self._depth += 1

    def __exit__(self, *_):
        self._depth -= 1
        if not self._depth:
            self._holder = None
            self._lock.release()


if _thread:
    _load_once = teamviewer_iot.load_once
    _loading = _Guard()

    def _load_alone(name):
        # One thread at a time, or the other would meet the module half made.
        with _loading:
            return _load_once(name)

    teamviewer_iot.load_once = _load_alone


class _Threaded(_Client):
    def __init__(self, parameters, user_data=None):
        super().__init__(parameters, user_data)
        self._guard = _Guard()
        self._driven = self._running = False  # by the program; by our thread

    def do_next(self, wait_ms=0):
        """As in teamviewer_iot; a program that calls this does without the thread from then on."""
        self._driven = True
        with self._guard:
            return _Client.do_next(self, wait_ms)

    def provision(self):
        with self._guard:
            _Client.provision(self)
            self._start()

    def connect_api(self):
        with self._guard:
            _Client.connect_api(self)
            self._start()

    def disconnect_api(self):
        with self._guard:
            _Client.disconnect_api(self)

    def listen_live_data(self, sensor_id, callback=None):
        with self._guard:
            _Client.listen_live_data(self, sensor_id, callback)

    def _call(self, *how):
        with self._guard:
            return _Client._call(self, *how)

    def _start(self):
        # Its first step waits for our guard: hence it can't end before _running is set.
        if not (self._driven or self._running):
            if sys.platform not in ("linux", "darwin", "win32"):
                _thread.stack_size(16384)
            _thread.start_new_thread(self._run, ())
            self._running = True

    def _run(self):
        while True:
            with self._guard:
                if self._driven or not (self.job or self._link):
                    self._running = False
                    return
                try:
                    worked = _Client.do_next(self)
                except BaseException as e:  # sys.exit() too: nobody would hear of it here
                    sys.print_exception(e)
                    worked = False
            if not worked:
                time.sleep_ms(5)


TVCMI_client = _Threaded if _thread else _Client

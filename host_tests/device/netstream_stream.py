# Every program starts with this. talk() opens, says a line, returns what comes back or the error.
from given import port

import sys
import time
import mqtt_link  # where the build joins netstream into it, it is the module that runs
import netstream
from netstream import NetStream, TLSError, tls_context

longest = [0]

def drive(steps, stream, longest=longest):
    while True:
        start = time.ticks_us()
        try:
            next(steps)
        except StopIteration:
            return
        longest[0] = max(longest[0], time.ticks_diff(time.ticks_us(), start))
        stream.wait(20)

def talk(ssl=None, name=None, timeout=5, host="127.0.0.1", words=b"hello\n"):
    try:
        stream = NetStream(host, port, tls_context(ssl), name, timeout)
        drive(stream.open(), stream)
        drive(stream.send(words), stream)
        buf = bytearray(100)
        got = b""
        start = time.ticks_ms()
        while len(got) < len(words) and time.ticks_diff(time.ticks_ms(), start) < 5000:
            n = stream.readinto(buf)
            if n is None:
                stream.wait(20)
            else:
                got += bytes(buf[:n])
        stream.close()
        return got
    except Exception as e:
        return type(e).__name__ + ": " + str(e.args[-1])

import gc
import time
from socket import line
from netstream import NetStream, tls_context

def drive(steps, stream):
    for _ in steps:
        stream.wait(20)

def talk(port, ssl=None, name=None, size=3000):
    stream = NetStream("127.0.0.1", port, tls_context(ssl), name, 5)
    try:
        drive(stream.open(), stream)
        drive(stream.send(b"x" * size), stream)
        buf = bytearray(500)
        got = 0
        while got < size:
            n = stream.readinto(buf)
            if n is None:
                stream.wait(20)
            else:
                got += n
        return got
    except OSError as e:
        return type(e).__name__ + ": " + str(e)
    finally:
        stream.close()

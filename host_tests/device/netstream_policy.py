# ruff: noqa: F821 (what stands before it defines the rest)
# names: what the look-up says of each name, a list of ports on 127.0.0.1; asked, dialled: what
# happened. attempt(service_answers) is one connection, as a service's client makes it.
# netstream_stream.py is there.
import socket as real
names = {}
asked = []
dialled = []
class Sockets:
    SOCK_STREAM = real.SOCK_STREAM
    @staticmethod
    def socket(*args):
        return real.socket(*args)
    @staticmethod
    def getaddrinfo(host, port):
        asked.append(host)
        if host not in names:
            raise OSError(-2)
        return [
            [one for one in real.getaddrinfo("127.0.0.1", found) if one[1] == real.SOCK_STREAM][0]
            for found in names[host]
        ]
netstream.socket = Sockets

def attempt(stream, answers):
    buf = bytearray(10)
    try:
        drive(stream.open(), stream)
        drive(stream.send(b"who"), stream)
        stream.start_clock()
        while not stream.readinto(buf):
            stream.in_time("answer")
            stream.wait(20)
        if answers:
            stream.confirm()
        return "up"
    except OSError as e:
        return str(e.args[-1])
    finally:
        stream.close()

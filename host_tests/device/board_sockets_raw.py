import select
import socket
from socket import line

def polled(sock, events=5):
    poll = select.poll()
    poll.register(sock, events)
    for event in poll.ipoll(2000):
        return event[1]
    return 0

def code(call, *args):
    try:
        return call(*args)
    except OSError as e:
        return e.errno

def dial(port):
    sock = socket.socket()
    sock.setblocking(False)
    address = socket.getaddrinfo("127.0.0.1", port)[0][-1]
    return sock, address, code(sock.connect, address)

# What poll shows of a new socket, and of one whose connection was refused; then what a read says.
from given import host, port, report

import errno
import select
import socket
sock = socket.socket()
poll = select.poll()
poll.register(sock, select.POLLOUT)
new = poll.poll(0)
sock.setblocking(False)
try:
    sock.connect((host, port))
except OSError as e:
    connecting = e.errno
flags = poll.poll(5000)[0][1]
again = read = 0
try:
    sock.read(1)
except OSError as e:
    read = e.errno
try:
    sock.connect((host, port))
except OSError as e:
    again = e.errno
report(new=new and new[0][1], connecting=connecting, flags=flags, read=read, again=again)

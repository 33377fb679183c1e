# socket, as a board with lwIP has it: see board_sockets.

import usocket
from board_sockets import NODELAY, LwipSocket, getaddrinfo, line

__all__ = ("getaddrinfo", "line")

socket = LwipSocket
AF_INET = usocket.AF_INET
SOCK_STREAM = usocket.SOCK_STREAM
SOCK_DGRAM = usocket.SOCK_DGRAM
IPPROTO_TCP = 6
TCP_NODELAY = NODELAY

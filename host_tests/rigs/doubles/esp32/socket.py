# socket, as an ESP32 has it: see board_sockets.

import usocket
from board_sockets import Esp32Socket, getaddrinfo, line

__all__ = ("getaddrinfo", "line")

socket = Esp32Socket
AF_INET = usocket.AF_INET
SOCK_STREAM = usocket.SOCK_STREAM
SOCK_DGRAM = usocket.SOCK_DGRAM
IPPROTO_TCP = 6
TCP_NODELAY = 1

# select, as an ESP32 has it: see board_sockets.

from board_sockets import ERR as POLLERR
from board_sockets import HUP as POLLHUP
from board_sockets import IN as POLLIN
from board_sockets import OUT as POLLOUT
from board_sockets import Poll as poll

__all__ = ("POLLERR", "POLLHUP", "POLLIN", "POLLOUT", "poll")

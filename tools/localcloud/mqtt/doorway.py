"""
The first bytes on a port that several protocols share: MQTT, WebSocket, or plain HTTP.
"""

from . import websocket

_MQTT_CONNECT = 0x10
_LETTERS = range(0x41, 0x5B)  # an HTTP request begins with a method in capitals


class Doorway:
    """Holds what came until it is clear what it is, then tells the client."""

    def __init__(self, client):
        self._client = client
        self._head = b""

    def feed(self, data):
        self._head += data
        if self._head[0] == _MQTT_CONNECT:
            self._client.speak_mqtt(self._head)
        elif self._head[0] in _LETTERS:
            self._read_request()
        else:
            self._client.close("neither MQTT nor HTTP", "protocol")

    def _read_request(self):
        client = self._client
        try:
            parsed = websocket.read_request(self._head)
            if parsed is None:
                return
            request, rest = parsed
            if client.server.http is not None and not request.upgrade:
                client.hand_over(self._head)
                return
            answer = websocket.answer(request, client.server.visitors)
        except websocket.BadRequest as e:
            client.transport.write(e.answer)
            client.close("WebSocket refused: %s" % e, "protocol")
            return
        client.speak_websocket(answer, rest)

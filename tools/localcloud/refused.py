"""
What a service says instead of doing what it was asked.

One exception for all doors. web.py makes an answer of it, mqtt/login.py a CONNACK; a service whose
refusals look different derives a class of its own, with another body().
"""

import json

NOT_AUTHORISED = 5  # CONNACK's code (MQTT-3.2.2.3)


class Refused(Exception):
    """
    status: of an HTTP answer. text: for people. headers: of the answer, dict or None. code: the
    service's own number for it, if it has one. connack: what a CONNECT is answered with.
    """

    content_type = "application/json"
    charset = "utf-8"

    def __init__(self, status, text, headers=None, code=None, connack=NOT_AUTHORISED):
        self.status = status
        self.headers = headers
        self.code = code
        self.connack = connack
        super().__init__(text)

    def body(self):
        """The answer's body (bytes)."""
        return json.dumps({"message": str(self)}).encode()

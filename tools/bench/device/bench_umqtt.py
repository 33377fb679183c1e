# umqtt.simple and umqtt.robust: every call waits for its answer.

import sys

from bench_base import BIG, MSG, TOPIC, Base, ticks_add, ticks_diff, ticks_ms


def tls_params(tls):
    """What ssl.wrap_socket() needs to verify as strictly as MQTTLink does."""
    import ssl

    # The PyPI generation of these clients asks for names that newer MicroPython has dropped.
    sys.modules["ussl"] = ssl
    with open(tls["ca_der"], "rb") as f:
        ca = f.read()
    return {"cert_reqs": ssl.CERT_REQUIRED, "cadata": ca, "server_hostname": tls["name"]}


class Client(Base):
    def __init__(self, job):
        super().__init__(job)
        if job["client"].startswith("umqtt.robust"):
            from umqtt.robust import MQTTClient
        else:
            from umqtt.simple import MQTTClient
        tls = job["tls"]
        more = {"ssl": True, "ssl_params": tls_params(tls)} if tls else {}
        self.c = MQTTClient(self.id, job["host"], job["port"], keepalive=job["keepalive"], **more)
        self.c.set_callback(self.on_message)
        self.pinged = ticks_ms()

    def on_message(self, topic, msg):
        self.got += 1

    def idle_call(self):
        return self.c.check_msg

    def receive_some(self):
        self.c.wait_msg()

    def connect(self):
        self.c.connect()

    def subscribe(self, filters):
        for f in filters:
            self.c.subscribe(f, 1)

    def publish(self, qos):
        self.c.publish(TOPIC, MSG, False, qos)

    def publish_big(self):
        self.c.publish(TOPIC, BIG)

    def step(self):
        self.c.check_msg()
        # Neither pings by itself, so the program must.
        if ticks_diff(ticks_ms(), self.pinged) > self.job["keepalive"] * 500:
            self.pinged = ticks_ms()
            self.c.ping()

    def flood(self, qos, depth, ms):
        publish = self.c.publish
        end = ticks_add(ticks_ms(), ms)
        n = 0
        while ticks_diff(end, ticks_ms()) > 0:
            publish(TOPIC, MSG, False, qos)
            n += 1
        if not qos:
            self.c.ping()
            self.c.wait_msg()
        return n

    def close(self):
        self.c.disconnect()

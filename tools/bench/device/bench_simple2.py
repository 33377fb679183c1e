# umqtt.simple2: publishes at QoS 1 without waiting; check_msg() collects the acknowledgements.

from bench_base import BIG, MSG, TOPIC, Base, ticks_add, ticks_diff, ticks_ms
from bench_umqtt import tls_params


class Client(Base):
    def __init__(self, job):
        super().__init__(job)
        import select
        import sys

        sys.modules["uselect"] = select
        sys.modules["uerrno"] = __import__("errno")
        from umqtt.simple2 import MQTTClient

        tls = job["tls"]
        more = {"ssl": True, "ssl_params": tls_params(tls)} if tls else {}
        self.c = MQTTClient(self.id, job["host"], job["port"], keepalive=job["keepalive"], **more)
        self.c.set_callback(self.on_message)
        self.pinged = ticks_ms()

    def on_message(self, topic, msg, retained, dup):
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
        self.drain(0)

    def publish(self, qos):
        self.c.publish(TOPIC, MSG, False, qos)
        if qos:
            self.drain(0)

    def drain(self, left):
        while len(self.c.rcv_pids) > left:
            self.c.check_msg()

    def publish_big(self):
        self.c.publish(TOPIC, BIG)

    def step(self):
        self.c.check_msg()
        if ticks_diff(ticks_ms(), self.pinged) > self.job["keepalive"] * 500:
            self.pinged = ticks_ms()
            self.c.ping()

    def flood(self, qos, depth, ms):
        c = self.c
        publish = c.publish
        end = ticks_add(ticks_ms(), ms)
        n = 0
        while ticks_diff(end, ticks_ms()) > 0:
            publish(TOPIC, MSG, False, qos)
            n += 1
            if qos:
                self.drain(depth - 1)
        self.drain(0)
        if not qos:
            # PINGRESP shows only in this stamp.
            c.last_cpacket = before = ticks_add(ticks_ms(), -5)
            c.ping()
            while c.last_cpacket == before:
                c.check_msg()
        return n

    def close(self):
        self.c.disconnect()

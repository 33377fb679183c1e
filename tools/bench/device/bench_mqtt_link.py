# MQTTLink: calls only queue, do_next() does the work.

from bench_base import BIG, MSG, STEP_MS, TOPIC, Base, sleep_ms, ticks_add, ticks_diff, ticks_ms
from mqtt_link import Full, MQTTLink


class Client(Base):
    def __init__(self, job):
        super().__init__(job)
        tls = job["tls"]
        self.link = MQTTLink(
            self.id,
            job["host"],
            job["port"],
            keepalive=job["keepalive"],
            ssl={"ca": tls["ca_der"], "server_hostname": tls["name"]} if tls else None,
            window=max(16, job.get("depth", 1)),
        )
        self.link.set_callback(self.on_message)
        self.link.on_ack = self.on_ack
        self.acked = 0

    def on_ack(self, pid, code):
        self.acked += 1

    def on_message(self, topic, msg):
        self.got += 1

    def connect(self):
        self.link.connect()

    def subscribe(self, filters):
        acked = self.acked
        self.link.subscribe([(f, 1) for f in filters])
        while self.acked == acked:
            self.link.do_next(1000)

    def connect_and_subscribe(self, filters):
        # Asked before connecting, the filters follow the CONNACK at once.
        link = self.link
        link.subscribe([(f, 1) for f in filters])
        while not self.acked:
            link.do_next(1000)
            if link.error:
                raise link.error

    def publish(self, qos):
        self.link.publish(TOPIC, MSG, False, qos)
        while self.link.inflight:
            self.link.do_next(1000)

    def step(self):
        self.link.do_next()

    def idle_call(self):
        return self.link.do_next

    def publish_once(self):
        self.link.publish(TOPIC, MSG)

    def receive_some(self):
        self.link.do_next(1000)

    def acknowledged(self, depth, n):
        link = self.link
        first, sent = self.acked, 0
        while self.acked - first < n:
            while sent < n + depth - 1 and link.inflight < depth:
                link.publish(TOPIC, MSG, False, 1)
                sent += 1
            link.do_next(1000)

    def flood(self, qos, depth, ms):
        link = self.link
        publish = link.publish
        step = link.do_next
        end = ticks_add(ticks_ms(), ms)
        n = 0
        if qos:
            while True:
                if ticks_diff(end, ticks_ms()) > 0:
                    while link.inflight < depth:
                        publish(TOPIC, MSG, False, qos)
                        n += 1
                elif not link.inflight:
                    return n
                step(1000)
        while ticks_diff(end, ticks_ms()) > 0:
            try:
                publish(TOPIC, MSG)
                n += 1
            except Full:
                step(1000)
        publish(TOPIC, MSG, False, 1, 10000)
        while link.inflight:
            step(1000)
        return n

    def close(self):
        self.link.disconnect()

    def open_timed(self, filters):
        self.link.subscribe([(f, 1) for f in filters])
        while self.time_left() and not self.acked:
            self.timed(self.link.do_next)
            if self.link.error and not self.noticed:
                self.watch()
            sleep_ms(STEP_MS)

    def publish_big(self):
        if self.link.is_connected():
            try:
                self.link.publish(TOPIC, BIG)
            except Full:
                pass

    def is_up(self):
        return self.link.is_connected()

    def error(self):
        return self.link.error and repr(self.link.error)

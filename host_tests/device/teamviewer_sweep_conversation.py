# ruff: noqa: F821 (what stands before it defines the rest)
# A client connects and makes a few calls, for doubles/sweeping.py. What teamviewer_rig_device.py
# defines is there.
import agent_stream
from sweeping import Slots
hurry(0)
BASE = b"/v1.0/" + provisioned().get_connector_id().encode() + b"/"
DEAF_MAX = 2  # steps: the one that finds out, and the next
NO_ANSWER = 22

class Talk:
    def __init__(self):
        self.stream = self.agent = agent_stream.Agent(BASE)
        self.agent.take_over()
        self.client = c = TVCMI_client(parameters)
        self.is_on = False
        self.deaf = self.gone = 0
        self.told = {"ping": Slots(9), "one": Slots(9), "two": Slots(9), "after": Slots(9)}
        c.on_api_connect = self.connected
        c.on_api_disconnect = self.disconnected
        c.on_api_error = self.failed
        c.connect_api()
        c.check_connection(callback=self.own("ping"))
        c.create_sensor("one", callback=self.own("one"))
        c.create_sensor("two", callback=self.own("two"))

    def own(self, name):
        told = self.told[name]
        def callback(msg, error_code, error_str, user_data):
            told.add(error_code)
        return callback

    def connected(self, error_str, error_code, user_data):
        self.is_on = True

    def disconnected(self, error_str, error_code, user_data):
        self.is_on = False

    def failed(self, error_str, error_code, user_data):
        pass

    def act(self):
        # It is alive, not just connected: one more call is answered.
        told = self.told
        if self.is_on and told["ping"].n and told["one"].n and told["two"].n:
            if not self.asked and self.agent.is_up():
                self.client.check_connection(callback=self.own("after"))
                self.asked = True

    asked = False
    may_act = True

    def step(self):
        if self.may_act:
            self.act()
        try:
            self.client.do_next(0)
        finally:
            self.gone = self.gone + 1 if self.is_on and not self.agent.is_up() else 0
            self.deaf += self.gone > DEAF_MAX

    def where(self):
        return [(name, self.told[name].all()) for name in self.told], self.is_on

    def over(self):
        for name in self.told:
            if not self.told[name].n:
                return False
        return self.is_on and self.agent.is_up()

    def wrong(self):
        if self.deaf:
            return "deaf", self.deaf
        for name in self.told:
            # Answered, or told that the answer was lost with the connection; once.
            codes = self.told[name].all()
            if len(codes) != 1 or codes[0] not in (0, NO_ANSWER):
                return name, codes

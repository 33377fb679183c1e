# ruff: noqa: F821 (what stands before it defines the rest)
# Whether the helping thread runs, after each way to end it. teamviewer_rig_device.py is there.
from given import report

from TeamViewerIoTPythonSDK import TVCMI_client as Threaded
def sleep_until(condition):
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.02)
    return False
steps = [0]
step = teamviewer_iot.TVCMI_client.do_next
def counted(self, *wait):
    steps[0] += 1
    return step(self, *wait)
teamviewer_iot.TVCMI_client.do_next = counted
def runs():
    # Whether somebody else makes steps.
    before = steps[0]
    time.sleep(0.3)
    return steps[0] > before
c = Threaded(parameters)
c.on_api_response = hear("response")
c.on_api_connect = hear("connect")
c.provision()
report(provisioned=sleep_until(lambda: heard), ended=sleep_until(lambda: not runs()))
heard.clear()
c.connect_api()
report(connected=sleep_until(lambda: heard), running=runs())
heard.clear()
def failing(**values):
    c.check_connection()  # a call from within the thread
    raise ValueError("printed, not fatal")
c.check_connection(callback=failing)
report(answered=sleep_until(lambda: heard), running=runs())
c.disconnect_api()
report(ended=sleep_until(lambda: not runs()))
heard.clear()
c.connect_api()
c.do_next()
report(ended=sleep_until(lambda: not runs()))
while not heard:
    c.do_next(20)
report(driven=heard[0]["on"])

# ruff: noqa: F821 (what stands before it defines the rest)
# Two hundred calls while the helping thread makes steps. teamviewer_rig_device.py is there.
from given import report

from TeamViewerIoTPythonSDK import TVCMI_client as Threaded
c = Threaded(parameters)
c.on_api_response = c.on_api_connect = hear("x")
c.on_api_error = hear("error")
def wait(n):
    for _ in range(1500):
        if len(heard) >= n:
            return
        time.sleep(0.02)
    raise OSError("in vain: %s" % heard)
c.provision()
wait(1)
c.connect_api()
wait(2)
count = [0] * 200
def own(i):
    def callback(error_code, **values):
        count[i] += 1 if error_code == 0 else 100
    return callback
done = 0
for i in range(200):
    while True:
        try:
            c.check_connection(callback=own(i))
            break
        except teamviewer_iot.ConnectionError:
            time.sleep(0.002)
for _ in range(500):
    if sum(count) >= 200:
        break
    time.sleep(0.02)
report(all=count == [1] * 200)

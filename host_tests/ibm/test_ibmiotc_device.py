"""ibmiotc/device.py: a constructor that connects."""

from ibm_rig import DEVICE
from ibm_rig import rig as make_rig


def test_the_constructor_connects(board):
    with make_rig() as rig:
        board.run(
            """
            import ibmiotc.device
            client = ibmiotc.device.Client(options)
            assert client.isConnected()
            assert client.publishEvent("status", {"a": 1}, 1)
            while client.link.inflight:
                client.do_next(50)
            """,
            options=dict(DEVICE, port=rig.port),
        )
        assert rig.witness.connects[0]["id"] == "d:abc123:pump:p1"
        assert rig.witness.publishes[0].qos == 1

"""What tools/build.py makes does every client's deed on the emulated board: imported, connected
over verified TLS, 20 messages acknowledged, cut off, connected again."""

import re
from pathlib import Path

import pytest
import services
from board import emulator, least_heap
from building import firmware

CLIENTS = [name for name in least_heap.CLIENTS if name != "umqtt"]


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_does_its_deed_with_built_files(board_lwip, deeds, built_path, client):
    said = []
    service = services.named(least_heap.CLIENTS[client])
    (place,) = [one for one in built_path.split(":") if Path(one).name == service.imports[0]]
    library = emulator.libraries(Path(place))
    done = least_heap.run(deeds, client, 128, "romfs", "rp2", library, said.append)
    assert done, said


def test_the_names_that_the_build_gives_cost_this_firmware_nothing(board_lwip):
    """It is built with the features of a Pico W's."""
    table = firmware.NUMBERED + firmware.SPELT + ("greenhouse",)
    done = board_lwip.run(
        """
        import micropython
        class Thing:
            pass
        for name in table.split():
            micropython.qstr_info()
            setattr(Thing, str(name, "utf-8"), 0)
            micropython.qstr_info()
        """,
        network=False,
        table=" ".join(table).encode(),
    )
    counts = [int(found) for found in re.findall("n_qstr=([0-9]+)", done.out)]
    assert len(counts) == 2 * len(table)
    new = {
        name for name, before, after in zip(table, counts[::2], counts[1::2]) if after != before
    }
    assert new == {"greenhouse"}

"""tools/board/least_heap.py: the deeds that it measures, done with room to spare and without."""

import pytest
from board import least_heap


@pytest.mark.parametrize("client", least_heap.CLIENTS)
def test_every_client_does_its_deed_in_128_kb(board_lwip, deeds, client):
    said = []
    assert least_heap.run(deeds, client, 128, "romfs", "rp2", tell=said.append), said


def test_too_little_heap_is_told(board_lwip, deeds):
    said = []
    assert not least_heap.run(deeds, "link", 12, "romfs", "rp2", tell=said.append)
    assert "MemoryError" in said[0]

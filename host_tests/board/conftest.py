"""What the tests on the emulated board ask for."""

import pytest
from board import emulator, least_heap


@pytest.fixture(scope="module")
def deeds(tmp_path_factory):
    """A local cloud that clients' deeds are done against, shared by the tests of one file."""
    if emulator.why_not():
        pytest.skip(emulator.why_not())
    made = least_heap.Deeds(tmp_path_factory.mktemp("cloud"))
    yield made
    made.close()
    print(made.process.tail(60))

"""What the tests of a TeamViewer client ask for: an agent, and a folder for certificates."""

import pytest
from teamviewer_rig import running


@pytest.fixture(scope="module")
def shared_agent(tmp_path_factory):
    """The agent of one file's tests."""
    with running(tmp_path_factory.mktemp("agent")) as made:
        yield made


@pytest.fixture
def agent(shared_agent):
    """The file's agent, as if it had just been started but for what it knows."""
    shared_agent.calls.clear()
    yield shared_agent
    shared_agent.set(backend=True, licensed=True, broken=False, mute=False, licences=1000)
    shared_agent.wrap = None


@pytest.fixture
def folder(tmp_path):
    """CertFolder: not there yet, nor the one above it."""
    return tmp_path / "a" / "certs"

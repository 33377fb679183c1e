"""What the tests of IBM's management API and its history ask for."""

import pytest
from http_rig import scripts
from ibm_rig import rig as make_rig
from localcloud import pki


@pytest.fixture
def rig():
    """A service side that lets everybody in and notes all it sees."""
    with make_rig() as made:
        yield made


@pytest.fixture
def options(cloud):
    """An application's options for the local cloud."""
    application = cloud["ibm"]["application"]
    return {
        "org": cloud["ibm"]["org"],
        "id": "manager",
        "auth-method": "apikey",
        "auth-key": application["key"],
        "auth-token": application["token"],
        "host": "127.0.0.1",
        "port": cloud["mqtt"]["tls_port"],
        "api-port": int(cloud["http"]["tls_url"].rsplit(":", 1)[1]),
        "ca": cloud["ca_der"],
    }


@pytest.fixture
def scripted(tmp_path):
    """Gives start(scripts) -> (server, options): the API's side, answering as scripted."""
    authority = pki.Authority("the test's CA")
    ca = tmp_path / "ca.der"
    ca.write_bytes(authority.der)
    context = authority.issue_server(["127.0.0.1", "localhost"]).server_context()
    with scripts() as start:

        def serve(answers):
            server = start({"/api/v0001/" + k: v for k, v in answers.items()}, context)
            return server, {
                "org": "abc123",
                "id": "dash",
                "auth-method": "apikey",
                "auth-key": "key",
                "auth-token": "s3cret",
                "api-host": "localhost",
                "api-port": server.port,
                "ca": str(ca),
            }

        yield serve

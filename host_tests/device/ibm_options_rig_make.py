from given import cases, plain, report

import ibmiotf.device
import ibmiotf.application
import ibmiotf.broker
import mqtt_link

# The addresses only: a stand-in for the certificate's reader.
def context(ssl, params=None):
    class Context:
        def wrap_socket(self):
            pass
    return Context() if ssl else None

if plain:
    mqtt_link.tls_context = context

for kind, options in cases:
    try:
        client = getattr(ibmiotf, kind).Client(options)
        link = client.link
        report(server=link.server, port=link.port, user=link.user, password=link.pswd,
               clean=link.clean_session, options=client.options)
    except ibmiotf.ConnectionException as e:
        report(error=type(e).__name__, text=str(e))

"""What the tests of IBM's management API share: a program's start, and answers."""

import json


START = """
    import ibmiotf.application
    client = ibmiotf.application.Client(options)
    api = client.api

    def attempt(f, *args):
        try:
            report(got=f(*args))
        except ibmiotf.IoTFCReSTException as e:
            report(code=e.httpCode, message=e.message, text=str(e), response=e.response)
        except ValueError as e:
            report(invalid=str(e))

"""


def answer(status, body, headers=""):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = "HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n" % (status, len(body), headers)
    return head.encode() + body

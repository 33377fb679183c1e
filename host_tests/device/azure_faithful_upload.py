# Runs in an environment of its own. Arguments: JSON. A file goes up as Microsoft's documents have
# it: azure-iot-device asks the hub for a place, azure-storage-blob fills it, and the hub is told.
# Prints one JSON line for each thing that happened.
import json
import socket
import sys
from azure.core.exceptions import AzureError
from azure.iot.device import IoTHubDeviceClient, X509
from azure.storage.blob import BlobClient

given = json.loads(sys.argv[1])

def say(**values):
    print(json.dumps(values), flush=True)

# The storage account's name leads here; it stands in the certificate.
resolve = socket.getaddrinfo

def lead_here(host, *more, **options):
    return resolve("127.0.0.1" if host.endswith(".windows.net") else host, *more, **options)

socket.getaddrinfo = lead_here

more = {"server_verification_cert": open(given["ca"]).read(), "websockets": given["websockets"]}
if "key" in given:
    hub = IoTHubDeviceClient.create_from_symmetric_key(
        given["key"], given["hub"], given["id"], **more)
else:
    hub = IoTHubDeviceClient.create_from_x509_certificate(
        X509(given["cert"], given["cert_key"]), given["hub"], given["id"], **more)

def attempt(what, *arguments, **options):
    try:
        return what(*arguments, **options)
    except Exception as e:
        cause = e.__cause__ or e
        say(error=type(cause).__name__, text=str(cause).splitlines()[0],
            code=getattr(e, "error_code", None), status=getattr(e, "status_code", None))

def place(name):
    info = hub.get_storage_info_for_blob(name)
    url = "https://{hostName}/{containerName}/{blobName}{sasToken}".format(**info)
    sizes = {"max_single_put_size": 65536, "max_block_size": 65536, "retry_total": 0}
    return info, BlobClient.from_blob_url(url, connection_verify=given["ca"], **sizes)

def tell(info, good, code, text):
    hub.notify_blob_upload_status(info["correlationId"], good, code, text)

exec(given["todo"])
hub.shutdown()
say(ended=True)

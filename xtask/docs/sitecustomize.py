"""Leads the cloud's names to the emulator, for the Python of command blocks in the documentation.

The interpreter imports this by itself. Blocks use the official SDKs as readers do, with the names of the real cloud and https.
Here names ending in ``aliyuncs.com`` lead to the address in ``RAMTRAIL_DOCS_CLOUD`` and nowhere else, and since the emulator
speaks plain http, so do requests to them.
"""

import os
import socket
from urllib.parse import urlsplit

import requests

HOST, _, PORT = os.environ["RAMTRAIL_DOCS_CLOUD"].rpartition(":")
REAL_GETADDRINFO = socket.getaddrinfo
REAL_SEND = requests.Session.send


def of_cloud(host):
    name = host.decode() if isinstance(host, bytes) else host
    return bool(name) and name.lower().endswith(".aliyuncs.com")


def getaddrinfo(host, port, *args, **kwargs):
    if of_cloud(host):
        host, port = HOST, int(PORT)
    return REAL_GETADDRINFO(host, port, *args, **kwargs)


def send(session, request, **kwargs):
    url = urlsplit(request.url)
    if url.scheme == "https" and of_cloud(url.hostname):
        request.url = url._replace(scheme="http").geturl()
    return REAL_SEND(session, request, **kwargs)


socket.getaddrinfo = getaddrinfo
requests.Session.send = send
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"

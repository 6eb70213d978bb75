"""The worker of floor.c: for each message of the queue it calls an application of apps.py, and sends bytes that are no
response. With the application "bare" it calls none."""
import io
import socket
import sys

queue, answers = socket.socket(fileno=100), socket.socket(fileno=101)
app, answer, buffer = None, bytes(64), bytearray(1 << 16)
environ = {
    'REQUEST_METHOD': 'GET', 'SCRIPT_NAME': '', 'PATH_INFO': '/', 'QUERY_STRING': '', 'SERVER_NAME': '127.0.0.1',
    'SERVER_PORT': '8080', 'SERVER_PROTOCOL': 'HTTP/1.1', 'HTTP_HOST': '127.0.0.1:8080', 'REMOTE_ADDR': '127.0.0.1',
    'REMOTE_PORT': '50000', 'wsgi.version': (1, 0), 'wsgi.url_scheme': 'http', 'wsgi.errors': sys.stderr,
    'wsgi.multithread': False, 'wsgi.multiprocess': False, 'wsgi.run_once': False,
}
if sys.argv[1] != 'bare':
    import apps
    app = getattr(apps, sys.argv[1])


def start_response(status, headers, exc_info=None):
    pass


answers.send(b'r')
while queue.recv_into(buffer):
    if app is not None:
        result = app(dict(environ, **{'wsgi.input': io.BytesIO()}), start_response)
        b''.join(result)
        getattr(result, 'close', int)()
    answers.send(answer)

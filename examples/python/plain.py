"""The smallest application: isbjorn run examples/python/plain.py"""


def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'Hello from Python!\n']

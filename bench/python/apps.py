"""The applications that measure.py serves by each server."""
import time

FIELDS = [('Content-Type', 'text/plain')]


def bare(environ, start_response):
    start_response('200 OK', FIELDS)
    return [b'Hello, World!']


def sleep(environ, start_response):
    time.sleep(.005)
    start_response('200 OK', FIELDS)
    return [b'Hello, World!']


try:
    from flask import Flask
except ImportError:
    pass
else:
    flask = Flask(__name__)

    @flask.route('/')
    def hello():
        return 'Hello, World!'

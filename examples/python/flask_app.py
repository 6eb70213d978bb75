"""Flask: a form, and a response that is made while it is sent. Debian has it as python3-flask.

isbjorn run examples/python/flask_app.py --threads 4
"""
import time

from flask import Flask, Response, request

app = Flask(__name__)


@app.route('/')
def index():
    return 'Hello from Flask!\n'


@app.route('/greet', methods=['POST'])
def greet():
    return 'Hello, %s!\n' % request.form.get('name', 'nobody')


@app.route('/count')
def count():
    def lines():
        for n in range(3):
            yield '%d\n' % n
            time.sleep(.2)
    return Response(lines(), mimetype='text/plain')

"""Tests of the parts of worker.py that need no server: `go test` runs them, and python3 -m unittest worker_test."""
import errno
import functools
import io
import os
import sys
import tempfile
import textwrap
import threading
import types
import unittest

import worker


class Files(unittest.TestCase):
    """A test in a directory of its own, which is sys.path[0]."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        self.addCleanup(sys.path.__setitem__, slice(None), sys.path[:])
        self.addCleanup(self.forget, set(sys.modules))
        self.addCleanup(sys.__dict__.__setitem__, 'dont_write_bytecode', sys.dont_write_bytecode)
        sys.dont_write_bytecode = True
        environ = dict(os.environ)
        self.addCleanup(os.environ.update, environ)
        for name in 'ISBJORN_APP', 'FLASK_APP', 'DJANGO_SETTINGS_MODULE':
            os.environ.pop(name, None)
        os.chdir(folder.name)
        self.folder = os.getcwd()
        sys.path.insert(0, self.folder)

    def forget(self, before):
        for name in set(sys.modules) - before:
            del sys.modules[name]
        for name in 'ISBJORN_APP', 'FLASK_APP', 'DJANGO_SETTINGS_MODULE':
            os.environ.pop(name, None)

    def file(self, name, text=''):
        folder = os.path.dirname(name)
        if folder:
            os.makedirs(folder, exist_ok=True)
        with open(name, 'w') as f:
            f.write(textwrap.dedent(text))
        worker.importlib.invalidate_caches()

    def fails(self, kind, target, factory=False):
        with self.assertRaises(worker.LoadError) as caught:
            worker.load(target, factory)
        self.assertEqual(caught.exception.kind, kind, caught.exception)
        return caught.exception


APP = '''
    def app(environ, start_response): pass
    def create_app(name='x', **options):
        global made
        made = name, options
        return app
    class Space: inner = staticmethod(app)
    number = 5
'''


class Load(Files):
    def test_forms(self):
        self.file('shop/__init__.py')
        self.file('shop/web.py', APP)
        for target, name in [
                ('shop.web:app', 'shop.web:app'), ('shop.web', 'shop.web:app'), ('shop.web:Space.inner', None),
                ('shop.web:create_app()', None), ('shop/web.py', 'shop.web:app'), ('shop/web.py:app', 'shop.web:app'),
                ('./shop/web.py:create_app("prod", debug=False)', 'shop.web:create_app("prod", debug=False)')]:
            app, got, _ = worker.load(target)
            self.assertIs(app, sys.modules['shop.web'].app, target)
            self.assertEqual(got, name or target)
        self.assertEqual(sys.modules['shop.web'].made, ('prod', {'debug': False}))
        self.assertIs(worker.load('shop.web:create_app', True)[0], sys.modules['shop.web'].app)
        self.assertIs(worker.load('shop.web', True)[0], sys.modules['shop.web'].app)

    def test_module_alone(self):
        self.file('one.py', 'def create_app(): return lambda e, s: None')
        self.assertEqual(worker.load('one')[1], 'one:create_app()')
        self.file('two.py', 'def create_app(name): pass')
        self.assertIn('needs name', self.fails('usage', 'two').message)
        self.file('three.py', '''
            class Flask:
                __module__ = 'flask.app'
                def __call__(self, e, s): pass
            shop = Flask()
        ''')
        self.assertEqual(worker.load('three')[1], 'three:shop')
        self.file('four.py', 'from three import Flask\na, b = Flask(), Flask()')
        self.assertIn('a, b', self.fails('usage', 'four').message)
        self.file('five.py', 'def handler(e, s): pass')
        self.assertIn('handler', self.fails('attribute', 'five').mend)
        self.file('both.py', 'def app(e, s): pass\ndef application(e, s): pass')
        self.assertEqual(worker.load('both')[1], 'both:application')

    def test_errors(self):
        self.file('shop.py', APP)
        e = self.fails('attribute', 'shop:ap')
        self.assertEqual((e.message, e.mend), ('shop has no ap', 'did you mean app?'))
        self.assertIn('did you mean shop?', self.fails('import', 'shp:app').mend)
        self.assertIn('shop:app', self.fails('attribute', 'shop:py').mend)
        self.assertIn('web:app', self.fails('import', 'web.py').mend)
        self.assertIn('"-"', self.fails('usage', 'my-shop:app').mend)
        self.fails('usage', 'shop:create_app(name)')
        self.fails('usage', 'shop:app + 1')
        self.fails('usage', ':app')
        self.assertIn('is int', self.fails('kind', 'shop:number').message)
        self.assertIn('is int', self.fails('kind', 'shop:number()').message)

    def test_traceback(self):
        self.file('broken.py', 'import os\n1 / 0\n')
        e = self.fails('import', 'broken')
        self.assertIn('ZeroDivisionError', e.message)
        self.assertIn('broken.py", line 2', e.text)
        self.assertNotIn('importlib', e.text)
        self.assertNotIn('worker.py', e.text)
        self.file('needs.py', 'import nowhere_to_be_found')
        self.assertIn('--python-exe', self.fails('import', 'needs').mend)
        self.file('leaves.py', 'raise SystemExit(3)')
        self.assertIn('__main__', self.fails('import', 'leaves').mend)
        self.file('factory.py', 'def create_app(): raise ValueError("no database")')
        self.assertIn('no database', self.fails('call', 'factory').message)

    def test_not_wsgi(self):
        self.file('kinds.py', '''
            import functools
            async def plain(scope, receive, send): pass
            class Handler:
                async def __call__(self, scope, receive, send): pass
            handler = Handler()
            part = functools.partial(plain, 1)
            class Tornado:
                __module__, __name__ = 'tornado.web', 'Application'
                def __call__(self, request): pass
            Tornado.__name__ = 'Application'
            tornado = Tornado()
            class OK:
                def __init__(self, environ, start_response): pass
            def request_only(request): pass
        ''')
        for name in 'plain', 'handler', 'part':
            self.assertIn('ASGI', self.fails('kind', 'kinds:' + name).message)
        self.assertIn('Tornado', self.fails('kind', 'kinds:tornado').message)
        worker.load('kinds:OK')
        worker.load('kinds:request_only')

    def test_found(self):
        self.assertIn('isbjorn run', self.fails('usage', '').mend)
        self.file('src/main.py', APP)
        self.assertEqual(worker.load('')[1], 'main:app')
        self.file('app.py', APP)
        self.assertEqual(worker.load('')[1:], ('app:app', 'the file is there'))
        os.environ['FLASK_APP'] = 'app:create_app()'
        self.assertEqual(worker.load('')[1:], ('app:create_app()', 'by $FLASK_APP'))
        os.environ['ISBJORN_APP'] = 'app:app'
        self.assertEqual(worker.load('')[1:], ('app:app', 'by $ISBJORN_APP'))

    def test_django(self):
        self.file('manage.py', '''
            import os
            def main():
                os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site_of.settings')
        ''')
        self.assertEqual(worker.find_target()[0], 'django.core.wsgi:get_wsgi_application()')
        self.file('site_of/wsgi.py')
        self.assertEqual(worker.find_target(), ('site_of.wsgi:application', 'by manage.py'))
        self.assertEqual(os.environ['DJANGO_SETTINGS_MODULE'], 'site_of.settings')
        self.assertEqual(worker.django_settings('nowhere.py'), None)


class Parts(unittest.TestCase):
    def test_file_region(self):
        with tempfile.TemporaryFile() as f:
            f.write(b'x' * 10000)
            f.seek(10)
            self.assertEqual(worker.file_region(f)[1:], (10, 9990))
            f.seek(20000)
            self.assertEqual(worker.file_region(f)[1:], (20000, 0))
            self.assertIsNone(worker.file_region(io.BytesIO(b'x')))
            text = io.TextIOWrapper(f)
            self.assertIsNone(worker.file_region(text))
            text.detach()

    def test_wrapper_closes_what_has_close(self):
        reads = types.SimpleNamespace(read=lambda n: b'')
        self.assertFalse(hasattr(worker.FileWrapper(reads), 'close'))
        reads.close = lambda: 'closed'
        self.assertEqual(worker.FileWrapper(reads).close(), 'closed')

    def test_traceback_of_what_cannot_be_shown(self):
        class Bad(Exception):
            def __str__(self):
                raise ValueError
        self.assertIn('Bad', worker.traceback_of(Bad()))

    def test_gevent(self):
        sys.modules['gevent.monkey'] = types.SimpleNamespace(is_module_patched=lambda name: name == 'socket')
        self.addCleanup(sys.modules.pop, 'gevent.monkey')
        with self.assertRaises(worker.LoadError) as caught:
            worker.check_app(lambda e, s: None, 'x')
        self.assertIn('monkey.patch_all()', caught.exception.message)

    def test_lane_is_full(self):
        """ETOOMANYREFS is over when the server has taken descriptors; where it does not, the file is read."""
        for times, sent in (0, True), (3, True), (100, False):
            tries, waits, frames = [], [], []

            def sendmsg(*_):
                tries.append(1)
                if len(tries) <= times:
                    raise OSError(errno.ETOOMANYREFS, 'too many')
            slot = types.SimpleNamespace(line=[0] * 8, lane=types.SimpleNamespace(sendmsg=sendmsg), sleep=waits.append,
                                         lock=threading.Lock(), send_all=frames.append)
            response = worker.Response(slot, 1, {})
            response.stage = worker.WITHIN
            self.assertIs(response.send_descriptor(0, 0, 5, False), sent)
            self.assertEqual(len(waits), min(times, len(worker.LANE_WAITS)))
            self.assertEqual(len(frames), sent)
        slot.line[worker.CANCEL] = 1
        with self.assertRaises(worker.ClientGone):
            response.send_descriptor(0, 0, 5, False)

    def test_no_descriptor_without_its_frame(self):
        """Another thread has ended the response: the descriptor would be that of the next file."""
        sent = []
        slot = types.SimpleNamespace(line=[0] * 8, lane=types.SimpleNamespace(sendmsg=lambda *_: sent.append(1)),
                                     lock=threading.Lock())
        response = worker.Response(slot, 1, {})
        response.stage = worker.AFTER
        with self.assertRaises(RuntimeError):
            response.send_descriptor(0, 0, 5, False)
        self.assertEqual(sent, [])

    def test_fields_are_copied(self):
        pair = ['X', 'a']
        fields = worker.check_fields([('Y', 'b'), pair])
        pair[1] = 'a\r\nZ: 1'
        self.assertEqual(fields, [('Y', 'b'), ('X', 'a')])

    def test_error_log_is_a_text_stream(self):
        log = worker.ErrorLog(1)
        self.assertIsInstance(log, io.TextIOBase)
        for name in dir(io.TextIOBase):
            if not name.startswith('_'):
                self.assertTrue(hasattr(log, name), name)

    def test_partial(self):
        worker.check_app(functools.partial(lambda a, e, s: None, 1), 'x')


if __name__ == '__main__':
    unittest.main()

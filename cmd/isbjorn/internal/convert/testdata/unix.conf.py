import logging
bind = 'unix:/run/shop/web.sock'
umask = 0o007
user = 'www-data'; group = 'www-data'
pidfile = None
daemon = False
worker_tmp_dir = '/dev/shm'
backlog = 2048
capture_output = True
access_log_format = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s'
certfile = None
reload = not True
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
log = logging.getLogger(__name__)

"""Settings of the web workers, by the environment."""
import multiprocessing
import os


def cores():
    return min(multiprocessing.cpu_count(), 16)


bind = [f"0.0.0.0:{os.environ.get('WEB_PORT', '8000')}", "unix:/tmp/shop.sock"]
workers = int(os.environ.get("WORKERS", cores() * 2 + 1))
max_requests = 1_000
max_requests_jitter = max_requests // 10
graceful_timeout, timeout = 20, 90
preload_app = os.environ.get("PRELOAD", "1") == "1"
raw_env = [
    "DJANGO_SETTINGS_MODULE=shop.settings",  # not for tests
]
limit_request_line = 8190
forwarded_allow_ips = ",".join(["10.0.0.0/8", "127.0.0.1"])
proc_name = "shop \N{SNOWMAN}"


def on_starting(server):
    server.log.info("%s cores", cores())

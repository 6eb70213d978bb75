raise ImportError("No module named gevent")

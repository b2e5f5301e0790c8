# Several processes, each with enough threads that a request which waits for an
# answer of Rescind keeps no other from waiting too.
import os

bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8080')}"
workers = int(os.environ.get("WORKERS", "1"))
threads = 32
loglevel = "warning"


def when_ready(server):
    print(f"notes at http://{bind}", flush=True)

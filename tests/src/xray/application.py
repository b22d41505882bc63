"""An application with AWS's X-Ray SDK, as its documentation says to do it: Flask's middleware, and `requests` patched.

The first argument is a JSON object: `name` of its segments, `port`, and `calls`, a list of pairs of service and
address of the sidecar's egress. Every request is passed on to each of them; the worst status is answered.
The last word of the path says what an application does that calls nobody.
"""

import itertools
import json
import sys
import time

import requests
from aws_xray_sdk.core import patch, xray_recorder
from aws_xray_sdk.ext.flask.middleware import XRayMiddleware
from flask import Flask, request

given = json.loads(sys.argv[1])
xray_recorder.configure(service=given["name"], context_missing="LOG_ERROR", sampling=False)
patch(["requests"])
app = Flask(given["name"])
XRayMiddleware(app, xray_recorder)
flaky = itertools.cycle([503, 200])


def own(path):
    word = path.rsplit("/", 1)[-1]
    if word == "slow":
        time.sleep(1)
    return {"fail": 500, "bad": 404, "busy": 429}.get(word) or (next(flaky) if word == "flaky" else 200)


@app.route("/<path:path>")
def answer(path):
    statuses = []
    for service, egress in given["calls"]:
        url = f"http://{egress}/{path}"
        statuses.append(requests.get(url, headers={"Host": service}, timeout=10).status_code)
    return {"headers": list(request.headers.items())}, max(statuses, default=None) or own(path)


app.run(host="127.0.0.1", port=given["port"], threaded=True)

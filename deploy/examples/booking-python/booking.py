"""A booking service that holds money on its guests' cards with holdd.

It needs Python 3.9 or newer and the standard library only. Copy it, and replace
the dictionary of bookings by your database.
"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOLDD_URL = os.environ["HOLDD_URL"]
TOKEN = os.environ.get("HOLDD_TOKEN")
SECRET = base64.b64decode(os.environ["HOLDD_CALLBACK_SECRET"].removeprefix("whsec_"))
MAX_BODY = 1 << 20
TRIES = 5  # of one request to holdd
TOLERANCE = 300  # seconds, of a callback's timestamp

bookings = {}
seen = set()  # ids of callbacks; in a database, a unique column
lock = threading.Lock()  # one request at a time; with a database, lock the booking's row


class UnknownOutcome(Exception):
    """holdd may or may not have acted."""


def call(path, key, body):
    """Posts to holdd and returns the status and the answer.

    It repeats the request with the same key while the outcome is unknown, so
    that holdd acts once.
    """
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    if TOKEN:
        headers["Authorization"] = f"Bearer {TOKEN}"
    request = urllib.request.Request(HOLDD_URL + path, json.dumps(body).encode(), headers)
    reason = None
    for attempt in range(TRIES):
        if attempt:
            time.sleep(2 ** (attempt - 1))
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            reason = error
            if error.code < 500 and error.code != 429:
                problem = json.load(error)
                if problem.get("code") != "in_progress":
                    return error.code, problem
        # No answer, or a broken one.
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error
    raise UnknownOutcome(str(reason))


def authorize(booking, request):
    """Holds the amount and schedules its capture, in one request.

    After the bank's dialog, or for another card, it confirms the same
    authorization.
    """
    if booking["status"] != "pending":  # a repeat of an unknown outcome keeps its key
        booking["cards"] += 1
        booking["status"] = "pending"  # to be stored before the call
    path, body = "/v1/authorizations", {}
    if "payment_method" in request:
        body["payment_method"] = request["payment_method"]
    if booking["hold"]:
        path += f"/{booking['hold']}/confirm"
    else:
        body.update(
            amount=request["amount"],  # in minor units
            currency=request["currency"],
            capture_at=request["checkout_at"],
            on_expiry="capture",
            reference=booking["reference"],
        )
    try:
        status, answer = call(path, f"{booking['reference']}-card-{booking['cards']}", body)
    except UnknownOutcome as error:  # a repeat or a callback tells
        booking["message"] = str(error)
        return
    booking["message"] = answer.get("detail")
    booking["client_secret"] = answer.get("client_secret")  # for Stripe.js in the browser
    booking["hold"] = answer.get("id") or answer.get("payment_intent") or booking["hold"]
    if status >= 300:
        booking["status"] = "declined"
    else:
        booking["status"] = "held" if answer["status"] == "authorized" else answer["status"]


def act(booking, action, request):
    """Captures or releases now. A callback tells the outcome."""
    path = f"/v1/holds/{booking['hold']}/{action}"
    try:
        _, answer = call(path, f"{booking['reference']}-{action}", request)
        booking["message"] = answer.get("detail")
    except UnknownOutcome as error:
        booking["message"] = str(error)


def is_signed(headers, body):
    """Checks a signature of Standard Webhooks."""
    sent = headers.get("webhook-timestamp", "")
    if not sent.isdigit() or abs(time.time() - int(sent)) > TOLERANCE:
        return False
    signed = f"{headers.get('webhook-id')}.{sent}.".encode() + body
    digest = hmac.new(SECRET, signed, hashlib.sha256).digest()
    want = "v1," + base64.b64encode(digest).decode()
    given = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(signature.encode(), want.encode()) for signature in given)


def apply_event(event_id, event):
    """Applies an event. holdd keeps the order of a hold's events."""
    hold = event["data"].get("hold", {})
    booking = bookings.get(hold.get("reference"))
    if booking and event_id not in seen:
        final = ("captured", "canceled", "expired", "attention")
        booking["status"] = hold["state"] if hold["state"] in final else "held"
        booking["hold"] = hold["id"]
        booking["captured"] = hold.get("captured_amount", 0)
    seen.add(event_id)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if match := re.fullmatch(r"/bookings/([\w-]+)", self.path):
            with lock:
                self.answer(200, bookings.get(match[1], {"status": "new"}))
        else:
            self.answer(404, {})

    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if length > MAX_BODY:
            return self.answer(413, {})
        body = self.rfile.read(length)
        if self.path == "/holdd-events":
            return self.receive(body)
        match = re.fullmatch(r"/bookings/([\w-]+)/(card|capture|cancel)", self.path)
        if not match:
            return self.answer(404, {})
        reference, action = match.groups()
        with lock:
            new = {"reference": reference, "status": "new", "hold": None, "captured": 0, "cards": 0}
            booking = bookings.setdefault(reference, new)
            if action != "card" and booking["hold"]:
                act(booking, action, json.loads(body or "{}"))
            elif action == "card" and booking["status"] != "held" and not booking["captured"]:
                authorize(booking, json.loads(body or "{}"))
            self.answer(200, booking)

    def receive(self, body):
        """Receives a callback. holdd repeats it until it gets a 2xx answer."""
        if not is_signed(self.headers, body):
            return self.answer(401, {"error": "invalid signature"})
        with lock:
            apply_event(self.headers["webhook-id"], json.loads(body))
        self.answer(200, {})

    def answer(self, status, value):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, format, *args):  # the default logs every request
        pass


if __name__ == "__main__":
    host, _, port = os.environ.get("LISTEN", "127.0.0.1:3000").rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), Handler)
    print(f"listening on http://{host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)

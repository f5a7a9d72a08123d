"""A booking service that holds money on its guests' cards with holdd.

Copy it with holdd_client, and replace the files of bookings by your database.
"""

import contextlib
import json
import os
import pathlib
import re
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from holdd_client import CallbackError, Client, HolddError, verify_callback


def env(name):
    return os.environ.get(name) or sys.exit(f"{name} is not set: see README.md")


holdd = Client(env("HOLDD_URL"), os.environ.get("HOLDD_TOKEN"))
CALLBACK_SECRET = env("HOLDD_CALLBACK_SECRET")
FOLDER = pathlib.Path(os.environ.get("BOOKINGS", "bookings"))
MAX_BODY = 1 << 20
FINAL_STATES = ("captured", "canceled", "expired", "attention")

lock = threading.Lock()  # of the files


def file_of(reference):
    return FOLDER / (urllib.parse.quote(reference, safe="") + ".json")


def find(reference):
    try:
        return json.loads(file_of(reference).read_text())
    except FileNotFoundError:
        new = {"status": "new", "hold": None, "captured": 0, "attempts": 0, "events": []}
        return {"reference": reference, **new}


@contextlib.contextmanager
def update(reference):
    """Changes a booking in one step: in a database, a transaction."""
    with lock:
        booking = find(reference)
        yield booking
        file = file_of(reference)
        with file.with_suffix(".new").open("w") as new:
            new.write(json.dumps(booking))
            new.flush()
            os.fsync(new.fileno())
        file.with_suffix(".new").replace(file)  # a power cut leaves the old file or the new one


def authorize(reference, request):
    """Holds the amount and schedules its capture, in one request to holdd.

    Returns the booking and the secret for Stripe.js in the guest's browser, which is not stored.
    """
    # Stored before the call. While an outcome is unknown, the attempt is repeated.
    with update(reference) as attempt:
        if attempt["status"] != "pending":
            attempt.update(status="pending", request=request, attempts=attempt["attempts"] + 1)
    secret = None
    try:
        answer = send_attempt(attempt)
        secret = answer.get("client_secret")
        result = {"status": answer["status"], "hold": answer["id"], "message": None}
    except HolddError as error:
        result = {"message": error.detail}
        if error.code in ("card_declined", "authorization_abandoned"):
            result.update(status="declined", hold=error.problem.get("payment_intent"))
        elif not error.outcome_unknown:
            result["status"] = "refused"
    with update(reference) as booking:
        # A callback may be faster.
        if (booking["status"], booking["attempts"]) == ("pending", attempt["attempts"]):
            booking.update(result)
    return booking, secret


def send_attempt(attempt):
    """Repeats an attempt with the same key, so that holdd acts once."""
    request, key = attempt["request"], f"{attempt['reference']}-card-{attempt['attempts']}"
    card = {"payment_method": request["payment_method"]} if "payment_method" in request else {}
    if attempt["hold"]:  # after the bank's dialog, or for another card
        return holdd.confirm_authorization(attempt["hold"], card, idempotency_key=key)
    terms = {
        "amount": request.get("amount"),  # in minor units
        "currency": request.get("currency"),
        "capture_at": request.get("checkout_at"),
        "on_expiry": "capture",
        "reference": attempt["reference"],
    }
    return holdd.authorize({**card, **terms}, idempotency_key=key)


def settle(booking, action, request):
    """Captures or releases now. A callback reports the outcome."""
    try:
        if action == "capture":
            holdd.capture_hold(booking["hold"], request)
        else:
            holdd.cancel_hold(booking["hold"])
    except HolddError as error:
        booking["message"] = error.detail


def apply_event(event):
    """Applies an event once. holdd keeps the order of a hold's events."""
    hold = event["data"].get("hold", {})
    if not find(hold.get("reference", ""))["attempts"]:
        return  # of another system
    with update(hold["reference"]) as booking:
        if event["id"] not in booking["events"]:
            booking["events"].append(event["id"])
            booking["status"] = hold["state"] if hold["state"] in FINAL_STATES else "authorized"
            booking.update(hold=hold["id"], captured=hold.get("captured_amount", 0))


def answers_failures(handle):
    """Answers 500 if a booking cannot be read or written."""

    def run(self):
        try:
            handle(self)
        except (OSError, ValueError) as error:
            print(self.path, repr(error), flush=True)
            self.answer(500, {"error": str(error)})

    return run


class Handler(BaseHTTPRequestHandler):
    @answers_failures
    def do_GET(self):
        if match := re.fullmatch(r"/bookings/([\w-]+)", self.path):
            self.answer(200, find(match[1]))
        else:
            self.answer(404, {})

    @answers_failures
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
        booking, secret = find(reference), None
        if action != "card" and booking["hold"]:
            settle(booking, action, json.loads(body or "{}"))
        elif action == "card" and booking["status"] not in ("authorized", *FINAL_STATES):
            booking, secret = authorize(reference, json.loads(body or "{}"))
        self.answer(200, {**booking, "client_secret": secret})

    def receive(self, body):
        """Receives a callback. holdd repeats it until it gets a 2xx answer."""
        try:
            event = verify_callback(body, dict(self.headers), CALLBACK_SECRET)
        except CallbackError as error:
            return self.answer(400, {"error": str(error)})
        apply_event(event)
        self.answer(200, {})

    def answer(self, status, value):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, format, *args):  # the default logs every request
        pass


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    host, _, port = os.environ.get("LISTEN", "127.0.0.1:3000").rpartition(":")
    print(f"listening on http://{host}:{port}", flush=True)
    ThreadingHTTPServer((host, int(port)), Handler).serve_forever()

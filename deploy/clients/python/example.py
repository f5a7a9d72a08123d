"""Schedules a hold, lists it, captures it, and waits for the signed callback."""

import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from holdd_client import CallbackError, Client, HolddError, ScheduleRequest, verify_callback

seen: set[str] = set()
captured = threading.Event()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers["Content-Length"]), 1 << 20))
        try:
            event = verify_callback(body, dict(self.headers), os.environ["HOLDD_CALLBACK_SECRET"])
        except CallbackError:
            return self.answer(400)
        is_new = event["id"] not in seen
        seen.add(event["id"])
        self.answer(204)
        if is_new and event["type"] == "hold.captured":
            captured.set()

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


receiver = HTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=receiver.serve_forever, daemon=True).start()
print("listening", receiver.server_port, flush=True)

client = Client(os.environ["HOLDD_URL"], os.environ.get("HOLDD_TOKEN"))
request: ScheduleRequest = {
    "payment_intent": os.environ["PI"],
    "reference": "PY-2071",
    "metadata": {"room": "12"},
}

scheduled = client.schedule_hold({**request, "capture_at": os.environ["AT"]})
print("scheduled", scheduled["state"], scheduled.get("amount"))

for hold in client.iterate_holds(metadata={"room": "12"}):
    print("listed", hold.get("reference"))

try:
    client.schedule_hold({**request, "cancel_at": os.environ["AT"]})
except HolddError as error:
    print("refused", error.status, error.code, error.problem["type"])

client.capture_hold("PY-2071", {"amount": 9900})
if not captured.wait(60):
    raise TimeoutError("no callback says that the hold is captured")
print("captured", client.get_hold("PY-2071").get("reference"))

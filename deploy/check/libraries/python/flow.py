"""The flows of stripe-python's README and of Stripe's guides, against the simulator at STRIPE_BASE.

Only the address and the key differ from what a program sends to Stripe.
"""

import http.server
import os
import queue
import threading
import time

import stripe

stripe.api_base = os.environ["STRIPE_BASE"]
stripe.api_key = "sk_test_python00000000000"
stripe.enable_telemetry = False

# README, "Usage": customers.
customer = stripe.Customer.create(email="customer@example.com")
assert stripe.Customer.retrieve(customer.id).email == "customer@example.com"
stripe.Customer.modify(customer.id, name="Ada", metadata={"room": "12"})
other = stripe.Customer.create(email="other@example.com")
seen = [c.id for c in stripe.Customer.list(limit=1).auto_paging_iter()]
assert other.id in seen and customer.id in seen, seen
assert other.delete().deleted

# A webhook endpoint that the API made.
events = queue.Queue()


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        events.put((body, self.headers["Stripe-Signature"]))

    def log_message(self, *args):
        pass


receiver = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=receiver.serve_forever, daemon=True).start()
endpoint = stripe.WebhookEndpoint.create(
    url=f"http://127.0.0.1:{receiver.server_port}/webhook", enabled_events=["charge.captured"]
)

# Guide "Place a hold on a payment method".
hold = dict(
    amount=5000,
    currency="eur",
    confirm=True,
    capture_method="manual",
    payment_method="pm_card_visa",
    automatic_payment_methods={"enabled": True, "allow_redirects": "never"},
    expand=["latest_charge"],
    idempotency_key="python-hold-1",
)
held = stripe.PaymentIntent.create(**hold)
assert held.status == "requires_capture"
assert held.latest_charge.payment_method_details.card.capture_before > time.time()
captured = stripe.PaymentIntent.capture(held.id, amount_to_capture=4200)
assert captured.status == "succeeded" and captured.amount_received == 4200
try:
    stripe.PaymentIntent.capture(held.id)
    raise AssertionError("captured twice")
except stripe.error.InvalidRequestError as e:
    assert e.code == "payment_intent_unexpected_state", e.code
body, signature = events.get(timeout=30)
event = stripe.Webhook.construct_event(body, signature, endpoint.secret)
assert event.type == "charge.captured" and event.data.object.payment_intent == held.id
stripe.Refund.create(payment_intent=held.id, amount=1000)
assert stripe.Charge.list(payment_intent=held.id).data[0].amount_refunded == 1000
assert stripe.PaymentIntent.create(**hold).id == held.id

# Guide "Set up future payments".
setup = stripe.SetupIntent.create(
    customer=customer.id, payment_method="pm_card_mastercard", confirm=True,
    payment_method_types=["card"],
)
assert setup.status == "succeeded"
cards = stripe.Customer.list_payment_methods(customer.id, type="card")
later = stripe.PaymentIntent.create(
    amount=900, currency="eur", customer=customer.id, payment_method=cards.data[0].id,
    off_session=True, confirm=True, automatic_payment_methods={"enabled": True},
)
assert later.status == "succeeded"
try:
    stripe.PaymentIntent.create(
        amount=900, currency="eur", payment_method="pm_card_chargeDeclined", confirm=True,
        automatic_payment_methods={"enabled": True, "allow_redirects": "never"},
    )
    raise AssertionError("not declined")
except stripe.error.CardError as e:
    assert e.code == "card_declined" and e.http_status == 402

stripe.WebhookEndpoint.delete(endpoint.id)
print(f"stripe-python {stripe.version.VERSION}: ok")

// The flows of stripe-node's README and of Stripe's guides, against the simulator at STRIPE_BASE.
// Only the address and the key differ from what a program sends to Stripe.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { buffer } from "node:stream/consumers";
import Stripe from "stripe";

const base = new URL(process.env.STRIPE_BASE);
const stripe = new Stripe("sk_test_node0000000000000", {
  host: base.hostname, port: base.port, protocol: "http", telemetry: false });
const automatic = { enabled: true, allow_redirects: "never" };

// README, "Usage": a customer, and every customer by auto-pagination.
const customer = await stripe.customers.create({ email: "customer@example.com" });
assert.equal((await stripe.customers.retrieve(customer.id)).email, "customer@example.com");
await stripe.customers.update(customer.id, { name: "Ada", metadata: { room: "12" } });
const other = await stripe.customers.create({ email: "other@example.com" });
const seen = [];
for await (const c of stripe.customers.list({ limit: 1 })) seen.push(c.id);
assert.deepEqual(seen, [other.id, customer.id]);
assert.equal((await stripe.customers.del(other.id)).deleted, true);

// README, "Webhook signing", with an endpoint that the API made.
const events = [];
const receiver = createServer(async (request, response) => {
  events.push({ body: await buffer(request), signature: request.headers["stripe-signature"] });
  response.end();
  receiver.emit("event");
});
receiver.listen(0, "127.0.0.1");
await once(receiver, "listening");
const endpoint = await stripe.webhookEndpoints.create({ enabled_events: ["charge.captured"],
  url: `http://127.0.0.1:${receiver.address().port}/webhook` });
assert.match(endpoint.secret, /^whsec_/);

// Guide "Place a hold on a payment method": authorize, capture less, read, refund a part.
const held = await stripe.paymentIntents.create({ amount: 5000, currency: "eur", confirm: true,
  capture_method: "manual", payment_method: "pm_card_visa", automatic_payment_methods: automatic,
  expand: ["latest_charge"] }, { idempotencyKey: "hold-1" });
assert.equal(held.status, "requires_capture");
assert.ok(held.latest_charge.payment_method_details.card.capture_before > Date.now() / 1000);
const delivered = once(receiver, "event");
const captured = await stripe.paymentIntents.capture(held.id, { amount_to_capture: 4200 });
assert.equal(captured.status, "succeeded");
assert.equal(captured.amount_received, 4200);
await assert.rejects(stripe.paymentIntents.capture(held.id),
  (e) => e instanceof Stripe.errors.StripeInvalidRequestError &&
    e.code === "payment_intent_unexpected_state" && e.payment_intent.id === held.id);
await delivered;
const event = stripe.webhooks.constructEvent(events[0].body, events[0].signature, endpoint.secret);
assert.equal(event.type, "charge.captured");
assert.equal(event.data.object.payment_intent, held.id);
await stripe.refunds.create({ payment_intent: held.id, amount: 1000 });
const charge = (await stripe.charges.list({ payment_intent: held.id })).data[0];
assert.equal(charge.amount_refunded, 1000);

// README, "Network retries": the same key gives the same answer.
const again = await stripe.paymentIntents.create({ amount: 5000, currency: "eur", confirm: true,
  capture_method: "manual", payment_method: "pm_card_visa", automatic_payment_methods: automatic,
  expand: ["latest_charge"] }, { idempotencyKey: "hold-1" });
assert.equal(again.id, held.id);
assert.equal(again.lastResponse.headers["idempotent-replayed"], "true");

// Guide "Set up future payments": save a card, and charge it without the customer.
const setup = await stripe.setupIntents.create({ customer: customer.id, confirm: true,
  payment_method: "pm_card_mastercard", automatic_payment_methods: automatic });
assert.equal(setup.status, "succeeded");
const cards = await stripe.customers.listPaymentMethods(customer.id, { type: "card" });
assert.equal(cards.data[0].id, setup.payment_method);
const later = await stripe.paymentIntents.create({ amount: 900, currency: "eur", confirm: true,
  off_session: true, customer: customer.id, payment_method: cards.data[0].id,
  automatic_payment_methods: { enabled: true } });
assert.equal(later.status, "succeeded");

// Guide "Finalize payments on the server": a ConfirmationToken, and a declined card.
const token = await stripe.testHelpers.confirmationTokens.create({
  payment_method: "pm_card_chargeDeclinedInsufficientFunds" });
await assert.rejects(stripe.paymentIntents.create({ amount: 900, currency: "eur", confirm: true,
  confirmation_token: token.id, automatic_payment_methods: automatic }),
(e) => e instanceof Stripe.errors.StripeCardError && e.decline_code === "insufficient_funds");
const open = await stripe.paymentIntents.create({ amount: 900, currency: "eur" });
assert.equal((await stripe.paymentIntents.cancel(open.id)).status, "canceled");

// A browser's key does what a browser may do.
const browser = new Stripe("pk_test_node0000000000000", {
  host: base.hostname, port: base.port, protocol: "http", telemetry: false });
await assert.rejects(browser.paymentIntents.capture(held.id),
  (e) => e instanceof Stripe.errors.StripeAuthenticationError && e.code === "secret_key_required");

await stripe.webhookEndpoints.del(endpoint.id);
receiver.close();
receiver.closeAllConnections();
console.log(`stripe-node ${Stripe.PACKAGE_VERSION}: ok`);

// The checkout: the card goes to Stripe, its PaymentMethod to the hotel's server, and the bank's
// dialog comes between the two answers of the server.
const form = document.getElementById("checkout");
const problem = document.getElementById("problem");
const busy = document.getElementById("busy");
const saved = document.getElementById("saved");
const again = document.getElementById("continue");
const stripe = Stripe(form.dataset.key);
const elements = stripe.elements();
const card = elements.create("card");
const cvc = elements.create("cardCvc");
card.mount("#card");
cvc.mount("#cvc");

saved?.addEventListener("change", () => {
  document.getElementById("card-row").hidden = saved.checked;
  document.getElementById("cvc-row").hidden = !saved.checked;
});
again.hidden = form.dataset.open !== "true";

// The server answers a repeated request as it answered the first, so a lost answer is asked for
// again.
async function send(path, fields = {}) {
  const body = new URLSearchParams(fields);
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await fetch(`${form.dataset.booking}/${path}`, { method: "POST", body });
      if (response.ok) return await response.json();
      if (response.status < 500 || attempt === 3) return { error: "The booking has expired." };
    } catch (e) {
      if (attempt === 3) return { error: "The network failed. Load the page again: nothing is lost." };
    }
    await new Promise((resolve) => setTimeout(resolve, 500 * attempt));
  }
}

// finish follows the server's answer: booked, the bank's dialog, another confirmation, or a text
// for the guest.
async function finish(answer) {
  for (let step = 0; step < 5; step++) {
    if (answer.booked) {
      location.reload();
      return;
    }
    if (answer.error) throw new Error(answer.error);
    if (answer.client_secret) {
      const { error } = await stripe.handleNextAction({ clientSecret: answer.client_secret });
      if (error) throw new Error("Your bank did not confirm the payment. Try again, or take another card.");
    }
    answer = await send("confirm");
  }
  throw new Error("Your bank asks again and again. Take another card.");
}

async function pay() {
  const fields = { guest: document.getElementById("guest").value };
  if (saved?.checked) {
    const { token, error } = await stripe.createToken("cvc_update", cvc);
    if (error) throw new Error(error.message);
    return finish(await send("pay", { ...fields, saved: "true", cvc_token: token.id }));
  }
  const made = await stripe.createPaymentMethod({ type: "card", card,
    billing_details: { name: fields.guest } });
  if (made.error) throw new Error(made.error.message);
  if (form.elements.keep.checked) fields.keep = "true";
  return finish(await send("pay", { ...fields, payment_method: made.paymentMethod.id }));
}

async function whileBusy(work) {
  if (busy.textContent) return; // a second click
  problem.textContent = "";
  busy.textContent = "One moment …";
  for (const b of form.querySelectorAll("button")) b.disabled = true;
  try {
    await work();
  } catch (e) {
    problem.textContent = e.message;
    busy.textContent = "";
    again.hidden = true;
    for (const b of form.querySelectorAll("button")) b.disabled = false;
  }
}
// The back button may show the page as it was left.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  whileBusy(pay);
});
again.addEventListener("click", () => whileBusy(async () => finish(await send("resume"))));

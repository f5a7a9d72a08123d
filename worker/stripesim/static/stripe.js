// A stand-in for https://js.stripe.com/v3/ with the simulator behind it. It has what a page needs
// that takes a card and lets the bank authenticate the cardholder. A page written for it runs
// against Stripe with another script address and key.
(() => {
  const origin = new URL(document.currentScript.src).origin;
  const pages = `${origin}/_pages/`;

  const elementTypes = ["card", "cardCvc"];

  // A frame of the simulator's origin has the card's fields. The page never sees their values.
  class Element {
    constructor(type, options) {
      if (!elementTypes.includes(type)) {
        throw new Error(`IntegrationError: the simulator's script has no element ${type}, only ` +
          elementTypes.join(" and "));
      }
      this.type = type;
      this.options = options ?? {};
      this.listeners = {};
      this.waiting = new Map();
      this.calls = 0;
      this.ready = new Promise((resolve) => { this.setReady = resolve; });
    }
    mount(target) {
      const at = typeof target === "string" ? document.querySelector(target) : target;
      if (!at) throw new Error(`IntegrationError: no element matches ${target}`);
      this.frame = document.createElement("iframe");
      this.frame.src = `${pages}field/${this.type}`;
      this.frame.title = "Secure card entry";
      this.frame.style.cssText = "border:0;width:100%;height:3.5rem;display:block";
      addEventListener("message", (event) => this.receive(event));
      at.replaceChildren(this.frame);
    }
    receive(event) {
      if (event.origin !== origin || event.source !== this.frame.contentWindow) return;
      const { name, detail } = event.data;
      if (name === "ready") this.setReady();
      if (name === "reply") {
        this.waiting.get(detail.call)?.(detail.result);
        this.waiting.delete(detail.call);
        return;
      }
      for (const f of this.listeners[name] ?? []) f({ elementType: this.type, ...detail });
    }
    on(name, f) {
      (this.listeners[name] ??= []).push(f);
      return this;
    }
    async call(name, detail) {
      await this.ready;
      const call = ++this.calls;
      const reply = new Promise((resolve) => this.waiting.set(call, resolve));
      this.frame.contentWindow.postMessage({ name, call, detail }, origin);
      return reply;
    }
    clear() { return this.call("clear"); }
    focus() { this.frame.focus(); }
    unmount() { this.frame.remove(); }
    destroy() { this.unmount(); }
  }

  const idOf = (clientSecret) => clientSecret.split("_secret_")[0];
  // The name of the object that a method returns.
  const kindOf = (clientSecret) =>
    clientSecret.startsWith("seti_") ? "setupIntent" : "paymentIntent";

  // send returns what Stripe.js' methods return: {[name]: object} or {error}.
  async function send(name, path, form) {
    try {
      const body = form && new URLSearchParams(form);
      const response = await fetch(pages + path, { method: form ? "POST" : "GET", body });
      const object = await response.json();
      return object.error ? { error: object.error } : { [name]: object };
    } catch (e) {
      return { error: { type: "api_connection_error", message: "The network failed. Try again." } };
    }
  }
  const retrieve = (clientSecret) => send(kindOf(clientSecret), `intents/${idOf(clientSecret)}?` +
    new URLSearchParams({ client_secret: clientSecret }));

  // The bank's page in a dialog. It ends when the bank has answered or the cardholder closes it.
  function authenticate(clientSecret, url) {
    const dialog = document.createElement("dialog");
    const frame = document.createElement("iframe");
    const close = document.createElement("button");
    dialog.setAttribute("aria-label", "Authentication by your bank");
    dialog.id = "stripe-3ds";
    frame.src = url;
    frame.title = "Your bank";
    frame.style.cssText = "border:0;width:20rem;height:14rem;display:block;background:#fff";
    close.type = "button";
    close.textContent = "Close";
    dialog.append(frame, close);
    document.body.append(dialog);
    return new Promise((resolve) => {
      const finish = (answered) => {
        removeEventListener("message", receive);
        dialog.remove();
        resolve(answered);
      };
      const receive = (event) => {
        if (event.origin === origin && event.source === frame.contentWindow &&
          event.data.name === "authenticated") finish(true);
      };
      addEventListener("message", receive);
      close.addEventListener("click", () => dialog.close());
      dialog.addEventListener("close", async () => {
        await send("", `intents/${idOf(clientSecret)}/abandon`, { client_secret: clientSecret });
        finish(false);
      });
      dialog.showModal();
    });
  }

  async function handleNextAction({ clientSecret }) {
    const kind = kindOf(clientSecret);
    const before = await retrieve(clientSecret);
    const intent = before[kind];
    if (!intent || intent.status !== "requires_action") return before;
    const action = intent.next_action;
    if (action.type === "redirect_to_url") {
      location.assign(action.redirect_to_url.url);
      return new Promise(() => {});
    }
    await authenticate(clientSecret, action.use_stripe_sdk.stripe_js);
    const after = await retrieve(clientSecret);
    if (after[kind]?.status === "requires_payment_method") {
      return { error: after[kind].last_payment_error ?? after[kind].last_setup_error };
    }
    return after;
  }

  const createPaymentMethod = ({ type, card, billing_details: details }) => type === "card" ?
    card.call("createPaymentMethod", { name: details?.name ?? "" }) :
    Promise.reject(new Error("IntegrationError: the simulator's script takes cards only"));

  // confirm confirms an intent with a PaymentMethod's id, or with what an element has.
  async function confirm(clientSecret, data = {}) {
    const form = { client_secret: clientSecret };
    let method = data.payment_method;
    if (method && typeof method === "object") {
      const made = await createPaymentMethod({ type: "card", ...method });
      if (made.error) return made;
      method = made.paymentMethod.id;
    }
    if (method) form.payment_method = method;
    if (data.return_url) form.return_url = data.return_url;
    const path = `intents/${idOf(clientSecret)}/confirm`;
    const confirmed = await send(kindOf(clientSecret), path, form);
    return confirmed.error ? confirmed : handleNextAction({ clientSecret });
  }

  globalThis.Stripe = (key) => {
    if (!/^pk_test_\w+$/.test(key)) {
      throw new Error("IntegrationError: the simulator takes a publishable test key, pk_test_…");
    }
    return {
      elements: () => ({ create: (type, options) => new Element(type, options) }),
      createPaymentMethod,
      createToken: (kind, element) => kind === "cvc_update" ? element.call("createToken") :
        kind instanceof Element && kind.type === "card" ? kind.call("createToken") :
        Promise.reject(new Error("IntegrationError: the simulator's script makes tokens of cards")),
      retrievePaymentIntent: retrieve,
      retrieveSetupIntent: retrieve,
      handleNextAction,
      handleCardAction: (clientSecret) => handleNextAction({ clientSecret }),
      confirmCardPayment: confirm,
      confirmCardSetup: confirm,
    };
  };
})();

// The fields of a card, in a frame of their own. It answers the page that embeds it.
const inputs = [...document.querySelectorAll("input")];
const value = (id) => document.getElementById(id)?.value.replaceAll(" ", "") ?? "";
const tell = (name, detail = {}) => parent.postMessage({ name, detail }, "*");

function state() {
  const [month, year] = value("exp").split("/");
  const complete = inputs.every((i) => i.id === "exp" ? month && year?.length >= 2 :
    i.id === "number" ? value("number").length >= 13 : value("cvc").length >= 3);
  return { complete, empty: inputs.every((i) => i.value === "") };
}
const incomplete = (message) => ({ error: { type: "validation_error", message } });

async function post(path, form) {
  try {
    const response = await fetch(`/_pages/${path}`,
      { method: "POST", body: new URLSearchParams(form) });
    return await response.json();
  } catch (e) {
    return { error: { type: "api_connection_error", message: "The network failed. Try again." } };
  }
}
const calls = {
  async createPaymentMethod({ name }) {
    if (!state().complete) return incomplete("Your card's details are incomplete.");
    const [month, year] = value("exp").split("/");
    const m = await post("payment_methods", { type: "card", "card[number]": value("number"),
      "card[exp_month]": month, "card[exp_year]": year, "card[cvc]": value("cvc"),
      "billing_details[name]": name });
    return m.error ? m : { paymentMethod: m };
  },
  async createToken() {
    const whole = document.getElementById("number");
    if (!state().complete) {
      return incomplete(`Your card's ${whole ? "details are" : "security code is"} incomplete.`);
    }
    const [month, year] = value("exp").split("/");
    const t = await post("tokens", whole ?
      { "card[number]": value("number"), "card[exp_month]": month, "card[exp_year]": year,
        "card[cvc]": value("cvc") } : { "cvc_update[cvc]": value("cvc") });
    return t.error ? t : { token: t };
  },
  clear() {
    for (const i of inputs) i.value = "";
    return {};
  },
};
addEventListener("message", async (event) => {
  if (event.source !== parent || !calls[event.data.name]) return;
  tell("reply", { call: event.data.call, result: await calls[event.data.name](event.data.detail) });
});
for (const i of inputs) i.addEventListener("input", () => tell("change", state()));
tell("ready");

// Every page works without this file. It keeps pages up to date and adds keys.

const texts = document.getElementById("texts").dataset;
const main = document.getElementById("main");
const text = (key) => texts["js" + key] ?? key;

function make(name, content, attributes = {}) {
  const e = document.createElement(name);
  e.append(...[content].flat());
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  return e;
}

// A form that acts is sent once.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!("once" in form.dataset)) return;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "true";
  // A disabled button would not be part of the form, so disable it afterwards.
  setTimeout(() => form.querySelectorAll("button").forEach((b) => { b.disabled = true; }));
});
// The back button may show the page as it was left.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

function addCopyButtons(root) {
  if (!navigator.clipboard) return;
  for (const code of root.querySelectorAll("[data-copy]")) {
    const button = make("button", text("Copy"), { type: "button", class: "plain" });
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.dataset.copy);
      button.textContent = text("Copied");
    });
    code.after(" ", button);
  }
}
addCopyButtons(main);

// Live updates: the server says that holds have changed, and the page is read
// again. The browser parses the answer; no HTML is written by this script.
function followUpdates(url) {
  const status = make("span", "", { role: "status" });
  const pause = make("button", text("Pause"), { type: "button", class: "plain" });
  document.querySelector("footer").append(make("span", [status, pause], { class: "live" }));
  let paused = false, timer = 0, loading = false, again = false;

  const show = () => {
    pause.textContent = text(paused ? "Resume" : "Pause");
    status.textContent = paused ? text("Paused") : "";
  };
  const isBusy = () => main.contains(document.activeElement) &&
    document.activeElement.matches("input, select, textarea") ||
    main.querySelector("details[open], [type=checkbox]:checked") !== null || !getSelection().isCollapsed;

  function load() {
    if (paused) return;
    if (loading || isBusy() || document.hidden) { again = true; return; }
    loading = true;
    again = false;
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.onload = () => {
      const fresh = request.response?.getElementById("main");
      if (request.status === 200 && fresh && !isBusy() && !paused) replace(fresh);
      // A session that has ended shows the sign-in page.
      if (request.responseURL.includes("/console/sign-in")) location.reload();
    };
    request.onloadend = () => { loading = false; };
    request.send();
  }
  function replace(fresh) {
    fresh.querySelector("[role=status]")?.remove();
    const focused = main.contains(document.activeElement) && document.activeElement !== main ?
      document.activeElement.getAttribute("href") : null;
    const regions = [...main.querySelectorAll(".scroll")].map((e) => e.scrollLeft);
    main.replaceChildren(...[...fresh.childNodes].map((n) => document.adoptNode(n)));
    main.querySelectorAll(".scroll").forEach((e, i) => { e.scrollLeft = regions[i] ?? 0; });
    addCopyButtons(main);
    if (focused) main.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    main.dispatchEvent(new CustomEvent("updated"));
  }
  pause.addEventListener("click", () => {
    paused = !paused;
    show();
    if (!paused) load();
  });
  const stream = new EventSource(url);
  stream.addEventListener("change", () => {
    clearTimeout(timer);
    timer = setTimeout(load, 250);
  });
  let lost = false;
  stream.onerror = () => {
    lost = true;
    if (!paused) status.textContent = text("Offline");
  };
  stream.onopen = () => {
    show();
    if (lost) load();
    lost = false;
  };
  const retry = () => { if (again) load(); };
  document.addEventListener("visibilitychange", retry);
  document.addEventListener("focusout", () => setTimeout(retry));
  document.addEventListener("selectionchange", retry);
}
if (main.dataset.live) followUpdates(main.dataset.live);

// Keys. They can be switched off, because speech input may type single letters.
const keysOff = "holdd-keys-off";
const rows = () => [...document.querySelectorAll("[data-hold]")];

function currentRow() {
  return document.activeElement?.closest("[data-hold]") ?? null;
}
function moveRow(step) {
  const all = rows();
  if (all.length === 0) return;
  const at = all.indexOf(currentRow());
  const next = at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step;
  all[Math.max(0, Math.min(all.length - 1, next))].querySelector("a").focus();
}
function openAct(act) {
  const row = currentRow();
  const onPage = document.querySelector(`[data-act="${act}"]`);
  if (row && !document.querySelector("[data-read-only]")) location.href = `${row.dataset.hold}/${act}`;
  else if (onPage) location.href = onPage.href;
}
function tickRow() {
  const box = currentRow()?.querySelector("[type=checkbox]");
  if (box) box.checked = !box.checked;
}
function showKeys() {
  const dialog = make("dialog", make("h2", text("KeysTitle"), { id: "keys-title" }),
    { "aria-labelledby": "keys-title" });
  for (const [key, what] of [["/", "Search"], ["j", "Next"], ["k", "Previous"], ["x", "Tick"],
    ["c", "Capture"], ["r", "Release"], ["?", "Help"]]) {
    dialog.append(make("p", [make("kbd", key), " ", text("Keys" + what)]));
  }
  const box = make("input", "", { type: "checkbox", id: "keys-on" });
  box.checked = !localStorage.getItem(keysOff);
  box.addEventListener("change", () => {
    if (box.checked) localStorage.removeItem(keysOff);
    else localStorage.setItem(keysOff, "true");
  });
  const close = make("button", text("Close"), { type: "button" });
  close.addEventListener("click", () => dialog.close());
  dialog.append(make("p", make("label", [box, " ", text("KeysOff")])), close);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
const keys = {
  "/": () => document.getElementById("search")?.focus(),
  "j": () => moveRow(1),
  "k": () => moveRow(-1),
  "x": tickRow,
  "c": () => openAct("capture"),
  "r": () => openAct("cancel"),
  "?": showKeys,
};
document.addEventListener("keydown", (event) => {
  const act = keys[event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest("input:not([type=checkbox]), select, textarea, dialog")) return;
  if (localStorage.getItem(keysOff) && event.key !== "?") return;
  event.preventDefault();
  act();
});

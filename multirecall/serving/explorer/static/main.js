// The page: what is asked, what is tried out, and how the two are shown.

import { $, count, h, meta, millis, plural } from "./dom.js";
import { newest, post } from "./api.js";
import { Desk } from "./desk.js";
import { makeFilters } from "./filters.js";
import { makePanel } from "./panel.js";
import { makePicker } from "./picker.js";
import { makePulse } from "./pulse.js";
import { makeThreads } from "./threads.js";
import { drawTimeline } from "./timeline.js";

const setup = JSON.parse(meta("setup"));
const items = new Map();
const nothing = () => ({ weights: {}, quotas: {}, enabled: {}, strategy: null, params: null });
let choices = nothing();
let asked = null;
let answer = null;

const desk = new Desk(items, { choose, most: setup.most_k, open: (id, row) => panel.open(id, row) });
desk.times = new Set(setup.fields.filter((one) => one.kind === "datetime").map((one) => one.name));
makeThreads(desk);
const history = makePicker("history", items);
const exclude = makePicker("exclude", items);
makePicker("why", items, { single: true, placeholder: "an item, by id or title", changed: (id) => panel.open(id, $("why-search")) });
const filters = makeFilters(setup.fields, () => {});
const panel = makePanel(items, desk, {
  request: () => asked,
  changed: () => isChanged(),
  addToHistory(id) { history.add(id); who("history"); ask(); },
  leaveOut(id) { exclude.add(id); ask(); },
});
const look = makePulse(setup.paths.map((path) => path.name));

// -- the form ----------------------------------------------------------------------------------------------

const kinds = [...document.querySelectorAll('input[name="who"]')];

function who(kind) {
  for (const one of kinds) one.checked = one.value === kind;
  for (const part of document.querySelectorAll("[data-who]")) part.hidden = part.dataset.who !== kind;
}

function read() {
  const kind = kinds.find((one) => one.checked).value;
  return {
    user: kind === "user" && $("user").value.trim() !== "" ? $("user").value.trim() : null,
    history: kind === "history" ? history.ids : null,
    k: Number($("k").value) || setup.k,
    exclude: exclude.ids,
    where: filters.where,
    seen: $("seen").checked,
  };
}

function write(request) {
  who(request.history !== null ? "history" : request.user !== null ? "user" : "visitor");
  $("user").value = request.user ?? "";
  history.set(request.history ?? []);
  exclude.set(request.exclude);
  filters.set(request.where);
  $("k").value = request.k;
  $("seen").checked = request.seen;
}

function isChanged() {
  const { weights, quotas, enabled, strategy, params } = choices;
  return [weights, quotas, enabled].some((one) => Object.keys(one).length) || strategy !== null || params !== null;
}

// -- asking and fusing -------------------------------------------------------------------------------------

const askNewest = newest(async () => {
  document.body.classList.add("asking");
  const request = asked;
  try {
    const said = await post("ask", { ...request, choices });
    answer = said;
    learn(said.fused.items);
    $("notice").hidden = true;
    document.body.classList.remove("stale");
    desk.ask(said, choices);
    drawTimeline(said, items, (id, row) => panel.open(id, row));
    history.redraw();
    exclude.redraw();
    show(said.fused);
  } catch (fault) {
    document.body.classList.add("stale");
    complain(fault);
  } finally {
    document.body.classList.remove("asking");
  }
});

const fuseNewest = newest(async () => {
  try {
    const said = await post("fuse", { ...asked, choices });
    learn(said.items);
    show(said);
  } catch (fault) {
    complain(fault);
  }
});

function ask() {
  asked = read();
  remember();
  return askNewest();
}

function learn(labels) {
  for (const [id, label] of Object.entries(labels)) items.set(id, label);
}

function choose(kind, name, value, served) {
  if (value === served) delete choices[kind][name];
  else choices[kind][name] = value;
  remember();
  fuseNewest();
}

function complain(fault) {
  const notice = $("notice");
  notice.hidden = false;
  notice.replaceChildren(h("p", { text: fault.message }));
  if (fault.status === 401 || (fault.status === 403 && /load it again/.test(fault.message))) {
    notice.append(h("button", { type: "button", text: "Load the page again", onclick: () => location.reload() }));
  }
}

function show(fused) {
  desk.fuse(fused);
  $("reset").disabled = !isChanged();
  drawKnobs(fused);
  $("keep-text").textContent = fused.toml;
  const notice = $("notice");
  notice.hidden = fused.fault === null;
  if (fused.fault !== null) notice.replaceChildren(h("p", { text: fused.fault }));
  $("change").textContent = summary(fused);
  const left = $("left");
  left.hidden = !fused.left?.length;
  left.querySelector("summary").textContent = `${plural(fused.left?.length ?? 0, "item")} left the list`;
  left.querySelector("ol").replaceChildren(...(fused.left ?? []).map((id, place) => h("li", {}, h("button", { type: "button", onclick: (event) => panel.open(id, event.currentTarget) },
    h("span", { class: "rank", text: `was ${fused.left_ranks[place] + 1}` }), h("bdi", { text: items.get(id)?.[0] ?? id })))));
}

function summary(fused) {
  if (fused.fault !== null) return "";
  const parts = [];
  if (fused.changed && fused.before) {
    const entered = fused.before.filter((one) => one < 0).length;
    const moved = fused.before.filter((one, rank) => one >= 0 && one !== rank).length;
    parts.push(entered || moved || fused.left.length ? `${count(entered)} entered, ${count(fused.left.length)} left, ${count(moved)} moved` : "The list stays as it is");
  } else parts.push(fused.changed ? "Beside what is served, which fails" : "As the engine serves it");
  if (answer.segment) {
    const { above, longest } = answer.segment;
    parts.push(longest === null ? `histories above ${count(above)} events` : `histories of ${above === null ? "" : `${count(above + 1)} to `}${above === null ? "up to " : ""}${plural(longest, "event")}`);
  }
  if (fused.n_backfilled) parts.push(`${count(fused.n_backfilled)} from the fallback`);
  if (answer.unknown_items.length) parts.push(`${plural(answer.unknown_items.length, "id")} unknown`);
  if (answer.store && answer.store !== "ok") parts.push(`the store of histories: ${answer.store}`);
  parts.push(`fused in ${millis(fused.ms)}`);
  return `${parts.join(" · ")}.`;
}

// -- the fusion's own knobs --------------------------------------------------------------------------------

let drawn = "";

function drawKnobs(fused) {
  const strategy = $("strategy");
  strategy.value = fused.strategy;
  const fusion = setup.fusions.find((one) => one.name === fused.strategy);
  desk.home.classList.toggle("weightless", fusion !== undefined && !fusion.weighted);
  if (drawn === fused.strategy && $("params").contains(document.activeElement)) return;
  drawn = fused.strategy;
  const set = (name, value) => {
    choices.strategy = fused.strategy;
    choices.params = { ...(choices.params ?? fused.params), [name]: value };
    remember();
    fuseNewest();
  };
  $("params").replaceChildren(...Object.entries(fusion?.fields ?? {}).map(([name, field]) => {
    const now = fused.params[name] ?? field.default;
    const control = field.choices
      ? h("select", { onchange: (event) => set(name, event.target.value) }, ...field.choices.map((one) => h("option", { value: one, text: one.replaceAll("_", " ") })))
      : h("input", { type: "number", step: "any", min: field.least ?? "", onchange: (event) => set(name, Number(event.target.value)) });
    control.value = now;
    return h("label", {}, `${name.replaceAll("_", " ")} `, control);
  }));
}

$("strategy").replaceChildren(...setup.fusions.map((one) => h("option", { value: one.name, text: one.name.replaceAll("_", " ") })));
$("strategy").addEventListener("change", () => {
  choices.strategy = $("strategy").value;
  choices.params = null;
  remember();
  fuseNewest();
});
$("reset").addEventListener("click", () => {
  choices = nothing();
  remember();
  desk.ask(answer, choices);
  fuseNewest();
  $("strategy").focus();
});
$("toml").addEventListener("click", () => $("keep").showModal());
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("keep-text").textContent);
    $("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren($("keep-text"));
  }
});
$("keep").addEventListener("close", () => { $("copy").textContent = "Copy"; });

// -- the address -------------------------------------------------------------------------------------------

function remember() {
  const held = JSON.stringify({ ...asked, choices });
  window.history.replaceState(null, "", held.length < 8000 ? `#${encodeURIComponent(held)}` : "#");
}

function recall() {
  try {
    const held = JSON.parse(decodeURIComponent(location.hash.slice(1)));
    const text = (one) => typeof one === "string";
    const texts = (one) => (Array.isArray(one) ? one.filter(text) : []);
    const table = (one) => (one !== null && typeof one === "object" && !Array.isArray(one) ? one : {});
    const kept = table(held.choices);
    choices = {
      weights: table(kept.weights), quotas: table(kept.quotas), enabled: table(kept.enabled),
      strategy: text(kept.strategy) ? kept.strategy : null, params: kept.params ? table(kept.params) : null,
    };
    return {
      user: text(held.user) ? held.user : null, history: Array.isArray(held.history) ? texts(held.history) : null,
      k: Number(held.k) || setup.k, exclude: texts(held.exclude), where: table(held.where), seen: held.seen === true,
    };
  } catch {
    return null;
  }
}

// -- the theme ---------------------------------------------------------------------------------------------

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
}

setTheme(localStorage.getItem("multirecall-theme"));
$("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark"
    || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  const theme = dark ? "light" : "dark";
  localStorage.setItem("multirecall-theme", theme);
  setTheme(theme);
});

// -- the beginning -----------------------------------------------------------------------------------------

for (const one of kinds) one.addEventListener("change", () => who(one.value));
$("k").max = setup.most_k;
if (!setup.text_ids) $("user").inputMode = "numeric";
$("samples").replaceChildren(...setup.users.map((one) => h("button", { type: "button", title: plural(one.events, "event"), onclick: () => { $("user").value = one.id; ask(); } },
  h("bdi", { text: one.id }), h("small", { text: count(one.events) }))));
$("ask").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
addEventListener("keydown", (event) => { if (event.key === "Escape" && panel.isOpen && !$("keep").open) panel.close(); });
addEventListener("hashchange", () => { const held = recall(); if (held) { write(held); ask(); } });

write(recall() ?? { user: setup.users[Math.floor(setup.users.length / 3)]?.id ?? null, history: null, k: setup.k, exclude: [], where: {}, seen: false });
ask();
look();

// One item: why it is where it is, what it has, and what is like it.

import { $, badge, h, naming, picture, plural, short } from "./dom.js";
import { post } from "./api.js";

export function makePanel(items, desk, { request, changed, addToHistory, leaveOut }) {
  const home = $("panel");
  let opener = null;
  let shown = null;

  function close() {
    if (home.hidden) return;
    home.hidden = true;
    document.body.classList.remove("with-panel");
    shown = null;
    desk.pin(null);
    (opener?.isConnected ? opener : $("why-search")).focus();
  }

  home.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { event.stopPropagation(); close(); }
  });

  function learn(said) {
    for (const [id, label] of Object.entries(said.items)) items.set(id, label);
  }

  async function open(id, from = null) {
    if (from !== null || home.hidden) opener = from ?? document.activeElement;
    shown = id;
    desk.pin(id);
    home.hidden = false;
    document.body.classList.add("with-panel");
    const title = h("h2", { tabIndex: -1 }, naming(id, items));
    const why = h("section", { class: "why", "aria-live": "polite" }, h("p", { class: "quiet", text: "Asking why …" }));
    const alike = h("section", { class: "alike" }, h("h3", { text: "Similar items" }), h("p", { class: "quiet", text: "Asking …" }));
    home.replaceChildren(
      h("header", {}, picture(id, items), title, h("button", { type: "button", class: "close", "aria-label": "Close", text: "×", onclick: close })),
      h("p", { class: "quiet" }, h("code", { text: id })),
      h("div", { class: "inline acts" },
        h("button", { type: "button", text: "Add to a history", onclick: () => addToHistory(id) }),
        h("button", { type: "button", text: "Leave out", onclick: () => leaveOut(id) })),
      why, alike);
    title.focus();
    await Promise.all([explain(id, title, why), similar(id, alike)]);
  }

  async function explain(id, title, place) {
    try {
      const said = await post("why", { ...request(), item: id });
      if (shown !== id) return;
      learn(said);
      title.replaceChildren(naming(id, items));
      place.replaceChildren(...told(said));
    } catch (fault) {
      if (shown === id) place.replaceChildren(h("p", { class: "fault", text: fault.message }));
    }
  }

  function told(said) {
    const names = desk.paths.map((path) => path.name);
    const weights = Object.fromEntries(desk.paths.map((path) => [path.name, path.weight]));
    const sentence = said.rank === null ? `Not in the list: ${said.reason}.`
      : said.reason ? `At rank ${said.rank + 1}: ${said.reason}.` : `At rank ${said.rank + 1}, with a score of ${short(said.score)}.`;
    const order = Object.entries(said.paths).sort(([, one], [, other]) => (one.rank ?? 1e9) - (other.rank ?? 1e9));
    const rows = order.map(([name, path]) => h("tr", { class: path.rank === null ? "without" : null },
      h("th", { scope: "row" }, badge(Math.max(0, names.indexOf(name))), ` ${name}`),
      path.rank === null ? h("td", { colSpan: 3, text: path.reason ?? "not proposed" }) : null,
      path.rank !== null && h("td", { text: path.rank + 1 }),
      path.rank !== null && h("td", { text: short(path.score) }),
      path.rank !== null && h("td", { text: path.normalised === null ? "–" : short(path.normalised * (weights[name] ?? 1)) })));
    const details = order.filter(([, path]) => path.detail).map(([name, path]) => h("li", {}, h("b", { text: name }), ` ${path.detail}`,
      path.items.length > 0 && ": ", ...path.items.flatMap((one, number) => [number ? ", " : "", naming(one, items)])));
    const features = Object.entries(said.features);
    return [
      h("h3", { text: said.rank === null ? "Why not" : "Why" }),
      h("p", { class: "sentence", text: sentence }),
      changed() && h("p", { class: "quiet", text: "This is the list that the engine serves, without what you try out." }),
      h("table", {}, h("thead", {}, h("tr", {}, ...["path", "rank", "score", "adds"].map((text) => h("th", { scope: "col", text })))), h("tbody", {}, ...rows)),
      said.intercept ? h("p", { class: "quiet", text: `Every candidate begins at ${short(said.intercept)}.` }) : null,
      details.length ? h("ul", { class: "details" }, ...details) : null,
      features.length ? h("h3", { text: "Features" }) : null,
      features.length ? h("dl", {}, ...features.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", {}, h("bdi", { text: shownValue(name, value) }))])) : null,
    ].filter(Boolean);
  }

  function shownValue(name, value) {
    const text = Array.isArray(value) ? value.join(", ") : typeof value === "number" ? plainNumber(name, value) : String(value);
    return text.length > 400 ? `${text.slice(0, 400)} …` : text;
  }

  function plainNumber(name, value) {
    return desk.times?.has(name) ? new Date(value * 1000).toISOString().replace("T", " ").slice(0, 16) : String(value);
  }

  async function similar(id, place) {
    const title = h("h3", { text: "Similar items" });
    try {
      const said = await post("similar", { item: id, where: request().where });
      if (shown !== id) return;
      learn(said);
      const asked = Object.values(said.status).filter((one) => one.state === "ok").length;
      place.replaceChildren(title, said.ids.length
        ? h("p", { class: "quiet", text: `by ${plural(asked, "path")}` }) : h("p", { class: "quiet", text: "No path knows an item like it." }),
      h("ol", { class: "alike-list" }, ...said.ids.map((one, rank) => h("li", {}, h("button", { type: "button", onclick: () => open(one) },
        picture(one, items), naming(one, items),
        h("span", { class: "by" }, ...desk.paths.map((path, number) => ((said.ranks[path.name]?.[rank] ?? -1) >= 0 ? badge(number, path.name) : null)).filter(Boolean)))))));
    } catch (fault) {
      if (shown === id) place.replaceChildren(title, h("p", { class: "quiet", text: fault.message }));
    }
  }

  return { open, close, get isOpen() { return !home.hidden; } };
}

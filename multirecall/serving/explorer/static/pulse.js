// Health and metrics at a glance: what this worker saw within the last minutes.

import { $, COLOURS, badge, count, h, millis, plural, span } from "./dom.js";
import { post } from "./api.js";

const EVERY_MS = 10_000;
const ORDER = ["failed", "late", "skipped", "ok"];

export function makePulse(names) {
  const home = $("pulse-body");
  let seen = false;
  new IntersectionObserver(([entry]) => { seen = entry.isIntersecting; if (seen) look(); }).observe($("pulse"));
  setInterval(() => { if (seen && !document.hidden) look(); }, EVERY_MS);

  async function look() {
    try {
      draw(await post("pulse", {}));
    } catch (fault) {
      home.replaceChildren(h("p", { class: "fault", text: fault.message }));
    }
  }

  function fact(label, value, note = "") {
    return h("div", {}, h("dt", { text: label }), h("dd", { text: value }), note && h("small", { text: note }));
  }

  function draw(said) {
    $("facts").textContent = `${plural(said.n_items, "item")} · ${plural(said.n_users, "user")} · ${plural(said.n_events, "event")} · data version ${said.data_version}`;
    const recent = said.recent;
    const asked = recent.requests.reduce((sum, one) => sum + one, 0);
    const minutes = (recent.requests.length * recent.slot_s) / 60;
    const facts = h("dl", { class: "facts" },
      fact("newest event", said.newest === null ? "no times" : `${span(said.age_s)} ago`, said.newest === null ? "" : new Date(said.newest * 1000).toISOString().slice(0, 16).replace("T", " ")),
      fact("requests", count(asked), `${(asked / minutes).toFixed(1)} a minute; ${plural(recent.refused, "error")}`),
      fact("median", millis(recent.request_ms), "a request over HTTP"),
      fact("backfilled", recent.candidates ? `${((100 * recent.backfilled) / recent.candidates).toFixed(1)} %` : "–", `of ${plural(recent.candidates, "candidate")}`),
      said.unsaved === null ? null : fact("journal", count(said.unsaved), "changes that a load replays"),
      said.cache.size ? fact("cache", `${((100 * said.cache.hits) / Math.max(1, said.cache.hits + said.cache.misses)).toFixed(0)} %`, "hits") : null,
      said.source === null ? null : fact("store", said.source.breaker === "closed" ? "answers" : "is not asked", said.source.last_fault ?? ""));
    home.replaceChildren(facts, said.recent.answers
      ? h("table", {}, h("thead", {}, h("tr", {}, ...["path", "share of the candidates", "median", "states, oldest first", "breaker"].map((text) => h("th", { scope: "col", text })))),
        h("tbody", {}, ...names.map((name, number) => row(name, number, recent.paths[name], said.breakers[name]))))
      : h("p", { class: "quiet", text: "No answers yet within these minutes. What you ask on this page is not counted." }));
  }

  function row(name, number, path, breaker) {
    if (!path) return h("tr", {}, h("th", { scope: "row" }, badge(number), ` ${name}`), h("td", { colSpan: 4, class: "quiet", text: "not asked" }));
    const share = h("span", { class: `share c${number % COLOURS}` });
    share.style.setProperty("--part", path.share);
    const totals = {};
    for (const slot of path.states) for (const [state, n] of Object.entries(slot)) totals[state] = (totals[state] ?? 0) + n;
    const says = Object.entries(totals).map(([state, n]) => `${count(n)} ${state}`).join(", ") || "nothing";
    const strip = h("span", { class: "strip", role: "img", "aria-label": says, title: says }, ...path.states.map((slot) => h("i", { class: ORDER.find((one) => slot[one]) ?? "" })));
    const open = breaker && breaker.breaker !== "closed";
    return h("tr", {}, h("th", { scope: "row" }, badge(number), ` ${name}`),
      h("td", {}, share, ` ${(100 * path.share).toFixed(1)} %`), h("td", { text: millis(path.ms) }), h("td", {}, strip, h("small", { text: ` ${says}` })),
      h("td", { class: open ? "bad" : "quiet", text: open ? `${breaker.breaker.replace("_", " ")}: ${breaker.last_fault ?? ""}` : breaker?.trouble ?? "closed" }));
  }

  return look;
}

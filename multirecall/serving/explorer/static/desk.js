// The desk: the fused list, and beside it the list of each path with its knobs.

import { $, LETTERS, COLOURS, badge, count, framed, h, millis, naming, picture, plural, short } from "./dom.js";

const CHUNK = 50;

/** Rows of one list, of which only those near the view are made. */
class Rows {
  constructor(number, make) {
    this.number = number;
    this.make = make;
    this.list = h("ol", { class: "rows" });
    this.entries = [];
  }

  fill(entries) {
    const keep = Math.max(CHUNK, this.list.children.length);
    this.entries = entries;
    this.list.replaceChildren();
    this.more(Math.min(keep, 4 * CHUNK));
  }

  more(n = CHUNK) {
    const from = this.list.children.length;
    if (from >= this.entries.length) return;
    const part = document.createDocumentFragment();
    for (let place = from; place < Math.min(from + n, this.entries.length); place++) {
      part.append(this.make(this.entries[place], place));
    }
    this.list.append(part);
  }
}

export class Desk {
  constructor(items, { choose, open, most }) {
    this.items = items;
    this.choose = choose;
    this.open = open;
    this.most = most;
    this.home = $("desk");
    this.paths = [];
    this.ranks = new Map();
    this.home.addEventListener("scroll", framed(() => this.grow()), { passive: true });
    this.home.addEventListener("keydown", (event) => this.walk(event));
    this.home.addEventListener("click", (event) => {
      const row = event.target.closest("button.row");
      if (row?.dataset.gap) this.unfold(row);
      else if (row) this.open(row.dataset.id, row);
    });
    for (const kind of ["mouseover", "focusin"]) {
      this.home.addEventListener(kind, (event) => this.light(event.target.closest("button.row")?.dataset.id ?? null));
    }
    this.home.addEventListener("mouseleave", () => this.light(null));
    this.lit = this.pinned = null;
    this.onlight = () => {};
  }

  /** Show the lists of an answer. */
  ask(answer, choices) {
    this.answer = answer;
    this.paths = answer.paths;
    this.quotas = {};
    this.home.classList.toggle("pictures", [...this.items.values()].some((one) => one[1]));
    this.slowest = Math.max(...this.paths.map((one) => one.ms), 0.001);
    this.fused = new Rows(0, (entry, place) => this.fusedRow(entry, place));
    this.columns = this.paths.map((path, number) => new Rows(number + 1, (entry) => this.pathRow(path, number, entry)));
    this.home.replaceChildren(this.fusedColumn(), ...this.paths.map((path, number) => this.pathColumn(path, number, choices)));
    this.paths.forEach((path, number) => this.columns[number].fill(entriesOf(path)));
    this.home.scrollTo(0, 0);
    this.jumps();
  }

  /** Show another fused list of the same paths. */
  fuse(fused) {
    this.now = fused;
    this.home.classList.toggle("untouched", !fused.changed);
    this.ranks = new Map((fused.ids ?? []).map((id, rank) => [id, rank]));
    this.fused.fill(fused.ids ?? []);
    this.foot.textContent = fused.fault ? "no list" : `${plural(fused.ids.length, "item")}${fused.shortfall ? `, ${count(fused.shortfall)} short of k` : ""}`;
    this.drawBrought(fused);
    this.paths.forEach((path, number) => {
      for (const row of this.columns[number].list.children) this.markRow(row.firstChild);
      const column = this.home.children[number + 1];
      column.classList.toggle("off", !this.isOn(path, fused));
      drawCoefficients(column.querySelector(".coefficients"), fused.params?.paths, path.name);
    });
    this.setTab();
    this.lit = null;
    this.light(null);
  }

  isOn(path, fused) {
    return !fused.status || (path.name in fused.status && fused.status[path.name].state !== "dropped");
  }

  fusedColumn() {
    this.foot = h("footer", {});
    this.brought = h("div", { class: "brought", role: "img" });
    return h("section", { class: "col fused", "aria-label": "Fused list" },
      h("header", {}, h("h2", { text: "Fused" }), this.brought, h("div", { class: "fused-head" },
        h("span", { class: "quiet", text: "rank" }), h("span", { class: "quiet adds", text: "what each path adds" }),
        h("span", { class: "cells" }, ...this.paths.map((path, number) => badge(number, path.name))))),
      this.fused.list, this.foot);
  }

  /** What each path brought to the whole list: its part of all scores or, where they are no sums, of all proposals. */
  drawBrought({ shares, ranks }) {
    const parts = this.paths.map(({ name }) => (shares?.[name] ?? (ranks?.[name] ?? []).map((rank) => Number(rank >= 0))).reduce((sum, one) => sum + Math.max(0, one), 0));
    const all = parts.reduce((sum, one) => sum + one, 0) || 1;
    this.brought.replaceChildren(...parts.map((part, number) => {
      const piece = h("i", { class: `c${number % COLOURS}`, title: `${this.paths[number].name}: ${((100 * part) / all).toFixed(0)} %` });
      piece.style.setProperty("--part", part / all);
      return piece;
    }));
    this.brought.setAttribute("aria-label", parts.map((part, number) => `${this.paths[number].name} ${((100 * part) / all).toFixed(0)} %`).join(", "));
  }

  fusedRow(id, rank) {
    const { before, n_backfilled: added = 0, ids, scores, ranks, shares } = this.now;
    const from = before ? before[rank] : rank;
    const fallback = rank >= ids.length - added;
    const most = shares ? Math.max(...this.paths.map((path) => Math.abs(shares[path.name]?.[rank] ?? 0)), 1e-12) : 1;
    const says = [];
    const cells = h("span", { class: "cells", "aria-hidden": "true" }, ...this.paths.map((path, number) => {
      const there = ranks[path.name]?.[rank] ?? -1;
      if (there < 0) return h("i", {});
      says.push(`${path.name} ${there + 1}`);
      const cell = h("i", { class: `c${number % COLOURS}`, title: `${LETTERS[number % 26]} ${path.name}: rank ${there + 1}` });
      const share = shares?.[path.name]?.[rank];
      cell.style.setProperty("--share", share === null || share === undefined ? 1 : Math.max(0.12, Math.abs(share) / most));
      return cell;
    }));
    const move = h("span", { class: "move" });
    if (from < 0) { move.textContent = "new"; move.classList.add("new"); }
    else if (from !== rank) { move.textContent = `${from > rank ? "▲" : "▼"}${Math.abs(from - rank)}`; move.classList.add(from > rank ? "up" : "down"); }
    const row = h("button", { type: "button", class: `row${fallback ? " fallback" : ""}`, tabIndex: -1, dataset: { id } },
      h("span", { class: "rank", text: rank + 1 }), move, picture(id, this.items), naming(id, this.items),
      fallback ? h("span", { class: "tag", text: "fallback" }) : cells,
      h("span", { class: "score", text: short(scores[rank]) }));
    row.setAttribute("aria-label", `${rank + 1}. ${this.items.get(id)?.[0] ?? id}; ${fallback ? "from the fallback" : says.join(", ")}${from < 0 ? "; new here" : ""}`);
    return h("li", {}, row);
  }

  pathColumn(path, number, choices) {
    const name = path.name;
    const on = choices.enabled[name] ?? path.enabled;
    const state = path.dropped ? "dropped" : path.state;
    const weight = knob("weight", choices.weights[name] ?? path.weight, path.weight, 30, (value) => this.choose("weights", name, value, path.weight));
    const quota = knob("quota", choices.quotas[name] ?? path.quota, path.quota, Math.max(path.quota, Math.min(2 * path.quota, this.most)), (value) => this.choose("quotas", name, value, path.quota));
    const toggle = h("input", { type: "checkbox", role: "switch", checked: on, "aria-label": `${name} takes part`, onchange: (event) => this.choose("enabled", name, event.target.checked, path.enabled) });
    const sentence = path.dropped ? `${path.state === "ok" ? "" : `${path.detail}; `}${path.dropped}` : path.detail;
    const bar = h("span", { class: `latency c${number % COLOURS}` });
    bar.style.setProperty("--part", path.ms / this.slowest);
    return h("section", { class: `col path c${number % COLOURS}`, "aria-label": name },
      h("header", {}, h("h2", {}, badge(number), h("span", { text: name }), toggle),
        h("p", { class: "state" }, h("b", { class: `is ${state}`, text: state }), path.state === "ok" ? ` ${count(path.count)}` : "", sentence && h("span", { class: "sentence", text: ` ${sentence}`, title: sentence })),
        weight, quota, h("p", { class: "coefficients", hidden: true })),
      path.ids.length ? this.columns[number].list : h("p", { class: "nothing", text: path.state === "ok" ? "This path proposes nothing here." : sentence ?? "No list." }),
      h("footer", {}, bar, h("span", { text: millis(path.ms) })));
  }

  pathRow(path, number, entry) {
    if (entry.hidden) return gapRow(entry, number);
    const { id, rank, score, reason, part } = entry;
    const row = h("button", { type: "button", class: `row${reason ? " barred" : ""}`, tabIndex: -1, dataset: { id } },
      h("span", { class: "rank", text: reason ? "–" : rank + 1 }), picture(id, this.items), naming(id, this.items),
      reason ? h("span", { class: "tag", text: reason }) : h("span", { class: "there" }));
    row.title = `score ${short(score)}`;
    row.setAttribute("aria-label", `${path.name} ${reason ? `, taken out: ${reason}` : rank + 1}. ${this.items.get(id)?.[0] ?? id}, score ${short(score)}`);
    row.style.setProperty("--part", part);
    row.classList.add(`c${number % COLOURS}`);
    if (!reason) { row.dataset.rank = rank; row.dataset.quota = path.quota; this.markRow(row); }
    return h("li", {}, row);
  }

  /** Show the items that filters took out at one place. */
  unfold(row) {
    const number = Number(row.dataset.gap);
    const rows = this.columns[number];
    const at = [...rows.list.children].indexOf(row.parentElement);
    const { hidden } = rows.entries[at];
    rows.entries.splice(at, 1, ...hidden);
    row.parentElement.replaceWith(...hidden.map((entry) => rows.make(entry)));
    const first = rows.list.children[at].firstChild;
    first.tabIndex = 0;
    first.focus();
  }

  markRow(row) {
    const there = row.querySelector(".there");
    if (!there) return;
    const rank = this.ranks.get(row.dataset.id);
    there.textContent = rank === undefined ? "" : `→${rank + 1}`;
    row.classList.toggle("in", rank !== undefined);
  }

  /** More rows where the view comes near their end. */
  grow() {
    if (!this.columns) return;
    const below = this.home.scrollTop + this.home.clientHeight + 600;
    for (const rows of [this.fused, ...this.columns]) {
      while (rows.list.children.length < rows.entries.length && rows.list.offsetTop + rows.list.offsetHeight < below) rows.more();
    }
    this.onlight();
  }

  /** Keep an item marked while no other is pointed at; null: none. */
  pin(id) {
    this.pinned = id;
    this.light(null);
  }

  /** Mark an item wherever it is. */
  light(pointed) {
    const id = pointed ?? this.pinned;
    if (id === this.lit) return;
    this.lit = id;
    for (const row of this.home.querySelectorAll(".lit")) row.classList.remove("lit");
    if (id !== null) for (const row of this.rowsOf(id)) row.classList.add("lit");
    this.onlight();
  }

  rowsOf(id) {
    return id === null ? [] : [...this.home.querySelectorAll(`button.row[data-id="${CSS.escape(id)}"]`)];
  }

  /** The arrow keys walk over rows: one row is in the tab order. */
  walk(event) {
    const row = event.target.closest("button.row");
    if (!row) return;
    const steps = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1], PageDown: [15, 0], PageUp: [-15, 0], Home: [-1e6, 0], End: [1e6, 0] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const lists = [...this.home.querySelectorAll("ol.rows")];
    const own = row.closest("ol");
    const list = lists[lists.indexOf(own) + step[1]];
    if (!list || !list.children.length) return;
    const place = [...own.children].indexOf(row.parentElement) + step[0];
    const next = list.children[Math.max(0, Math.min(place, list.children.length - 1))].firstChild;
    row.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  setTab() {
    const first = this.home.querySelector("button.row");
    if (first && !this.home.querySelector('button.row[tabindex="0"]')) first.tabIndex = 0;
  }

  /** Links to the lists, for narrow screens. */
  jumps() {
    const to = (number) => () => this.home.children[number].scrollIntoView({ behavior: "smooth", block: "nearest", inline: "start" });
    $("jumps").replaceChildren(h("button", { type: "button", text: "Fused", onclick: to(0) }),
      ...this.paths.map((path, number) => h("button", { type: "button", "aria-label": path.name, onclick: to(number + 1) }, badge(number), ` ${path.name}`)));
  }
}

/** The entries of a path: its list, and between them what filters took out of it. */
function entriesOf(path) {
  const high = path.scores[0] ?? 0;
  const low = path.scores[path.scores.length - 1] ?? 0;
  const part = (score) => (high > low ? Math.max(0.02, Math.min(1, (score - low) / (high - low))) : 1);
  const barred = path.barred ?? { ids: [], places: [] };
  const entries = [];
  let next = 0;
  const takeOut = (upTo) => {
    const hidden = [];
    for (; next < barred.ids.length && barred.places[next] <= upTo; next++) {
      hidden.push({ id: barred.ids[next], reason: barred.reasons[next], score: barred.scores[next], part: 0 });
    }
    if (hidden.length > 1) entries.push({ hidden });
    else entries.push(...hidden);
  };
  path.ids.forEach((id, rank) => {
    takeOut(rank);
    entries.push({ id, rank, score: path.scores[rank], part: part(path.scores[rank]) });
  });
  takeOut(Infinity);
  return entries;
}

/** The coefficients of a path in a fusion that was learned, those that are not 0. */
function drawCoefficients(place, all, name) {
  place.hidden = !all || !Object.keys(all).length;
  if (place.hidden) return;
  const own = Object.entries(all[name] ?? {}).filter(([, value]) => value);
  place.textContent = own.map(([term, value]) => `${term.replaceAll("_", " ")} ${short(value)}`).join(" · ") || "no coefficients";
  place.title = place.textContent;
}

/** One row in place of several items that filters took out. */
function gapRow({ hidden }, number) {
  const reasons = [...new Set(hidden.map((one) => one.reason))].join(", ");
  return h("li", {}, h("button", { type: "button", class: "row gap", tabIndex: -1, dataset: { gap: number } },
    h("span", { class: "rank", text: "▸" }), h("span", { class: "name", text: `${hidden.length} taken out: ${reasons}` })));
}

/** A slider with its number: a weight from a tenth to ten times what serves, or a quota. */
function knob(what, value, served, top, changed) {
  const isWeight = what === "weight";
  const toSlider = (number) => (isWeight ? 30 * Math.log10(number / served) : number);
  const toValue = (place) => (isWeight ? Number((served * 10 ** (place / 30)).toPrecision(3)) : place);
  const number = h("input", { type: "number", min: isWeight ? 0.0001 : 1, step: isWeight ? "any" : 1, value: isWeight ? Number(value.toPrecision(4)) : value, "aria-label": what });
  const slider = h("input", { type: "range", min: isWeight ? -30 : 1, max: top, step: 1, value: toSlider(value), "aria-label": what });
  slider.addEventListener("input", () => {
    const given = Number(slider.value) === 0 && isWeight ? served : toValue(Number(slider.value));
    number.value = isWeight ? Number(given.toPrecision(4)) : given;
    changed(given);
  });
  number.addEventListener("change", () => {
    const given = Number(number.value);
    if (!(given > 0)) { number.value = served; changed(served); return; }
    slider.value = toSlider(given);
    changed(isWeight ? given : Math.round(given));
  });
  return h("div", { class: "knob" }, h("span", { text: what }), slider, number);
}

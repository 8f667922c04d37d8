// Filters by item features: values to choose, or the bounds of numbers and times.

import { $, h, short } from "./dom.js";

export function makeFilters(fields, changed) {
  const home = $("filters");
  const offer = $("field");
  const chosen = new Map();
  const known = new Map(fields.map((one) => [one.name, one]));

  function draw() {
    home.replaceChildren(...[...chosen].map(([name, predicate]) => row(known.get(name), predicate)));
    offer.replaceChildren(h("option", { value: "", text: "Add a filter …" }),
      ...fields.filter((one) => !chosen.has(one.name)).map((one) => h("option", { value: one.name, text: one.name })));
    offer.parentElement.hidden = chosen.size === fields.length;
  }

  function row(field, predicate) {
    const drop = h("button", { type: "button", "aria-label": `Remove the filter ${field.name}`, text: "×", onclick: () => {
      chosen.delete(field.name);
      draw();
      changed();
      offer.focus();
    } });
    const control = field.values ? values(field, predicate) : bounds(field, predicate);
    return h("div", { class: "filter", role: "group", "aria-label": field.name }, h("div", { class: "filter-head" }, h("b", { text: field.name }), drop), control);
  }

  function values(field, predicate) {
    const now = new Set(predicate);
    return h("div", { class: "values" }, ...field.values.map(([value, n]) => h("label", {}, h("input", {
      type: "checkbox", checked: now.has(value), onchange: (event) => {
        if (event.target.checked) now.add(value);
        else now.delete(value);
        chosen.set(field.name, [...now]);
        changed();
      },
    }), h("bdi", { text: value }), h("small", { text: n }))),
    field.n > field.values.length && h("p", { class: "quiet", text: `and ${field.n - field.values.length} rarer values` }));
  }

  function bounds(field, predicate) {
    const timed = field.kind === "datetime";
    const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);
    const one = (bound) => h("label", {}, bound === "min" ? "from " : "to ", h("input", {
      type: timed ? "date" : "number", step: "any", value: predicate[bound] ?? "",
      placeholder: timed ? day(field[bound]) : short(field[bound]),
      onchange: (event) => {
        const given = event.target.value;
        if (given === "") delete predicate[bound];
        else predicate[bound] = timed ? given : Number(given);
        changed();
      },
    }));
    return h("div", { class: "inline pair" }, one("min"), one("max"));
  }

  offer.addEventListener("change", () => {
    const field = known.get(offer.value);
    if (!field) return;
    chosen.set(field.name, field.values ? [] : {});
    draw();
    home.lastElementChild.querySelector("input")?.focus();
  });
  draw();

  return {
    /** The predicates that say something. */
    get where() {
      const says = ([, one]) => (Array.isArray(one) ? one.length : Object.keys(one).length) > 0;
      return Object.fromEntries([...chosen].filter(says));
    },
    set(where) {
      chosen.clear();
      for (const [name, predicate] of Object.entries(where)) {
        if (known.has(name)) chosen.set(name, predicate);
      }
      draw();
    },
  };
}

// A field that finds items by id or title, and the list of those that were chosen.

import { $, h, naming, picture } from "./dom.js";
import { newest, post } from "./api.js";

/**
 * Fill the element `id` with a search field and the items that were chosen.
 * `changed(ids)` is called with each change; with `single`, `chosen(id)` is called and nothing is kept.
 */
export function makePicker(id, items, { single = false, changed = () => {}, placeholder = "id or title" } = {}) {
  const home = $(id);
  let ids = [];
  let found = [];
  let at = -1;
  const list = h("ul", { class: "options", id: `${id}-options`, role: "listbox", hidden: true, "aria-label": "Items found" });
  const field = h("input", {
    id: `${id}-search`, type: "text", placeholder, spellcheck: "false", maxLength: 200, role: "combobox",
    "aria-expanded": "false", "aria-controls": list.id, "aria-autocomplete": "list",
  });
  const tokens = h("ol", { class: "tokens", hidden: single });
  const box = h("div", { class: "combo" }, field, list);
  home.append(tokens, box);

  function show(open) {
    list.hidden = !open;
    field.setAttribute("aria-expanded", String(open));
    if (!open) { at = -1; field.removeAttribute("aria-activedescendant"); }
  }

  function mark(place) {
    at = place;
    [...list.children].forEach((one, number) => one.setAttribute("aria-selected", String(number === at)));
    if (at >= 0) {
      field.setAttribute("aria-activedescendant", list.children[at].id);
      list.children[at].scrollIntoView({ block: "nearest" });
    } else field.removeAttribute("aria-activedescendant");
  }

  function choose(one) {
    field.value = "";
    show(false);
    if (single) { changed(one); return; }
    if (id !== "exclude" || !ids.includes(one)) ids.push(one);
    draw();
    changed(ids);
  }

  function draw() {
    tokens.replaceChildren(...ids.map((one, number) => h("li", {}, naming(one, items),
      h("button", { type: "button", "aria-label": `Remove ${items.get(one)?.[0] ?? one}`, text: "×", onclick: () => {
        ids.splice(number, 1);
        draw();
        changed(ids);
        field.focus();
      } }))));
  }

  const search = newest(async (text) => {
    const said = await post("search", { text }).catch(() => null);
    if (said === null || field.value.trim() !== text) return;
    for (const [one, label] of Object.entries(said.items)) items.set(one, label);
    found = said.found;
    list.replaceChildren(...found.map((one, number) => h("li", {
      id: `${id}-option-${number}`, role: "option", "aria-selected": "false",
      onmousedown: (event) => { event.preventDefault(); choose(one); },
    }, picture(one, items), naming(one, items), h("code", { text: one }))));
    if (!found.length) list.replaceChildren(h("li", { class: "quiet", "aria-disabled": "true", text: "Nothing found; Enter takes it as an id" }));
    at = -1;
    show(document.activeElement === field);
  });

  field.addEventListener("input", () => {
    const text = field.value.trim();
    if (text) search(text);
    else show(false);
  });
  field.addEventListener("blur", () => show(false));
  field.addEventListener("keydown", (event) => {
    const open = !list.hidden && found.length > 0;
    if (event.key === "ArrowDown" && open) mark((at + 1) % found.length);
    else if (event.key === "ArrowUp" && open) mark((at - 1 + found.length) % found.length);
    else if (event.key === "Escape" && !list.hidden) { show(false); event.stopPropagation(); }
    else if (event.key === "Enter" && field.value.trim()) choose(open && at >= 0 ? found[at] : field.value.trim());
    else if (event.key === "Backspace" && !field.value && ids.length && !single) { ids.pop(); draw(); changed(ids); return; }
    else return;
    event.preventDefault();
  });

  return {
    get ids() { return [...ids]; },
    set(given) { ids = [...given]; draw(); },
    add(one) { choose(one); },
    redraw: draw,
  };
}

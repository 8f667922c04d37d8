// Small helpers. Text reaches the page by textContent alone.

export const $ = (id) => document.getElementById(id);

/** An element with properties, and with children that are elements or text. */
export function h(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else if (name === "dataset") Object.assign(made.dataset, value);
    else if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && !name.includes("-") && name !== "list" && name !== "spellcheck") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((one) => one !== null && one !== undefined && one !== false));
  return made;
}

export const meta = (name) => document.querySelector(`meta[name="explorer-${name}"]`).content;

export const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
export const COLOURS = 9;

/** The badge of a path: its letter on its colour. */
export function badge(number, title = null) {
  return h("span", { class: `badge c${number % COLOURS}`, title, text: LETTERS[number % LETTERS.length] });
}

/** A title that cannot turn the text around it, whatever direction it has. */
export function naming(id, items, extra = "") {
  const title = items.get(id)?.[0];
  return h("bdi", { class: `name ${extra}${title ? "" : " id"}`, dir: "auto", title: title ? `${title}\n${id}` : id, text: title ?? id });
}

export function picture(id, items) {
  const address = items.get(id)?.[1];
  if (!address) return null;
  return h("img", { class: "thumb", src: address, alt: "", loading: "lazy", decoding: "async", width: 22, height: 22 });
}

const whole = new Intl.NumberFormat("en");
export const count = (n) => whole.format(n);
export const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

export function short(number) {
  if (number === null || number === undefined) return "–";
  const size = Math.abs(number);
  if (size === 0) return "0";
  if (size >= 1e5 || size < 1e-3) return number.toExponential(1);
  return number.toPrecision(size >= 100 ? 4 : 3);
}

export const millis = (ms) => (ms === null ? "–" : ms >= 100 ? `${ms.toFixed(0)} ms` : ms >= 1 ? `${ms.toFixed(1)} ms` : `${ms.toFixed(2)} ms`);

export function span(seconds) {
  const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
  const [word, size] = units.find(([, one]) => seconds >= one * 2) ?? ["second", 1];
  return plural(Math.round(seconds / size), word);
}

/** Run `work` once a frame, however often it is asked for. */
export function framed(work) {
  let waits = false;
  return () => {
    if (waits) return;
    waits = true;
    requestAnimationFrame(() => { waits = false; work(); });
  };
}

// The history of a user: ticks on an axis of time, and the events, newest first.

import { $, h, naming, picture, plural, span } from "./dom.js";

const FIRST = 40;
const day = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hour12: false, timeZone: "UTC" });

export function drawTimeline(answer, items, open) {
  const home = $("timeline");
  const { history, times, n_events: n } = answer;
  if (!n) {
    home.replaceChildren(h("h2", { text: "History" }), h("p", { class: "quiet", text: answer.known ? "No events." : "Unknown to the engine: they get what visitors get." }));
    return;
  }
  const list = h("ol", { class: "events" });
  let shown = 0;
  let last = null;
  const more = h("button", { type: "button", text: "Earlier events", onclick: () => add(FIRST) });

  function add(count) {
    for (const stop = Math.min(shown + count, history.length); shown < stop; shown++) {
      const place = history.length - 1 - shown;
      const id = history[place];
      const date = times ? new Date(times[place] * 1000) : null;
      const today = date && day.format(date);
      if (today && today !== last) list.append(h("li", { class: "day", text: today }));
      last = today;
      list.append(h("li", {}, h("button", { type: "button", onclick: (event) => open(id, event.currentTarget) },
        date && h("time", { dateTime: date.toISOString(), text: clock.format(date) }), picture(id, items), naming(id, items))));
    }
    more.hidden = shown >= history.length;
  }

  add(FIRST);
  home.replaceChildren(h("h2", {}, "History ", h("small", { text: plural(n, "event") })), ...(times ? [axis(times)] : []), list, more);
}

function axis(times) {
  const first = times[0];
  const width = Math.max(1, times[times.length - 1] - first);
  const ticks = h("div", { class: "axis", role: "img", "aria-label": `${plural(times.length, "event")} over ${span(width)}` });
  for (const time of times.slice(-400)) {
    const tick = h("i", {});
    tick.style.setProperty("--at", (time - first) / width);
    ticks.append(tick);
  }
  return h("div", { class: "axis-box" }, ticks, h("p", { class: "quiet" }, h("span", { text: day.format(first * 1000) }), h("span", { text: day.format(times[times.length - 1] * 1000) })));
}

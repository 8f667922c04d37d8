// Lines from an item of the fused list to its place in each path's list.

import { $, COLOURS, framed } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";

export function makeThreads(desk) {
  const canvas = $("threads");

  function draw() {
    canvas.replaceChildren();
    const rows = desk.rowsOf(desk.lit);
    const start = rows.find((row) => row.closest(".fused"));
    if (!start || matchMedia("(max-width: 760px)").matches) return;
    const frame = desk.home.getBoundingClientRect();
    const head = start.closest(".col").querySelector("header").getBoundingClientRect();
    const foot = start.closest(".col").querySelector("footer").getBoundingClientRect();
    const from = start.getBoundingClientRect();
    const y = from.top + from.height / 2 - frame.top;
    const x = start.closest(".col").getBoundingClientRect().right - frame.left;
    const inside = (place) => place > head.bottom - frame.top && place < foot.top - frame.top;
    if (!inside(y)) return;
    for (const row of rows) {
      if (row === start || row.classList.contains("barred")) continue;
      const to = row.getBoundingClientRect();
      const ty = to.top + to.height / 2 - frame.top;
      const tx = to.left - frame.left;
      if (tx < x - 2 || tx > frame.width || !inside(ty)) continue;
      const line = document.createElementNS(SVG, "path");
      const bend = Math.min(120, Math.max(0, tx - x) / 2);
      line.setAttribute("d", `M${x} ${y} C${x + bend} ${y} ${tx - bend} ${ty} ${tx} ${ty}`);
      line.setAttribute("class", [...row.classList].find((one) => /^c\d$/.test(one)) ?? `c${COLOURS}`);
      canvas.append(line);
    }
  }

  desk.onlight = framed(draw);
  addEventListener("resize", desk.onlight);
}

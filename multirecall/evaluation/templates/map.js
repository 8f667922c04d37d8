// Draws each map of items, and names the item that is pointed at. What it shows is set as text, never as markup.
for (const canvas of document.querySelectorAll("canvas.map")) {
  const items = JSON.parse(document.getElementById(canvas.dataset.items).textContent);
  const found = canvas.nextElementSibling;
  const margin = 8;
  const near = 10;
  let places = [];

  function draw() {
    const { width, height } = canvas.getBoundingClientRect();
    const scale = window.devicePixelRatio || 1;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const brush = canvas.getContext("2d");
    brush.scale(scale, scale);
    places = items.points.map(([x, y]) => [
      margin + x * (width - 2 * margin),
      margin + (1 - y) * (height - 2 * margin),
    ]);
    places.forEach(([x, y], item) => {
      brush.fillStyle = items.colours[items.points[item][2]];
      brush.beginPath();
      brush.arc(x, y, 2.5, 0, 2 * Math.PI);
      brush.fill();
    });
  }

  canvas.addEventListener("mousemove", (event) => {
    let nearest = -1;
    let least = near * near;
    places.forEach(([x, y], item) => {
      const distance = (x - event.offsetX) ** 2 + (y - event.offsetY) ** 2;
      if (distance < least) [nearest, least] = [item, distance];
    });
    if (nearest >= 0) found.textContent = items.labels[nearest];
  });
  new ResizeObserver(draw).observe(canvas);
}

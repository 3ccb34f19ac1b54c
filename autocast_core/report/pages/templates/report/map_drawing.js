// The map as SVG: boxes for nodes and closed scopes, frames for open ones, edges between them, marks for casts.
const HEAD = 26, PAD = 16, BOX = 42, LETTER = 6.6;

const isScope = (item) => Boolean(item.children);
const titleOf = (item) => (item.node ? item.node.op : item.end ? item.end : item.isGroup ? `nodes ${item.name}` : item.name);
const lineOf = (item, mode) => {
  if (item.end) return short(item.name, 34);
  const about = colours[mode].line(item);
  const what = item.node ? (mode === "precision" ? "" : about) || short(item.name, 28) : plural(item.count, "node");
  return item.node || !about ? what : `${what} · ${about}`;
};

// The size of an item, and the layout of what is open in it, which is kept until it changes.
const measured = (item, mode) => {
  if (isScope(item) && item.isOpen) {
    if (!item.layout) {
      item.edges ??= edgesOf(item);
      item.layout = layered(item.children.map((child) => measured(child, mode)), item.edges);
    }
    const inner = item.parent ? [2 * PAD, HEAD + 2 * PAD] : [0, 0];
    return [Math.max(item.layout.width, titleOf(item).length * LETTER + 50) + inner[0], item.layout.height + inner[1]];
  }
  const letters = Math.max(titleOf(item).length + 2, item.end ? item.name.length : 16);
  return [Math.min(240, Math.max(isScope(item) ? 190 : 132, letters * LETTER + 24)), BOX];
};

const curve = (points) => points.map(([x, y], at) => {
  if (!at) return `M${x.toFixed(1)} ${y.toFixed(1)}`;
  const [left, top] = points[at - 1], half = (y - top) / 2;
  return `C${left.toFixed(1)} ${(top + half).toFixed(1)} ${x.toFixed(1)} ${(y - half).toFixed(1)} ${x.toFixed(1)} ${y.toFixed(1)}`;
}).join("");

const halfway = (points) => {
  const at = Math.floor((points.length - 1) / 2), [a, b] = [points[at], points[at + 1]];
  return [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
};

const castMark = (points, edge) => {
  const [x, y] = halfway(points), text = edge.casts.size === 1 ? "Cast" : `${edge.casts.size} casts`, width = 7 * text.length + 10;
  const types = [...edge.casts].map((cast) => cast.split(" ")[1]);
  return draw("g", { class: "cast" }, draw("title", {}, `to ${[...new Set(types)].join(" and ")}`),
    draw("rect", { x: x - width / 2, y: y - 9, width, height: 18, rx: 4 }), draw("text", { x, y: y + 4, "text-anchor": "middle" }, text));
};

// The edges of an open scope: plain ones in one path, those with casts and those inside a kernel in others.
const drawnEdges = (scope, routes, mode) => {
  const paths = { plain: "", casting: "", fused: "" }, marks = [];
  scope.edges.forEach((edge, at) => {
    const inKernel = mode === "kernels" && edge.fused;
    paths[inKernel ? "fused" : edge.casts.size ? "casting" : "plain"] += curve(routes[at]);
    if (edge.casts.size) marks.push(castMark(routes[at], edge));
  });
  const drawn = Object.entries(paths).filter(([, d]) => d).map(([name, d]) => draw("path", { class: "edge " + name, d }));
  return draw("g", { "aria-hidden": "true" }, ...drawn, ...marks);
};

// Short lines at children that read from outside their open scope, or are read from there.
const stubs = (scope, corners, sizes) => {
  const d = [...scope.entered].map((at) => `M${corners[at][0] + 9} ${corners[at][1] - 9}v9`).join("") +
    [...scope.left].map((at) => `M${corners[at][0] + sizes[at][0] - 9} ${corners[at][1] + sizes[at][1]}v9`).join("");
  return d ? [draw("path", { class: "edge stub", d, "aria-hidden": "true" })] : [];
};

// How much of each closed scope has which precision: the bars of all children, by colour in one path.
const bars = (scope, corners, sizes) => {
  const paths = { low: "", fp32: "", none: "" };
  scope.children.forEach((item, at) => {
    if (!isScope(item) || item.isOpen) return;
    let x = corners[at][0] + 7;
    const y = corners[at][1] + sizes[at][1] - 6, whole = sizes[at][0] - 14;
    for (const [name, count] of [["low", item.low], ["fp32", item.fp32], ["none", item.count - item.low - item.fp32]]) {
      const length = (whole * count) / item.count;
      if (count) paths[name] += `M${x.toFixed(1)} ${y.toFixed(1)}h${length.toFixed(1)}v4h${(-length).toFixed(1)}z`;
      x += length;
    }
  });
  return Object.entries(paths).filter(([, d]) => d).map(([name, d]) => draw("path", { class: "bar " + name, d, "aria-hidden": "true" }));
};

// One box or frame, and all that is open in it; `register` takes what can be reached by keyboard.
const drawnItem = (item, x, y, [width, height], mode, register) => {
  const open = isScope(item) && item.isOpen, title = titleOf(item), line = lineOf(item, mode);
  const look = item.end ? "end" : `${isScope(item) ? "scope" : "node"} ${colours[mode].of(item)}`;
  const shape = draw("g", { class: `item ${look}${open ? " open" : ""}`, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` });
  const head = draw("g", { class: "head" }, draw("rect", { class: "box", width, height: open ? HEAD : height, rx: 5 }));
  if (open) shape.append(draw("rect", { class: "frame", width, height, rx: 6 }));
  const label = isScope(item) ? `${open ? "▾" : "▸"} ${title}` : title;
  head.append(draw("text", { class: "title", x: 12, y: 17 }, short(label, Math.floor((width - 18) / LETTER))));
  if (!open && line) head.append(draw("text", { class: "line", x: 12, y: 32 }, short(line, Math.floor((width - 16) / (LETTER - 1)))));
  shape.append(head);
  if (!item.end) register(item, head, `${title}${item.node ? " " + item.name : ""}, ${line}`);
  if (open) shape.append(...drawnChildren(item, PAD, HEAD + PAD, mode, register));
  return shape;
};

const drawnChildren = (scope, x, y, mode, register) => {
  const { boxes, routes } = scope.layout, sizes = scope.children.map((child) => measured(child, mode));
  const corners = boxes.map((box) => [box.x + x, box.y + y]);
  const edges = drawnEdges(scope, routes.map((route) => route.map(([px, py]) => [px + x, py + y])), mode);
  const items = scope.children.map((child, at) => drawnItem(child, ...corners[at], sizes[at], mode, register));
  return [edges, ...stubs(scope, corners, sizes), ...items, ...bars(scope, corners, sizes)];
};

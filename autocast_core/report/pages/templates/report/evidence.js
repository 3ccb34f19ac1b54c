// What is known of one node: the evidence below its row in the table.
const NEIGHBOURS = 6;

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const quoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'";
const description = (node) => data.rules[node.rule][0], isBinding = (node) => data.rules[node.rule][1];
const advice = (node) => {
  if (node.precision === "none") return ["It touches no float tensor: nothing to change."];
  if (isBinding(node)) return ["Options that exclude or include nodes do not change what this rule decides."];
  const option = node.precision === "fp32" ? "nodes_to_include" : "nodes_to_exclude";
  const pattern = node.pattern === 0 ? escaped(node.id.replace(/^graph\//, "")) + "$" : node.pattern;
  if (!pattern) return ["Its name cannot be typed here: change its precision in plan.json and apply that with --plan."];
  return [
    "To " + (node.precision === "fp32" ? "lower" : "keep") + " it:",
    "python -m autocast_core --onnx_path MODEL -t " + data.precision + " --" + option + " " + quoted(pattern),
    "In a spec:", option + ": [" + JSON.stringify(pattern) + "]",
  ];
};

const rangeRows = (node) => {
  const rows = [];
  for (const [role, list] of [["reads", node.inputs], ["writes", node.outputs]]) {
    for (const t of new Set(list)) {
      const range = data.ranges[t];
      if (range) rows.push([role, tensors[t], number(range[0]), number(range[1]), range[2] ? range[2] + " not finite" : ""]);
    }
  }
  return rows;
};
const table = (header, rows, numeric) => make("table", {},
  make("thead", {}, make("tr", {}, ...header.map((text, i) => make("th", numeric.includes(i) ? { scope: "col", class: "n" } : { scope: "col" }, text)))),
  make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((text, i) => make("td", numeric.includes(i) ? { class: "n" } : {}, text))))));

// The node between those that feed it and those that read it; a mark where an edge has a cast.
const box = (x, y, node, label) => draw("g", { class: node ? kind(node.precision) : "none" },
  draw("rect", { x, y, width: 210, height: 36, rx: 5 }),
  draw("text", { x: x + 8, y: y + 15, class: "name" }, node ? node.op + " · " + node.precision : "input or constant"),
  draw("text", { x: x + 8, y: y + 29 }, short(label, 32)));
const graph = (node) => {
  const feeding = node.inputs.map((t) => ({ t, node: makerOf(t) }));
  const reading = node.outputs.flatMap((t) => (readers.get(t) ?? []).map((reader) => ({ t, node: reader })));
  const left = feeding.slice(0, NEIGHBOURS), right = reading.slice(0, NEIGHBOURS);
  if (!left.length && !right.length) return null;
  const height = Math.max(left.length, right.length, 1) * 48 + 8, middle = height / 2 - 18;
  const svg = draw("svg", { class: "graph", viewBox: `0 0 830 ${height}`, width: 830, height, role: "img",
    "aria-label": `${node.id} with ${left.length} of ${feeding.length} inputs and ${right.length} of ${reading.length} readers` });
  const side = (entries, x, from, to, start) => entries.forEach((entry, i) => {
    const y = (height - entries.length * 48) / 2 + i * 48 + 6;
    const [y1, y2] = start ? [y + 18, middle + 18] : [middle + 18, y + 18];
    svg.append(draw("path", { d: `M${from} ${y1}C${from + 50} ${y1} ${to - 50} ${y2} ${to} ${y2}` }));
    if (castTo(entry.t, start ? node : entry.node)) {
      const cx = (from + to) / 2, cy = (y1 + y2) / 2;
      svg.append(draw("g", { class: "cast" }, draw("rect", { x: cx - 20, y: cy - 9, width: 40, height: 18, rx: 4 }),
        draw("text", { x: cx, y: cy + 4, "text-anchor": "middle" }, "Cast")));
    }
    svg.append(box(x, y, entry.node, entry.node ? entry.node.id.replace(/^graph\//, "") : tensors[entry.t]));
  });
  side(left, 2, 212, 310, true);
  side(right, 618, 520, 618, false);
  svg.append(box(310, middle, node, node.id.replace(/^graph\//, "")));
  const hidden = feeding.length - left.length + reading.length - right.length;
  return [svg, ...(hidden ? [make("p", {}, `… and ${hidden} more neighbours.`)] : [])];
};

const evidence = (node, columns) => {
  const cell = make("td", { colspan: columns });
  if (node.reason) cell.append(make("p", {}, node.reason));
  cell.append(make("h3", {}, "Rule"), make("p", {}, make("code", {}, node.rule), " " + description(node)));
  if (node.evidence.length) {
    cell.append(make("h3", {}, "Evidence"), table(["Tensor", "min", "max", "largest magnitude", "limit", "detail"],
      node.evidence.map((e) => [tensors[e[0]] ?? "–", number(e[1]), number(e[2]), number(e[3]), number(e[4]), e[5] ?? ""]), [1, 2, 3, 4]));
  }
  const measured = rangeRows(node);
  if (measured.length) cell.append(make("h3", {}, "Measured tensors"), table(["Use", "Tensor", "min", "max", "Note"], measured, [2, 3]));
  if (node.replaces.length) cell.append(make("h3", {}, "Fused from"), make("p", {}, node.replaces.join(", ")));
  const drawing = graph(node);
  if (drawing) cell.append(make("h3", {}, "Neighbours"), ...drawing);
  const place = make("button", { type: "button", class: "place", "data-node": node.index }, "Show on the map");
  cell.append(make("p", {}, place));
  cell.append(make("h3", {}, "To change the decision"));
  advice(node).forEach((line, i) => cell.append(make("p", {}, i % 2 ? make("code", {}, line) : line)));
  return make("tr", { class: "evidence", id: "evidence-" + node.index }, cell);
};

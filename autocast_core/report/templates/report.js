"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 100, NEIGHBOURS = 6;
  const byId = (id) => document.getElementById(id);

  // Names are front-coded: how many characters are shared with the name before, then the rest.
  const decode = (coded) => {
    const names = [];
    for (let i = 0, before = ""; i < coded.length; i += 2) names.push((before = before.slice(0, coded[i]) + coded[i + 1]));
    return names;
  };
  const ids = decode(data.ids), tensors = decode(data.tensors), strings = data.strings;

  const kind = (precision) => (precision === "fp32" || precision === "none" ? precision : "low");
  const magnitude = (value) => (typeof value === "number" ? Math.abs(value) : value === null || value === undefined ? -1 : Infinity);
  const absmaxOf = (index) => {
    const range = data.ranges[index];
    return range ? Math.max(magnitude(range[0]), magnitude(range[1])) : -1;
  };
  const nodes = data.nodes.map((row, index) => {
    const [op, precision, rule, reason, evidence, inputs, outputs, replaces, pattern] = row;
    const node = {
      index, id: ids[index], op: strings[op], precision, rule: strings[rule], reason: strings[reason],
      evidence: evidence || [], inputs: inputs || [], outputs: outputs || [], replaces: replaces || [], pattern: pattern || 0,
    };
    if (pattern === "") node.pattern = "";
    node.share = data.shares?.[index] ?? -1;
    node.absmax = Math.max(-1, ...[...node.inputs, ...node.outputs].map(absmaxOf), ...node.evidence.map((e) => magnitude(e[3])));
    return node;
  });
  const producer = new Map(), readers = new Map();
  for (const node of nodes) {
    for (const t of node.outputs) producer.set(t, node);
    for (const t of node.inputs) readers.has(t) ? readers.get(t).push(node) : readers.set(t, [node]);
  }
  const haystacks = new Array(nodes.length);
  const haystack = (node) => (haystacks[node.index] ??= [
    node.id, node.reason, ...node.replaces, ...[...node.inputs, ...node.outputs].map((t) => tensors[t]),
    ...node.evidence.map((e) => tensors[e[0]] ?? ""),
  ].join("\n").toLowerCase());

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const draw = (tag, attributes = {}, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const number = (value) => {
    if (value === null || value === undefined || value === -1) return "–";
    if (typeof value === "string") return value;
    if (!Number.isFinite(value)) return "∞";
    const size = Math.abs(value);
    if (value === 0 || (size >= 1e-3 && size < 1e7)) return value.toLocaleString("en", { maximumSignificantDigits: 6 });
    return value.toExponential(4);
  };

  // State: what is asked for; `shown` is what was found.
  const state = { search: "", operator: "", precision: "", rule: "", sort: "index", descending: false, page: 0, open: new Set() };
  let shown = nodes;

  const columns = [
    ["id", "Node"], ["op", "Operator"], ["precision", "Precision"], ["rule", "Rule"],
    ["absmax", "Largest magnitude"], ...(data.shares ? [["share", "Share of the error"]] : []), ["reason", "Reason"],
  ];
  const NUMERIC = new Set(["absmax", "share"]);
  const percent = (share) => (share < 0 ? "–" : (100 * share).toLocaleString("en", { maximumSignificantDigits: 3 }) + "%");

  const find = () => {
    const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
    shown = nodes.filter((node) =>
      (!state.operator || node.op === state.operator) && (!state.precision || node.precision === state.precision) &&
      (!state.rule || node.rule === state.rule) && words.every((word) => haystack(node).includes(word)));
    const key = state.sort, sign = state.descending ? -1 : 1;
    if (key !== "index" || state.descending) {
      shown.sort((a, b) => sign * (a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : 0) || a.index - b.index);
    }
    state.page = 0;
    render();
  };

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

  // The node between those that feed it and those that read it; a mark where an edge needs a cast.
  const isFloat = (t) => Boolean(data.ranges[t]);
  const mayCast = (a, b) => a && b && a.precision !== b.precision && a.precision !== "none" && b.precision !== "none";
  const short = (text, limit) => (text.length > limit ? "…" + text.slice(1 - limit) : text);
  const box = (x, y, node, label) => draw("g", { class: node ? kind(node.precision) : "none" },
    draw("rect", { x, y, width: 210, height: 36, rx: 5 }),
    draw("text", { x: x + 8, y: y + 15, class: "name" }, node ? node.op + " · " + node.precision : "input or constant"),
    draw("text", { x: x + 8, y: y + 29 }, short(label, 32)));
  const graph = (node) => {
    const feeding = node.inputs.map((t) => ({ t, node: producer.get(t) }));
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
      if (mayCast(entry.node, node) && (isFloat(entry.t) || !data.ranges.some(Boolean))) {
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

  const evidenceRow = (node) => {
    const cell = make("td", { colspan: columns.length });
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
    cell.append(make("h3", {}, "To change the decision"));
    advice(node).forEach((line, i) => cell.append(make("p", {}, i % 2 ? make("code", {}, line) : line)));
    return make("tr", { class: "evidence", id: "evidence-" + node.index }, cell);
  };

  const nodeRows = (node) => {
    const isOpen = state.open.has(node.index);
    const button = make("button", { type: "button", class: "open", "aria-expanded": String(isOpen) }, node.id);
    if (isOpen) button.setAttribute("aria-controls", "evidence-" + node.index);
    const row = make("tr", {}, make("td", {}, button), make("td", {}, node.op),
      make("td", {}, make("span", { class: "tag " + kind(node.precision) }, node.precision)), make("td", {}, node.rule),
      make("td", { class: "n" }, number(node.absmax)),
      ...(data.shares ? [make("td", { class: "n" }, percent(node.share))] : []), make("td", {}, node.reason));
    button.addEventListener("click", () => {
      isOpen ? state.open.delete(node.index) : state.open.add(node.index);
      const rows = nodeRows(node);
      if (isOpen) row.nextElementSibling.remove();
      row.replaceWith(...rows);
      rows[0].querySelector("button").focus();
    });
    return isOpen ? [row, evidenceRow(node)] : [row];
  };

  const render = () => {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE)), start = state.page * PAGE;
    byId("table").tBodies[0].replaceChildren(...shown.slice(start, start + PAGE).flatMap(nodeRows));
    byId("found").textContent = `${shown.length.toLocaleString("en")} of ${nodes.length.toLocaleString("en")} nodes`;
    byId("at").textContent = `Page ${state.page + 1} of ${pages}`;
    byId("previous").disabled = state.page === 0;
    byId("next").disabled = state.page + 1 >= pages;
    for (const head of byId("table").tHead.rows[0].cells) {
      const active = head.dataset.key === state.sort;
      head.setAttribute("aria-sort", active ? (state.descending ? "descending" : "ascending") : "none");
      head.querySelector(".arrow").textContent = active ? (state.descending ? " ↓" : " ↑") : "";
    }
  };

  const turn = (by) => {
    state.page += by;
    render();
    byId("table-region").scrollIntoView({ block: "start" });
  };
  const fill = (id, key) => {
    const counts = new Map();
    for (const node of nodes) counts.set(node[key], (counts.get(node[key]) ?? 0) + 1);
    for (const [value, count] of [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))) {
      byId(id).append(make("option", { value }, `${value.length > 40 ? value.slice(0, 39) + "…" : value} (${count.toLocaleString("en")})`));
    }
    byId(id).addEventListener("change", (event) => { state[id] = event.target.value; find(); });
  };

  for (const [key, title] of columns) {
    const button = make("button", { type: "button" }, title, make("span", { class: "arrow", "aria-hidden": "true" }));
    button.addEventListener("click", () => {
      if (state.sort !== key) { state.sort = key; state.descending = NUMERIC.has(key); }
      else if (state.descending === NUMERIC.has(key)) state.descending = !state.descending;
      else { state.sort = "index"; state.descending = false; }
      find();
    });
    const head = make("th", { scope: "col", "data-key": key }, button);
    if (NUMERIC.has(key)) head.className = "n";
    byId("table").tHead.rows[0].append(head);
  }
  fill("operator", "op");
  fill("precision", "precision");
  fill("rule", "rule");
  let waiting = 0;
  byId("search").addEventListener("input", (event) => {
    state.search = event.target.value;
    clearTimeout(waiting);
    waiting = setTimeout(find, 60);
  });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", () => {
    Object.assign(state, { search: "", operator: "", precision: "", rule: "" });
    find();
  });
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  addEventListener("beforeprint", () => { for (const details of document.querySelectorAll("details")) details.open = true; });
  find();
})();

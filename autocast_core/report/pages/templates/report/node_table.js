// The table of nodes: FP32 first, then by error; found, filtered, sorted, in pages.
const PAGE = 100;
const FOLDED = "Identity";

// State: what is asked for; `shown` is what was found.
const state = { search: "", operator: "", precision: "", rule: "", sort: "", descending: false, page: 0, open: new Set(), unfolded: false };
let shown = nodes, folded = 0;

const columns = [
  ["id", "Node"], ["op", "Operator"], ["precision", "Precision"], ["rule", "Rule"],
  ["absmax", "Largest magnitude"], ...(data.shares ? [["share", "Share of the error"]] : []), ["reason", "Reason"],
];
const NUMERIC = new Set(["absmax", "share"]);
// What stays in FP32 is read first, then what makes the error.
const rank = { fp32: 0, low: 1, none: 2 };
const worth = (a, b) => rank[kind(a.precision)] - rank[kind(b.precision)] || b.share - a.share || a.index - b.index;

const find = () => {
  const words = wordsOf(state.search);
  shown = nodes.filter((node) =>
    (!state.operator || node.op === state.operator) && (!state.precision || node.precision === state.precision) &&
    (!state.rule || node.rule === state.rule) && hasAll(node, words));
  const matching = shown.length;
  // They compute nothing: without a question about them they are one row.
  if (!state.unfolded && state.operator !== FOLDED && !words.length) shown = shown.filter((node) => node.op !== FOLDED);
  folded = matching - shown.length;
  const key = state.sort, sign = state.descending ? -1 : 1;
  if (!key) shown.sort(worth);
  else shown.sort((a, b) => sign * (a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : 0) || a.index - b.index);
  state.page = 0;
  render();
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
  return isOpen ? [row, evidence(node, columns.length)] : [row];
};

const foldedRow = () => {
  const button = make("button", { type: "button", class: "open", "aria-expanded": "false" }, `${plural(folded, FOLDED + " node")}: show`);
  button.addEventListener("click", () => {
    const at = state.page;
    state.unfolded = true;
    find();
    state.page = at;
    render();
  });
  return make("tr", { class: "folded" }, make("td", { colspan: columns.length }, button));
};

const render = () => {
  const pages = Math.max(1, Math.ceil(shown.length / PAGE)), start = state.page * PAGE;
  const last = folded && state.page + 1 === pages ? [foldedRow()] : [];
  byId("table").tBodies[0].replaceChildren(...shown.slice(start, start + PAGE).flatMap(nodeRows), ...last);
  byId("found").textContent = `${shown.length.toLocaleString("en")} of ${plural(nodes.length, "node")}` +
    (folded ? `; ${folded.toLocaleString("en")} ${FOLDED} folded` : "");
  byId("at").textContent = `Page ${state.page + 1} of ${pages}`;
  byId("previous").disabled = state.page === 0;
  byId("next").disabled = state.page + 1 >= pages;
  for (const head of byId("table").tHead.rows[0].cells) {
    const active = head.dataset.key === state.sort;
    head.setAttribute("aria-sort", active ? (state.descending ? "descending" : "ascending") : "none");
    head.querySelector(".arrow").textContent = active ? (state.descending ? " ↓" : " ↑") : "";
  }
};

// The node's own row, opened, whatever was asked for before.
const showInTable = (node) => {
  byId("filters").reset();
  Object.assign(state, { sort: "", descending: false, unfolded: node.op === FOLDED });
  state.open.add(node.index);
  find();
  state.page = Math.floor(shown.indexOf(node) / PAGE);
  render();
  const cell = byId("evidence-" + node.index).previousElementSibling;
  cell.scrollIntoView({ block: "start" });
  cell.querySelector("button").focus({ preventScroll: true });
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
    else { state.sort = ""; state.descending = false; }
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
  Object.assign(state, { search: "", operator: "", precision: "", rule: "", unfolded: false });
  find();
});
byId("previous").addEventListener("click", () => turn(-1));
byId("next").addEventListener("click", () => turn(1));
addEventListener("beforeprint", () => { for (const details of document.querySelectorAll("details")) details.open = true; });
find();

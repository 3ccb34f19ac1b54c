// The map: what is open and chosen, and how people move in it. Nothing is laid out before its scope is opened.
const MOST_VISIBLE = 1500, FIRST_VISIBLE = 120, MARGIN = 14;
const root = scopeTree();
const board = byId("map-place"), about = byId("map-about");
const view = { mode: "precision", zoom: 0, chosen: null, current: null, found: [], at: -1, heads: new Map() };
const leaves = new Array(nodes.length);
for (const leaf of leavesOf(root)) leaves[leaf.node.index] = leaf;
const withEnds = (scope) => {
  scope.children.unshift(...endsOf(data.ends[0], "input"));
  scope.children.push(...endsOf(data.ends[1], "output"));
};

const visibleIn = (item) => 1 + (item.isOpen ? item.children.reduce((sum, child) => sum + visibleIn(child), 0) : 0);
const shut = (scope) => {
  scope.isOpen = false;
  for (const child of scope.children) if (child.isOpen) shut(child);
};
const stale = (item) => { for (let each = item; each; each = each.parent) each.layout = null; };

// Opens a scope; what was opened first is closed where too much would be in view.
const opened = [];
const open = (scope) => {
  if (scope.isOpen) return;
  scope.isOpen = true;
  stale(scope);
  opened.push(scope);
  const holds = (outer) => { for (let each = scope; each; each = each.parent) if (each === outer) return true; return false; };
  while (visibleIn(root) > MOST_VISIBLE) {
    const at = opened.findIndex((each) => each.isOpen && !holds(each));
    if (at < 0) break;
    close(opened.splice(at, 1)[0]);
  }
};
const close = (scope) => { shut(scope); stale(scope); };

// At first the network whole where it is small, else opened down to where no scope holds most of it.
const openFirst = () => {
  root.isOpen = true;
  const closed = () => [...scopesIn(root)].filter((scope) => !scope.isOpen).sort((a, b) => b.count - a.count);
  for (let [next] = closed(); next; [next] = closed()) {
    const all = root.count <= FIRST_VISIBLE;
    if (!all && (next.count <= root.count / 2 || visibleIn(root) + next.children.length > FIRST_VISIBLE)) break;
    open(next);
  }
};
const scopesIn = function* (item) {
  for (const child of item.children) {
    if (!isScope(child)) continue;
    yield child;
    if (child.isOpen) yield* scopesIn(child);
  }
};

const showMap = (steady) => {
  const before = steady && view.heads.get(steady)?.getBoundingClientRect();
  const hadFocus = board.contains(document.activeElement);
  view.heads = new Map();
  view.size = measured(root, view.mode).map((side) => side + 2 * MARGIN);
  view.zoom ||= firstZoom();
  // With its size from the start: another size would have all texts laid out again.
  const svg = draw("svg", { viewBox: [-MARGIN, -MARGIN, ...view.size].join(" "), ...zoomedSize(), role: "group",
    "aria-label": `The network: ${plural(root.count, "node")}`, class: "network by-" + view.mode });
  svg.append(...drawnChildren(root, 0, 0, view.mode, register));
  mark();
  board.replaceChildren(svg);
  const after = before && view.heads.get(steady)?.getBoundingClientRect();
  if (after) board.scrollBy(after.left - before.left, after.top - before.top);
  else if (!steady) board.scrollLeft = (board.scrollWidth - board.clientWidth) / 2;
  if (hadFocus) view.heads.get(view.current)?.focus({ preventScroll: true });
};

const register = (item, head, label) => {
  const attributes = { role: "button", tabindex: "-1", "aria-label": label };
  if (isScope(item)) attributes["aria-expanded"] = String(Boolean(item.isOpen));
  else attributes["aria-pressed"] = String(item === view.chosen);
  for (const [name, value] of Object.entries(attributes)) head.setAttribute(name, value);
  head.item = item;
  view.heads.set(item, head);
};

// Which items are chosen and found, and which one the Tab key reaches.
const mark = () => {
  if (!view.heads.has(view.current)) view.current = view.heads.keys().next().value;
  const hits = new Set();
  for (const node of view.found) for (let each = leaves[node.index]; each; each = each.parent) hits.add(each);
  for (const [item, head] of view.heads) {
    head.setAttribute("tabindex", item === view.current ? "0" : "-1");
    head.classList.toggle("chosen", item === view.chosen);
    head.classList.toggle("hit", hits.has(item) && !item.isOpen);
    if (!isScope(item)) head.setAttribute("aria-pressed", String(item === view.chosen));
  }
};

const firstZoom = () => Math.min(1, Math.max(0.4, board.clientWidth / view.size[0]));
const zoomedSize = () => ({ width: Math.round(view.size[0] * view.zoom), height: Math.round(view.size[1] * view.zoom) });
const zoomTo = (zoom) => {
  const middle = [board.scrollLeft + board.clientWidth / 2, board.scrollTop + board.clientHeight / 2], ratio = zoom / view.zoom;
  view.zoom = zoom;
  for (const [name, value] of Object.entries(zoomedSize())) board.firstElementChild.setAttribute(name, value);
  board.scrollTo(middle[0] * ratio - board.clientWidth / 2, middle[1] * ratio - board.clientHeight / 2);
};
const whole = () => Math.min(1, board.clientWidth / view.size[0], board.clientHeight / view.size[1]);

const choose = (item) => {
  view.current = item;
  if (isScope(item)) {
    item.isOpen ? close(item) : open(item);
    showMap(item);
  } else {
    view.chosen = item;
    mark();
  }
  describe(item);
};

// Opens whatever holds the node, and brings it into view.
const showOnMap = (node) => {
  const leaf = leaves[node.index];
  for (let each = leaf.parent; each; each = each.parent) open(each);
  view.chosen = view.current = leaf;
  showMap(leaf);
  const head = view.heads.get(leaf), box = head.getBoundingClientRect(), around = board.getBoundingClientRect();
  board.scrollBy(box.left - around.left - (board.clientWidth - box.width) / 2, box.top - around.top - (board.clientHeight - box.height) / 2);
  describe(leaf);
  return head;
};

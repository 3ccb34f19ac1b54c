// The map's controls: colours, search, zoom, keyboard, mouse, and the panel on what is chosen.
const describe = (item) => {
  const node = item.node;
  const rows = node
    ? [["Operator", node.op], ["Precision", node.precision], ["Rule", node.rule], ["Reason", node.reason],
      ["Share of the error", data.shares ? percent(node.share) : ""], ["Largest magnitude", node.absmax < 0 ? "" : number(node.absmax)],
      ["Kernel", node.kernel ? `${node.kernel.index + 1}: ${node.kernel.name}, ${node.kernel.about}` : node.noKernel]]
    : [["Nodes", item.count.toLocaleString("en")], ["In FP32", item.fp32.toLocaleString("en")],
      ["Share of the error", item.share < 0 ? "" : percent(item.share)], ["Largest magnitude", item.absmax < 0 ? "" : number(item.absmax)],
      ["Kernels", item.kernels.size || ""]];
  const list = make("dl", {}, ...rows.filter(([, value]) => value !== "").flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))]));
  about.replaceChildren(make("h3", {}, node ? node.id : titleOf(item)), list);
  if (node) {
    const button = make("button", { type: "button" }, "Show in the table");
    button.addEventListener("click", () => showInTable(node));
    about.append(button);
  }
};

const colourBy = byId("map-colours");
const legend = () => {
  const parts = colours[view.mode].legend().flatMap(([name, text]) => [make("span", { class: "swatch " + name }), text + " "]);
  byId("map-legend").replaceChildren(...parts);
};
for (const [mode, { title, has }] of Object.entries(colours)) if (has()) colourBy.append(make("option", { value: mode }, title));
colourBy.addEventListener("change", () => {
  view.mode = colourBy.value;
  legend();
  showMap(view.current);
});

const next = () => {
  if (!view.found.length) return;
  view.at = (view.at + 1) % view.found.length;
  showOnMap(view.found[view.at]);
  byId("map-found").textContent = `${(view.at + 1).toLocaleString("en")} of ${plural(view.found.length, "node")} found`;
};
let pause = 0;
byId("map-search").addEventListener("input", (event) => {
  clearTimeout(pause);
  pause = setTimeout(() => {
    const words = wordsOf(event.target.value);
    view.found = words.length ? nodes.filter((node) => hasAll(node, words)) : [];
    view.at = -1;
    byId("map-found").textContent = words.length ? `${plural(view.found.length, "node")} found` : "";
    mark();
  }, 60);
});
byId("map-form").addEventListener("submit", (event) => { event.preventDefault(); next(); });
byId("map-in").addEventListener("click", () => zoomTo(Math.min(2, view.zoom * 1.25)));
byId("map-out").addEventListener("click", () => zoomTo(Math.max(0.05, view.zoom / 1.25)));
byId("map-whole").addEventListener("click", () => zoomTo(whole()));
byId("map-close").addEventListener("click", () => {
  for (const child of root.children) if (child.isOpen) close(child);
  showMap();
});

// Arrows go to the nearest item in their direction, a scope's own frame among them.
const DIRECTIONS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
const centre = (head) => {
  const box = head.getBoundingClientRect();
  return [box.left + box.width / 2, box.top + box.height / 2];
};
const nearest = (from, [dx, dy]) => {
  const [x, y] = centre(from);
  let best = null, least = Infinity;
  for (const head of view.heads.values()) {
    const [hx, hy] = centre(head), along = (hx - x) * dx + (hy - y) * dy, aside = Math.abs((hx - x) * dy) + Math.abs((hy - y) * dx);
    if (head !== from && along > 1 && along + 2 * aside < least) [best, least] = [head, along + 2 * aside];
  }
  return best;
};
const goTo = (head) => {
  view.current = head.item;
  mark();
  head.focus({ preventScroll: true });
  head.scrollIntoView({ block: "nearest", inline: "nearest" });
};
board.addEventListener("keydown", (event) => {
  const head = event.target.closest(".head");
  if (!head) return;
  const direction = DIRECTIONS[event.key], scope = isScope(head.item) && head.item.isOpen ? head.item : head.item.parent;
  if (direction) goTo(nearest(head, direction) ?? head);
  else if (event.key === "Enter" || event.key === " ") choose(head.item);
  else if (event.key === "Escape" && scope.parent) {
    view.current = scope;
    close(scope);
    showMap(scope);
    describe(scope);
  } else return;
  event.preventDefault();
});

// Dragging moves the map; a click that did not move chooses.
let drag = null;
board.addEventListener("pointerdown", (event) => { if (event.button === 0) drag = { x: event.clientX, y: event.clientY, moved: false }; });
addEventListener("pointermove", (event) => {
  if (!drag) return;
  const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
  if (!drag.moved && Math.hypot(dx, dy) < 4) return;
  board.scrollBy(-dx, -dy);
  drag = { x: event.clientX, y: event.clientY, moved: true };
});
board.addEventListener("click", (event) => {
  const head = event.target.closest(".head");
  if (head?.item && !drag?.moved) choose(head.item);
});
addEventListener("pointerup", () => setTimeout(() => { drag = null; }));

document.addEventListener("click", (event) => {
  const asked = event.target.closest("[data-node]");
  if (!asked) return;
  const head = showOnMap(nodes[Number(asked.dataset.node)]);
  byId("map").scrollIntoView({ block: "start" });
  head.focus({ preventScroll: true });
});

withEnds(root);
openFirst();
legend();
showMap();
board.scrollTop = 0;

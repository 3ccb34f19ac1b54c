// The network as a tree: scopes, which names or modules tell, and nodes in them; the edges between a scope's children.
//
// An item of the tree has {name, parent, first, count, fp32, low, share, absmax, kernels}; a scope has children, a node
// has node. `first` is the place of its first node in the graph: children stand in that order.
const MOST_CHILDREN = 500;

const namesOf = (node) => {
  const path = node.id.replace(/^graph\//, "").split("/").filter(Boolean);
  const module = data.modules ? strings[data.modules[node.index]] : "";
  return module ? [...module.split("/"), path.at(-1)] : path;
};

const scopeTree = () => {
  const root = { name: "", parent: null, children: [], inner: new Map() };
  for (const node of nodes) {
    const names = namesOf(node);
    let scope = root;
    for (const name of names.slice(0, -1)) {
      if (!scope.inner.has(name)) {
        const made = { name, parent: scope, children: [], inner: new Map() };
        scope.inner.set(name, made);
        scope.children.push(made);
      }
      scope = scope.inner.get(name);
    }
    scope.children.push({ name: names.at(-1) ?? node.id, parent: scope, node });
  }
  return summedUp(arranged(root));
};

// A scope that only holds one scope or node is that, under both names; too many children are grouped, neighbours together.
const arranged = (scope) => {
  delete scope.inner;
  scope.children = scope.children.map((child) => {
    if (child.node) return child;
    const inside = arranged(child);
    const [only] = inside.children;
    if (inside.children.length > 1) return inside;
    return Object.assign(only, { name: `${inside.name}/${only.name}`, parent: scope });
  });
  if (scope.children.length > MOST_CHILDREN) scope.children = grouped(scope);
  return scope;
};

const grouped = (scope) => {
  const each = Math.ceil(scope.children.length / Math.min(MOST_CHILDREN, Math.ceil(Math.sqrt(scope.children.length))));
  const groups = [];
  for (let start = 0; start < scope.children.length; start += each) {
    const children = scope.children.slice(start, start + each);
    const group = { name: `${start + 1}–${start + children.length}`, parent: scope, children, isGroup: true };
    for (const child of children) child.parent = group;
    if (children.length > MOST_CHILDREN) group.children = grouped(group);
    groups.push(group);
  }
  return groups;
};

const summedUp = (item) => {
  if (item.node) {
    const { node } = item;
    const of = kind(node.precision);
    return Object.assign(item, {
      first: node.index, count: 1, fp32: Number(of === "fp32"), low: Number(of === "low"),
      share: node.share, absmax: node.absmax, kernels: new Set(node.kernel ? [node.kernel.index] : []),
    });
  }
  const kernels = new Set();
  Object.assign(item, { first: Infinity, count: 0, fp32: 0, low: 0, share: -1, absmax: -1, kernels });
  for (const child of item.children) {
    summedUp(child);
    item.first = Math.min(item.first, child.first);
    for (const key of ["count", "fp32", "low"]) item[key] += child[key];
    if (child.share >= 0) item.share = Math.max(0, item.share) + child.share;
    item.absmax = Math.max(item.absmax, child.absmax);
    for (const kernel of child.kernels) kernels.add(kernel);
  }
  item.children.sort((a, b) => a.first - b.first);
  return item;
};

const leavesOf = function* (item) {
  if (item.node) yield item;
  else if (item.children) for (const child of item.children) yield* leavesOf(child);
};

// The model's inputs and outputs, as items of the outermost scope; many of them as one.
const MOST_ENDS = 12;
const inputs = new Set(data.ends[0]), outputs = new Set(data.ends[1]);
const endsOf = (list, role) => {
  const end = (name, of) => ({ name, end: role, tensors: new Set(of), first: role === "input" ? -1 : Infinity });
  return list.length > MOST_ENDS ? [end(plural(list.length, role), list)] : list.map((t) => end(tensors[t], [t]));
};

// Edges between the children of a scope: {from, to, tensors, casts}, `from` and `to` being places among the children.
// `scope.entered` and `scope.left` get the places of those that read from or are read from outside it.
const edgesOf = (scope) => {
  const owner = new Map(), edges = new Map();
  scope.children.forEach((child, at) => { for (const leaf of leavesOf(child)) owner.set(leaf.node, at); });
  const join = (from, to, t, type) => {
    const key = from * scope.children.length + to;
    if (!edges.has(key)) edges.set(key, { from, to, tensors: new Set(), casts: new Set(), fused: false });
    edges.get(key).tensors.add(t);
    if (type) edges.get(key).casts.add(`${t} ${type}`);
    return edges.get(key);
  };
  scope.entered = new Set();
  scope.left = new Set();
  const ends = { input: new Map(), output: new Map() };
  scope.children.forEach((child, at) => { if (child.end) for (const t of child.tensors) ends[child.end].set(t, at); });
  for (const [node, at] of owner) {
    for (const t of node.inputs) {
      const maker = makerOf(t), from = maker ? owner.get(maker) : ends.input.get(originOf(t));
      if (from === undefined && (maker || inputs.has(originOf(t)))) scope.entered.add(at);
      if (from === undefined || from === at) continue;
      const edge = join(from, at, t, castTo(t, node));
      if (maker?.kernel && maker.kernel === node.kernel) edge.fused = true;
    }
    for (const t of node.outputs) {
      const to = ends.output.get(t);
      if (to !== undefined) join(at, to, t, castTo(t, null));
      if ((to === undefined && outputs.has(t)) || readers.get(t)?.some((reader) => !owner.has(reader))) scope.left.add(at);
    }
  }
  return [...edges.values()];
};

// The network as page_data.py packed it: nodes, the tensors between them, casts, kernels.
const data = JSON.parse(byId("data").textContent);

// Names are front-coded: how many characters are shared with the name before, then the rest.
const decode = (coded) => {
  const names = [];
  for (let i = 0, before = ""; i < coded.length; i += 2) names.push((before = before.slice(0, coded[i]) + coded[i + 1]));
  return names;
};
const ids = decode(data.ids), tensors = decode(data.tensors), strings = data.strings;

const kind = (precision) => (precision === "fp32" || precision === "none" ? precision : "low");
const magnitude = (value) => (typeof value === "number" ? Math.abs(value) : value === null || value === undefined ? -1 : Infinity);
const absmaxOf = (tensor) => {
  const range = data.ranges[tensor];
  return range ? Math.max(magnitude(range[0]), magnitude(range[1])) : -1;
};
const nodes = data.nodes.map((row, index) => {
  const [op, precision, rule, reason, evidence, inputs, outputs, replaces, pattern] = row;
  const node = {
    index, id: ids[index], op: strings[op], precision, rule: strings[rule], reason: strings[reason],
    evidence: evidence || [], inputs: inputs || [], outputs: outputs || [], replaces: replaces || [], pattern: pattern || 0,
    share: data.shares?.[index] ?? -1, kernel: null, noKernel: "",
  };
  if (pattern === "") node.pattern = "";
  node.absmax = Math.max(-1, ...[...node.inputs, ...node.outputs].map(absmaxOf), ...node.evidence.map((e) => magnitude(e[3])));
  return node;
});

const producer = new Map(), readers = new Map();
for (const node of nodes) {
  for (const t of node.outputs) producer.set(t, node);
  for (const t of node.inputs) readers.has(t) ? readers.get(t).push(node) : readers.set(t, [node]);
}
// Casts of the source are no nodes here: what they make comes from where what they read does.
const origins = new Map(data.passed_on);
const originOf = (t) => (origins.has(t) ? originOf(origins.get(t)) : t);
const makerOf = (t) => producer.get(originOf(t));

// Casts by tensor and reader; -1 stands for an output of the model.
const casts = new Map(data.casts.map(([t, reader, type]) => [`${t} ${reader}`, type]));
const castTo = (t, reader) => casts.get(`${t} ${reader ? reader.index : -1}`);

const kernels = data.kernels.map(([name, about, microseconds, isAttention, inside], index) => {
  const kernel = { index, name, about, microseconds, isAttention: Boolean(isAttention), nodes: inside };
  for (const node of inside) nodes[node].kernel = kernel;
  return kernel;
});
for (const [reason, without] of data.without_kernel) for (const node of without) nodes[node].noKernel = reason;

const haystacks = new Array(nodes.length);
const haystack = (node) => (haystacks[node.index] ??= [
  node.id, node.op, node.reason, ...node.replaces, ...[...node.inputs, ...node.outputs].map((t) => tensors[t]),
  ...node.evidence.map((e) => tensors[e[0]] ?? ""),
].join("\n").toLowerCase());
const wordsOf = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
const hasAll = (node, words) => words.every((word) => haystack(node).includes(word));

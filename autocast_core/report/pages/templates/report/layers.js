// A layered drawing (Sugiyama, Tagawa, Toda 1981): layers by longest path, few crossings by barycentres, then places.
//
// `sizes` are [width, height] of the boxes in the order of the graph, `edges` are {from, to} between them. An edge
// against that order is turned around for the layout. Answers {width, height, boxes: [{x, y}], routes}, a route
// being the points of an edge, from the lower side of `from` to the upper side of `to`.
const GAP = 18, LAYER_GAP = 38, BEND = 10, MOST_BENDS = 4000, SWEEPS = 4;

const layered = (sizes, edges) => {
  const forward = edges.map(({ from, to }) => (from < to ? [from, to] : [to, from]));
  const layerOf = layersOf(sizes.length, forward);
  const { layers, slots, chains } = withBends(sizes, forward, layerOf);
  const above = slots.map(() => []), below = slots.map(() => []);
  for (const chain of chains) {
    for (let i = 1; i < chain.length; i++) {
      // An edge without bends may pass over layers: only neighbours in layers move each other.
      if (slots[chain[i]].layer - slots[chain[i - 1]].layer !== 1) continue;
      above[chain[i]].push(chain[i - 1]);
      below[chain[i - 1]].push(chain[i]);
    }
  }
  order(layers, slots, above, below);
  place(layers, slots, above, below);
  const tops = [0];
  for (const layer of layers) tops.push(tops.at(-1) + Math.max(...layer.map((at) => slots[at].height)) + LAYER_GAP);
  const left = Math.min(...slots.map((slot) => slot.x - slot.width / 2));
  for (const slot of slots) {
    slot.x -= left;
    slot.middle = tops[slot.layer] + (tops[slot.layer + 1] - LAYER_GAP - tops[slot.layer]) / 2;
  }
  const boxes = sizes.map(([width, height], at) => ({ x: slots[at].x - width / 2, y: slots[at].middle - height / 2 }));
  const routes = chains.map((chain, at) => {
    const [first, last] = [slots[chain[0]], slots[chain.at(-1)]];
    const bends = chain.slice(1, -1).map((slot) => [slots[slot].x, slots[slot].middle]);
    const points = [[first.x, first.middle + first.height / 2], ...bends, [last.x, last.middle - last.height / 2]];
    return edges[at].from < edges[at].to ? points : points.reverse();
  });
  return { width: Math.max(...slots.map((slot) => slot.x + slot.width / 2)), height: tops.at(-1) - LAYER_GAP, boxes, routes };
};

// The longest path from a source; a source then goes down to just above what reads it.
const layersOf = (count, edges) => {
  const layer = new Array(count).fill(0), lowest = new Array(count).fill(Infinity), fed = new Set();
  const sorted = [...edges].sort((a, b) => a[0] - b[0]);
  for (const [from, to] of sorted) { layer[to] = Math.max(layer[to], layer[from] + 1); fed.add(to); }
  for (const [from, to] of sorted) lowest[from] = Math.min(lowest[from], layer[to] - 1);
  return layer.map((own, at) => (fed.has(at) || lowest[at] === Infinity ? own : lowest[at]));
};

// Boxes and, where an edge passes layers, a bend in each, which keeps boxes out of its way. The longest edges go without
// bends where there would be too many of them.
const withBends = (sizes, edges, layerOf) => {
  const slots = sizes.map(([width, height], at) => ({ width, height, layer: layerOf[at], bend: false }));
  const layers = Array.from({ length: Math.max(...layerOf) + 1 }, () => []);
  slots.forEach((slot, at) => layers[slot.layer].push(at));
  const spans = edges.map(([from, to]) => layerOf[to] - layerOf[from] - 1);
  const shortest = spans.map((_, at) => at).sort((a, b) => spans[a] - spans[b]);
  const chains = new Array(edges.length);
  let bends = 0;
  for (const at of shortest) {
    const [from, to] = edges[at], chain = [from];
    bends += spans[at];
    for (let layer = layerOf[from] + 1; layer < layerOf[to] && bends <= MOST_BENDS; layer++) {
      layers[layer].push(slots.length);
      chain.push(slots.length);
      slots.push({ width: BEND, height: 0, layer, bend: true });
    }
    chains[at] = [...chain, to];
  }
  return { layers, slots, chains };
};

const mean = (list, of) => list.reduce((sum, at) => sum + of(at), 0) / list.length;

// Barycentre sweeps, down and up: what stands in a layer follows the places of its neighbours in the one before.
const order = (layers, slots, above, below) => {
  for (const layer of layers) layer.forEach((at, place) => { slots[at].place = place; });
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const down = sweep % 2 === 0, neighbours = down ? above : below;
    for (const layer of down ? layers : [...layers].reverse()) {
      for (const at of layer) {
        slots[at].centre = neighbours[at].length ? mean(neighbours[at], (each) => slots[each].place) : slots[at].place;
      }
      layer.sort((a, b) => slots[a].centre - slots[b].centre || slots[a].place - slots[b].place);
      layer.forEach((at, place) => { slots[at].place = place; });
    }
  }
};

// Each layer as near as its boxes' wishes allow, in order and apart; wishes are the places of neighbours.
const place = (layers, slots, above, below) => {
  for (const layer of layers) {
    let x = 0;
    for (const at of layer) { slots[at].x = x + slots[at].width / 2; x += slots[at].width + GAP; }
    for (const at of layer) slots[at].x -= x / 2;
  }
  for (let sweep = 0; sweep < 2 * SWEEPS; sweep++) {
    const down = sweep % 2 === 0, neighbours = down ? above : below;
    for (const layer of down ? layers : [...layers].reverse()) {
      const wish = layer.map((at) => (neighbours[at].length ? mean(neighbours[at], (each) => slots[each].x) : slots[at].x));
      // Straight long edges look calmer than centred boxes.
      apart(layer.map((at) => slots[at].width), wish, layer.map((at) => (slots[at].bend ? 4 : 1)))
        .forEach((x, i) => { slots[layer[i]].x = x; });
    }
  }
};

// Least squares to the wishes under x[i + 1] - x[i] >= half widths and a gap: isotonic regression by pooling neighbours
// (Barlow et al., Statistical Inference under Order Restrictions, 1972).
const apart = (widths, wishes, weights) => {
  const offsets = [0];
  for (let i = 1; i < widths.length; i++) offsets.push(offsets[i - 1] + (widths[i - 1] + widths[i]) / 2 + GAP);
  const pools = [];
  wishes.forEach((wish, i) => {
    let pool = { value: wish - offsets[i], weight: weights[i], count: 1 };
    while (pools.length && pools.at(-1).value > pool.value) {
      const before = pools.pop(), weight = before.weight + pool.weight;
      pool = { value: (before.value * before.weight + pool.value * pool.weight) / weight, weight, count: before.count + pool.count };
    }
    pools.push(pool);
  });
  return pools.flatMap((pool) => new Array(pool.count).fill(pool.value)).map((x, i) => x + offsets[i]);
};

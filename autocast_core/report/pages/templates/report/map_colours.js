// What the map's colours say: of each layer of colours the class of an item, its second line, and the legend.
const SHARES = [[0.3, "over 30%"], [0.1, "10–30%"], [0.03, "3–10%"], [0.01, "1–3%"], [0.001, "0.1–1%"], [0, "less"]];
// In FP16's terms (IEEE 754 binary16): its largest number, a sixteenth of it, its smallest normal number.
const RANGES = [[65504, "beyond FP16"], [4096, "within a factor of 16 of its end"], [2 ** -14, "normal in FP16"], [0, "subnormal or 0"]];
const HUES = 6;

const stepOf = (steps, value, beyond) => steps.findIndex(([least]) => (beyond ? value > least : value >= least));
const largest = (item) => (item.absmax < 0 ? "not measured" : "up to " + number(item.absmax));
const microseconds = (value) => (value === null || value === undefined ? "" : ` · ${number(Number(value.toPrecision(3)))} µs`);

const colours = {
  precision: {
    title: "Precision",
    has: () => true,
    of: (item) => (item.node ? kind(item.node.precision) : item.fp32 && item.low ? "mixed" : item.fp32 ? "fp32" : item.low ? "low" : "none"),
    line: (item) => (item.node ? item.node.precision : item.fp32 ? `${item.fp32.toLocaleString("en")} in FP32` : ""),
    legend: () => [["low", data.precision], ["fp32", "fp32"], ["mixed", "both, in a scope"], ["none", "no float tensor"]],
  },
  share: {
    title: "Share of the error",
    has: () => Boolean(data.shares),
    of: (item) => (item.share < 0 ? "none" : "heat-" + stepOf(SHARES, item.share)),
    line: (item) => (item.share < 0 ? "" : percent(item.share)),
    legend: () => [...SHARES.map(([, text], at) => ["heat-" + at, text]), ["none", "not lowered"]],
  },
  range: {
    title: "Largest magnitude",
    has: () => data.ranges.some(Boolean),
    of: (item) => (item.absmax < 0 ? "none" : "range-" + Math.max(0, item.absmax === 0 ? RANGES.length - 1 : stepOf(RANGES, item.absmax, true))),
    line: largest,
    legend: () => [...RANGES.map(([, text], at) => ["range-" + at, text]), ["none", "not measured"]],
  },
  kernels: {
    title: "Kernels of the engine",
    has: () => kernels.length > 0,
    of: (item) => (item.kernels.size === 1 ? "hue-" + ([...item.kernels][0] % HUES) : "none"),
    line: (item) => {
      if (item.kernels.size > 1) return plural(item.kernels.size, "kernel");
      const [only] = item.kernels;
      if (only === undefined) return item.node?.noKernel || "";
      return `kernel ${only + 1}${microseconds(kernels[only].microseconds)}`;
    },
    legend: () => [["hue-0", "nodes of one kernel have one colour, and thick edges"], ["none", "no kernel, or several"]],
  },
};

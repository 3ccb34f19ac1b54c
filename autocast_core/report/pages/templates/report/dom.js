// Elements and numbers, as every part of the page makes them.
const byId = (id) => document.getElementById(id);
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
const percent = (share) => (share < 0 ? "–" : (100 * share).toLocaleString("en", { maximumSignificantDigits: 3 }) + "%");
const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
const short = (text, limit) => (text.length > limit ? "…" + text.slice(1 - limit) : text);

"use strict";
/// How values are written and drawn.

/// By colour, by shape and in words: a path in a square of 12.
const STATES = {
  "current": { tint: "--good", short: "current", words: "has the current configuration", shape: "M2 6.5 L5 9.5 L10.5 2.5" },
  "updating": { tint: "--busy", short: "updating", words: "is being updated", shape: "M6 1.5 L10.5 6 L6 10.5 L1.5 6 Z" },
  "refused": { tint: "--bad", short: "refused", words: "refused its configuration", shape: "M2 2 L10 10 M10 2 L2 10" },
  "held-back": { tint: "--bad", short: "held back", words: "cannot be given its definitions", shape: "M6 1 L6 7.5 M6 9.6 L6 11.4" },
  "absent": { tint: "--idle", short: "not connected", words: "not connected", shape: "M2 6 L10 6" },
};
const ENCRYPTION = { "plain": "plaintext", "tls": "TLS", "mutual-tls": "mTLS" };

const number = (value) => value >= 1e9 ? value.toExponential(1) : value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
const percent = (share) => share === 0 ? "0 %" : share < 0.001 ? "<0.1 %" : (share * 100).toFixed(1) + " %";
const millis = (value) => value === null ? "–" : value < 1 ? "<1" : number(value);
const color = (name) => `var(${name})`;
const trouble = (share) => share >= 0.05 ? "--bad" : share > 0 ? "--warn" : "--good";
/// What would move the text around it, or not be seen: control characters, but no ends of lines, and marks of direction.
const shown = (text) => text.replace(/[^\P{Cc}\n]|\p{Cf}|[\u2028\u2029]/gu, "\ufffd");

function make(kind, attributes = {}, ...children) {
  const svg = ["svg", "path", "rect", "text", "g", "title"].includes(kind);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", kind) : document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function stateMark(state) {
  const { tint, shape } = STATES[state];
  return make("svg", { width: 12, height: 12, viewBox: "0 0 12 12", "aria-hidden": "true" },
    make("path", { class: "mark", d: shape, fill: "none", stroke: color(tint), "stroke-width": 2.2 }));
}

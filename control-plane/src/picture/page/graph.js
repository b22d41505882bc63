/// The drawing: one group per node, one line and one label per call.

/// On a narrow screen nodes are narrower, and labels higher instead of wide.
const WIDE = { node: 184, tight: false }, NARROW = { node: 150, tight: true };
const NODE_HEIGHT = 70;
const LABEL = { line: 15, padding: 5 };
/// Between nodes and labels, where lines bend.
const GAP = 24;
const FONT = { strong: "600 13px system-ui, sans-serif", small: "12px system-ui, sans-serif" };
const pen = document.createElement("canvas").getContext("2d");

function width(text, font) {
  pen.font = font;
  return pen.measureText(text).width;
}

/// As much of a text as there is room for: its beginning and its end, which tells long names apart.
function fit(text, room, font) {
  const letters = Array.from(shown(text.length > 400 ? text.slice(0, 200) + text.slice(-200) : text));
  let [start, end] = [letters.length, 0];
  const cut = () => end ? letters.slice(0, start).join("") + "…" + letters.slice(-end).join("") : letters.join("");
  while (start > 0 && width(cut(), font) > room) {
    const kept = end ? start + end - 1 : Math.min(letters.length - 1, 60);
    [start, end] = [Math.ceil(kept / 2), Math.max(1, Math.floor(kept / 2))];
  }
  return cut();
}

function lines(edge, tight) {
  const traffic = edge.traffic, how = ENCRYPTION[edge.encryption];
  if (!traffic) return [`no report · ${how}`];
  if (!live(edge)) return [`idle · ${how}`];
  const times = traffic.p50_ms === null ? "no times" : `p50 ${millis(traffic.p50_ms)} · p99 ${millis(traffic.p99_ms)} ms`;
  const rate = `${number(traffic.requests_per_second)}/s · ${percent(traffic.error_share)} errors`;
  return tight ? [rate, times, how] : [rate, `${times} · ${how}`];
}

const live = (edge) => edge.traffic && edge.traffic.requests_per_second > 0;
function labelSize(edge, tight) {
  const rows = lines(edge, tight), widest = Math.max(...rows.map((row) => width(row, FONT.small)));
  return { rows, wide: widest + 2 * LABEL.padding, high: rows.length * LABEL.line + 2 * LABEL.padding };
}

/// Of all ways that are tried the lowest that fits into the window, else the narrowest.
function best({ nodes, edges }, room) {
  const style = room < 720 ? NARROW : WIDE;
  const label = new Map(edges.map((edge, call) => [edge, { call, ...labelSize(edge, style.tight) }]));
  const thick = (layer, node, side) => layer.some((item) => item.node) ? node
    : 2 * GAP + Math.max(0, ...layer.filter((item) => item.label).map((item) => label.get(item.label)[side]));
  const right = () => ({ down: false, ...arrange(nodes, edges, {
    most: Infinity, margin: 14, sizes: { node: NODE_HEIGHT + 14, label: (edge) => label.get(edge).high + 8, bend: 14 },
    thickness: (layer) => thick(layer, style.node, "wide"),
  }) });
  const down = (most) => ({ down: true, ...arrange(nodes, edges, {
    most, margin: 6, sizes: { node: style.node + 16, label: (edge) => label.get(edge).wide + 8, bend: 12 },
    thickness: (layer) => thick(layer, NODE_HEIGHT, "high"),
  }) });
  const most = Math.max(1, Math.floor((room - 12) / (style.node + 16)));
  const ways = [right(), ...Array.from({ length: Math.min(most, 7) }, (_, less) => down(most - less))];
  const cost = (way) => {
    const [wide, high] = way.down ? [way.breadth, way.length] : [way.length, way.breadth * 0.7];
    return Math.ceil(wide) > room ? 1e6 + wide : high;
  };
  const way = ways.reduce((one, other) => cost(other) < cost(one) ? other : one);
  return { ...way, label, width: style.node, tight: style.tight };
}

/// Lines leave and reach a node side by side, in the order in which they go on.
function ports(way) {
  const sides = new Map();
  const enter = (item, side, link, towards) => {
    const key = `${side} ${item.node.id}`;
    if (!sides.has(key)) sides.set(key, { item, ends: [] });
    sides.get(key).ends.push({ link, side, towards });
  };
  for (const link of way.links) {
    const { chain } = link, own = chain[0] === chain.at(-1);
    enter(chain[0], "first", link, chain[1].at);
    enter(chain.at(-1), own ? "first" : "last", link, chain.at(-2).at);
  }
  for (const { item, ends } of sides.values()) {
    ends.sort((a, b) => a.towards - b.towards);
    const step = Math.min(14, (way.down ? way.width - 40 : NODE_HEIGHT - 20) / ends.length);
    ends.forEach(({ link, side }, index) => {
      const at = item.at + (index - (ends.length - 1) / 2) * step;
      // Of the two ends of a call to itself, which are on one side, the first is taken first.
      if (side === "first" && link.first === undefined) link.first = at; else link.last = at;
    });
  }
}

/// From where to where a line runs straight through an item: along its label, beside nodes and the labels of others.
function through(item, way) {
  if (!item.label) return item.layer % 2 ? [item.start + GAP, item.end - GAP] : [item.start, item.end];
  const middle = (item.start + item.end) / 2, half = way.label.get(item.label)[way.down ? "high" : "wide"] / 2;
  return [middle - half, middle + half];
}

function drawEdge(link, way) {
  const { edge, chain, back } = link, own = chain[0] === chain.at(-1);
  const point = (along, across) => way.down ? [across, along] : [along, across];
  const tip = (along, across, forth) => {
    const foot = along - 8 * forth;
    return `M${point(along, across)} L${point(foot, across - 4)} L${point(foot, across + 4)} Z`;
  };
  let [along, across] = [chain[0].end, link.first], d = `M${point(along, across)}`;
  const curve = (toAlong, toAcross) => {
    const middle = (along + toAlong) / 2;
    d += ` C${point(middle, across)} ${point(middle, toAcross)} ${point(toAlong, toAcross)}`;
    [along, across] = [toAlong, toAcross];
  };
  for (const item of chain.slice(1, -1)) {
    const [start, end] = through(item, way);
    curve(start, item.at);
    if (!own) d += ` L${point(along = end, across)}`;
  }
  curve(own ? chain[0].end : chain.at(-1).start, link.last);
  const tint = color(live(edge) ? trouble(edge.traffic.error_share) : "--idle");
  const line = make("path", {
    class: "edge", "data-call": way.label.get(edge).call, d, stroke: tint,
    "stroke-width": live(edge) ? Math.min(6, 1.5 + Math.log10(1 + edge.traffic.requests_per_second)) : 1.2,
    "stroke-dasharray": live(edge) ? "none" : "4 4",
  });
  const head = back || own ? tip(chain[0].end, back ? link.first : link.last, -1) : tip(chain.at(-1).start, link.last, 1);
  return [line, make("path", { class: "head", d: head, fill: tint })];
}

function drawLabel({ label: edge, start, end, at }, way) {
  const { rows, wide, high, call } = way.label.get(edge);
  const [x, y] = way.down ? [at, (start + end) / 2] : [(start + end) / 2, at];
  const texts = rows.map((line, index) => make("text",
    { class: "small", x, y: y - high / 2 + LABEL.padding + 11 + index * LABEL.line, "text-anchor": "middle" }, line));
  return make("g", { class: "call", "data-call": call },
    make("title", {}, shown(`${edge.from} → ${edge.to}: ${edge.clusters.join(", ")}`)),
    make("rect", { class: "label", x: x - wide / 2, y: y - high / 2, width: wide, height: high, rx: 3 }), ...texts);
}

function drawNode({ node, start, end, at }, way) {
  const [x, y] = way.down ? [at - way.width / 2, start] : [start, at - NODE_HEIGHT / 2];
  const serves = node.services.join(", ");
  const below = node.kind === "virtualGateway" ? "gateway" : serves || "serves nobody";
  const { short, words } = STATES[node.state];
  const count = node.sidecars === 0 ? short : way.tight ? `${node.sidecars} × ${short}`
    : `${node.sidecars} sidecar${node.sidecars === 1 ? "" : "s"} · ${short}`;
  const rows = [[node.name, "strong"], [below, "small"], [count, "small"]];
  const texts = rows.map(([text, kind], index) => make("text", { class: kind, x: x + 31, y: y + 22 + index * 18 },
    fit(text, way.width - 42, FONT[kind])));
  const mark = stateMark(node.state);
  mark.setAttribute("x", x + 10);
  mark.setAttribute("y", y + 11);
  return make("g", { class: "proxy" },
    make("title", {}, shown(`${node.id}: ${words}${serves ? "; serves " + serves : ""}`)),
    make("rect", { class: "node", x, y, width: way.width, height: NODE_HEIGHT, rx: 8 }), mark, ...texts);
}

function drawGraph(picture) {
  const graph = document.getElementById("graph");
  if (!picture.nodes.length) {
    graph.replaceChildren(make("p", { class: "faint" }, "The definitions have no virtual node or gateway."));
    return;
  }
  const way = best(picture, graph.clientWidth);
  ports(way);
  const [wide, high] = (way.down ? [way.breadth, way.length] : [way.length, way.breadth]).map(Math.ceil);
  const svg = make("svg", {
    width: wide, height: high, viewBox: `0 0 ${wide} ${high}`, role: "img",
    "aria-label": `${picture.nodes.length} proxies and ${picture.edges.length} calls between them; the tables below say the same`,
  });
  const items = way.layers.flat();
  svg.append(...way.links.flatMap((link) => drawEdge(link, way)));
  svg.append(...items.filter((item) => item.label).map((item) => drawLabel(item, way)));
  svg.append(...items.filter((item) => item.node).map((item) => drawNode(item, way)));
  graph.replaceChildren(svg);
}

/// The same in tables, and the clock that keeps all of it fresh.

/// What the cells of a column hold.
const WHO = "who", PLAIN = "plain", WORDS = "words", NUMBER = "number";

/// Roles are said, because narrow screens show rows as blocks, which are no rows by themselves.
function fill(id, columns, rows, nothing) {
  const head = columns.map(([text, kind]) => make("th", { scope: "col", role: "columnheader", class: kind }, text));
  const cell = (content, index) => {
    const [head, kind] = columns[index];
    const attributes = index ? { role: "cell" } : { role: "rowheader", scope: "row" };
    const inside = make("div", {}, typeof content === "string" ? shown(content) : content);
    return make(index ? "td" : "th", { ...attributes, class: kind, "data-head": head }, inside);
  };
  const row = (...cells) => make("tr", { role: "row" }, ...cells);
  const body = rows.length
    ? rows.map((one) => row(...one.map(cell)))
    : [row(make("td", { role: "cell", colspan: columns.length, class: "faint" }, nothing))];
  const group = (kind, ...all) => make(kind, { role: "rowgroup" }, ...all);
  document.getElementById(id).replaceChildren(group("thead", row(...head)), group("tbody", ...body));
}

function stateCell(state, reason) {
  const cell = make("span", {}, stateMark(state), STATES[state].words);
  if (reason) cell.append(make("div", { class: "error" }, shown(reason)));
  return cell;
}

/// A row for each sidecar, and one for a node that has none.
function sidecarRows(node) {
  const own = [node.name, node.mesh, node.services.join(", ")];
  const held = node.state === "held-back";
  const rows = node.streams.map((stream) => [...own, stream.peer, stream.software || "–", stream.since,
    held ? stateCell(node.state, node.reason) : stateCell(stream.state, stream.reason)]);
  const more = node.sidecars - node.streams.length;
  if (!node.sidecars) rows.push([...own, "–", "–", "–", stateCell(node.state, node.reason)]);
  else if (more) rows.push([...own, `and ${more} more`, "–", "–", stateCell(node.state, "The worst of all; /nodes has each.")]);
  return rows;
}

function show(picture) {
  const connected = picture.nodes.filter((node) => node.sidecars > 0).length;
  document.getElementById("summary").textContent =
    `${connected} of ${picture.nodes.length} proxies connected, ${picture.reporting} reporting traffic`;
  drawGraph(picture);
  const name = new Map(picture.nodes.map((node) => [node.id, node.name]));
  fill("calls", [["From", WHO], ["To", WHO], ["Encryption", PLAIN], ["Requests/s", NUMBER], ["Errors", NUMBER],
    ["In flight", NUMBER], ["p50 ms", NUMBER], ["p99 ms", NUMBER]], picture.edges.map((edge) => [
    name.get(edge.from) ?? edge.from, name.get(edge.to) ?? edge.to, ENCRYPTION[edge.encryption],
    ...(edge.traffic ? [number(edge.traffic.requests_per_second), percent(edge.traffic.error_share), String(edge.traffic.active),
      millis(edge.traffic.p50_ms), millis(edge.traffic.p99_ms)] : ["–", "–", "–", "–", "–"]),
  ]), "The definitions allow no calls.");
  fill("sidecars", [["Node", WHO], ["Mesh", WHO], ["Services", WHO], ["Address", PLAIN], ["Software", WHO],
    ["Connected since", PLAIN], ["Configuration", WORDS]], picture.nodes.flatMap(sidecarRows), "None.");
  fill("nacks", [["When", PLAIN], ["Node", WHO], ["Type", WHO], ["In its words", WORDS]], picture.nacks.map((nack) =>
    [nack.at, nack.node_id, nack.type, make("span", { class: "error" }, shown(nack.error))]), "None since the control plane started.");
}

let latest = null;
async function refresh() {
  const trouble = document.getElementById("trouble");
  try {
    const response = await fetch("mesh");
    if (!response.ok) throw new Error(`status ${response.status}`);
    const text = await response.text();
    // What has not changed is not drawn again under the reader's hand.
    if (text !== latest?.text) {
      latest = { text, picture: JSON.parse(text) };
      show(latest.picture);
    }
    trouble.textContent = "";
  } catch (error) {
    trouble.textContent = `The control plane does not answer (${error.message}); what you see is old.`;
  }
}
document.getElementById("legend").append(...Object.keys(STATES).map((state) =>
  make("li", {}, stateMark(state), STATES[state].words)));
refresh();
setInterval(refresh, 5000);
addEventListener("resize", () => latest && drawGraph(latest.picture));

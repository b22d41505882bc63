/// Where nodes, labels and bends of edges go. Nodes stand in the even layers, and each edge has an item in every layer
/// between its ends: its label in one of the odd ones, a bend in the others. What has a place of its own covers nothing.

/// Edges by direction of drawing: those that close a circle are drawn from where they lead to.
function uncircled(nodes, edges) {
  const leaving = new Map(nodes.map((node) => [node.id, []]));
  for (const edge of edges) if (leaving.has(edge.to)) leaving.get(edge.from)?.push(edge);
  const called = new Set(edges.filter((edge) => edge.from !== edge.to).map((edge) => edge.to));
  const order = [...nodes.filter((node) => !called.has(node.id)), ...nodes.filter((node) => called.has(node.id))];
  const open = new Set(), done = new Set(), links = [];
  const visit = (id) => {
    open.add(id);
    for (const edge of leaving.get(id)) {
      const back = open.has(edge.to) && edge.to !== id;
      links.push(back ? { edge, from: edge.to, to: id, back } : { edge, from: id, to: edge.to, back });
      if (!open.has(edge.to) && !done.has(edge.to)) visit(edge.to);
    }
    open.delete(id);
    done.add(id);
  };
  for (const node of order) if (!done.has(node.id)) visit(node.id);
  return links;
}

/// The layer of each node, half of the number of its layer in the drawing: behind all its callers, at most `most` in one.
function layered(nodes, links, most) {
  const callers = new Map(nodes.map((node) => [node.id, []]));
  for (const link of links) if (link.from !== link.to) callers.get(link.to).push(link.from);
  const depth = new Map();
  const deep = (id) => {
    if (!depth.has(id)) depth.set(id, 1 + Math.max(-1, ...callers.get(id).map(deep)));
    return depth.get(id);
  };
  const layer = new Map(), count = [];
  const byDepth = nodes.toSorted((a, b) => deep(a.id) - deep(b.id) || (a.name < b.name ? -1 : 1));
  for (const { id } of byDepth) {
    let at = 1 + Math.max(-1, ...callers.get(id).map((caller) => layer.get(caller)));
    while ((count[at] ?? 0) >= most) at += 1;
    count[at] = (count[at] ?? 0) + 1;
    layer.set(id, at);
  }
  return layer;
}

/// Items in layers, and for each edge the chain of those it runs through.
function chained(nodes, links, layer, sizes) {
  const layers = [], items = new Map(), room = [];
  const add = (item) => {
    Object.assign(item, { before: [], behind: [] });
    (layers[item.layer] ??= []).push(item);
    return item;
  };
  const join = (one, next) => {
    one.behind.push(next);
    next.before.push(one);
  };
  for (const node of nodes) items.set(node.id, add({ node, layer: 2 * layer.get(node.id), size: sizes.node }));
  for (const link of links) {
    const [first, last] = [items.get(link.from), items.get(link.to)];
    const size = sizes.label(link.edge), odd = [];
    for (let at = first.layer + 1; at < Math.max(last.layer, first.layer + 2); at += 2) odd.push(at);
    const lies = odd.reduce((best, at) => (room[at] ?? 0) < (room[best] ?? 0) ? at : best);
    room[lies] = (room[lies] ?? 0) + size;
    link.chain = [first];
    for (let at = first.layer + 1; at < Math.max(last.layer, first.layer + 2); at += 1) {
      const item = add(at === lies ? { label: link.edge, layer: at, size } : { layer: at, size: sizes.bend });
      join(link.chain.at(-1), item);
      link.chain.push(item);
    }
    if (first !== last) join(link.chain.at(-1), last);
    link.chain.push(last);
  }
  // No layer is empty: an odd one has an edge, or there is nothing behind it.
  return Array.from(layers, (one) => one ?? []);
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/// Fewer crossings: each item goes where its neighbours are, layer by layer, there and back.
function untangle(layers) {
  const number = (layer) => layer.forEach((item, index) => { item.rank = (index + 0.5) / layer.length; });
  layers.forEach(number);
  for (let turn = 0; turn < 12; turn += 1) {
    const forth = turn % 2 === 0;
    for (const layer of forth ? layers : layers.toReversed()) {
      const near = (item) => forth ? item.before : item.behind;
      for (const item of layer) item.wish = near(item).length ? mean(near(item).map((one) => one.rank)) : item.rank;
      layer.sort((a, b) => a.wish - b.wish);
      number(layer);
    }
  }
}

/// Each item as near to its wish as the others of its layer allow, in their order (isotonic regression), inside `extent`.
function settle(layer, extent) {
  let taken = 0;
  const blocks = [];
  for (const item of layer) {
    let block = { sum: item.wish - item.size / 2 - taken, items: [[item, taken]] };
    taken += item.size;
    while (blocks.length && blocks.at(-1).sum / blocks.at(-1).items.length > block.sum / block.items.length) {
      const last = blocks.pop();
      block = { sum: last.sum + block.sum, items: [...last.items, ...block.items] };
    }
    blocks.push(block);
  }
  for (const { sum, items } of blocks) {
    const start = Math.min(Math.max(sum / items.length, 0), extent - taken);
    for (const [item, offset] of items) item.at = start + offset + item.size / 2;
  }
}

function spread(layers) {
  const length = (layer) => layer.reduce((sum, item) => sum + item.size, 0);
  const extent = Math.max(...layers.map(length));
  for (const layer of layers) {
    for (const item of layer) item.wish = item.rank * extent;
    settle(layer, extent);
  }
  for (let turn = 0; turn < 24; turn += 1) {
    for (const layer of turn % 2 === 0 ? layers : layers.toReversed()) {
      for (const item of layer) {
        const near = [...item.before, ...item.behind].map((one) => one.at);
        item.wish = near.length ? mean(near) : item.at;
      }
      settle(layer, extent);
    }
  }
  return extent;
}

/// One way to draw it: along the layers to the right or downwards, with at most `most` nodes in one.
function arrange(nodes, edges, { most, sizes, thickness, margin }) {
  const links = uncircled(nodes, edges);
  const layers = chained(nodes, links, layered(nodes, links, most), sizes);
  untangle(layers);
  const breadth = spread(layers) + 2 * margin;
  let length = margin;
  for (const layer of layers) {
    const thick = thickness(layer);
    for (const item of layer) Object.assign(item, { start: length, end: length + thick, at: item.at + margin });
    length += thick;
  }
  return { layers, links, breadth, length: length + margin };
}

// What a reader's eyes would object to on the page as it is drawn now, as lines of text; nothing if all is well.
function measure() {
  const problems = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const short = (element) => (element.textContent || element.tagName).trim().slice(0, 60);

  // Colours: contrast as WCAG 2.2 defines it, of what is painted on what is painted below.
  const rgb = (text) => text.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
  const seen = (text) => text !== "none" && (rgb(text)[3] ?? 1) > 0;
  const luminance = (text) => {
    const [red, green, blue] = rgb(text).map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const below = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const box = at.tagName === "g" && at.querySelector(":scope > rect");
      if (box && box !== element && seen(getComputedStyle(box).fill)) return getComputedStyle(box).fill;
      const paint = getComputedStyle(at).backgroundColor;
      if (!at.closest("svg g") && seen(paint)) return paint;
    }
    return "rgb(255, 255, 255)";
  };
  const hold = (what, paint, ground, least) => {
    const ratio = contrast(paint, ground);
    if (!(ratio >= least)) problems.push(`contrast ${ratio.toFixed(2)} of ${what}: ${paint} on ${ground}`);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || ["SCRIPT", "title"].includes(parent.tagName)) continue;
    const style = getComputedStyle(parent), drawn = parent.tagName === "text";
    texts += 1;
    hold(`"${short(parent)}"`, drawn ? style.fill : style.color, below(parent), 4.5);
    if (parseFloat(style.fontSize) < 12) problems.push(`"${short(parent)}" is ${style.fontSize} high`);
  }
  for (const cell of all("tbody [data-head]")) {
    const before = getComputedStyle(cell, "::before");
    if (before.content !== "none") hold(`head ${cell.dataset.head}`, before.color, below(cell), 4.5);
  }
  for (const line of all("path.edge, path.mark")) hold("a line", getComputedStyle(line).stroke, below(line), 3);
  for (const head of all("path.head")) hold("the head of a line", getComputedStyle(head).fill, below(head), 3);
  for (const box of all("rect.node")) hold("the rim of a node", getComputedStyle(box).stroke, below(document.getElementById("graph")), 3);

  // Places: nothing sticks out, nothing covers anything.
  const inside = (inner, outer) =>
    inner.left >= outer.left - 0.5 && inner.right <= outer.right + 0.5 && inner.top >= outer.top - 0.5 && inner.bottom <= outer.bottom + 0.5;
  const apart = (one, other) =>
    one.right <= other.left || other.right <= one.left || one.bottom <= other.top || other.bottom <= one.top;
  if (document.documentElement.scrollWidth > innerWidth) problems.push(`the page is ${document.documentElement.scrollWidth} wide in ${innerWidth}`);
  const boxes = all("g.proxy, g.call").map((group) => ({ group, at: group.querySelector("rect").getBoundingClientRect() }));
  const svg = document.querySelector("#graph > svg")?.getBoundingClientRect();
  for (const [index, { group, at }] of boxes.entries()) {
    if (!inside(at, svg)) problems.push(`${short(group)} is outside of the drawing`);
    for (const text of group.querySelectorAll("text")) {
      if (!inside(text.getBoundingClientRect(), at)) problems.push(`"${short(text)}" sticks out of its box`);
    }
    for (const other of boxes.slice(index + 1)) {
      if (!apart(at, other.at)) problems.push(`${short(group)} covers ${short(other.group)}`);
    }
  }
  for (const line of all("path.edge")) {
    const length = line.getTotalLength(), matrix = line.getScreenCTM();
    const own = line.dataset.call;
    // Its ends touch the nodes that it joins.
    for (let along = 4; along < length - 4; along += 10) {
      const { x, y } = line.getPointAtLength(along).matrixTransform(matrix);
      const hit = boxes.find(({ group, at }) => group.dataset.call !== own && x > at.left + 1 && x < at.right - 1 && y > at.top + 1 && y < at.bottom - 1);
      if (hit) {
        problems.push(`the line of call ${own} runs through ${short(hit.group)}`);
        break;
      }
    }
  }
  for (const cell of all("tbody td, tbody th, #summary, #trouble, h1, h2, #legend li")) {
    if (cell.scrollWidth > cell.clientWidth + 1 && cell.clientWidth) problems.push(`"${short(cell)}" is cut`);
  }
  const cramped = innerWidth <= 700;
  for (const wide of all(".wide")) {
    if (cramped && wide.querySelector("table") && wide.scrollWidth > wide.clientWidth) problems.push(`the table ${short(wide)} is wider than the screen`);
    if (wide.scrollWidth > wide.clientWidth && getComputedStyle(wide).overflowX !== "auto") problems.push(`${short(wide)} cannot be scrolled`);
  }
  return { problems, texts, nodes: all("g.proxy").length, calls: all("g.call").length, lines: all("path.edge").length,
    paper: luminance(getComputedStyle(document.body).backgroundColor), graph: { scroll: document.getElementById("graph").scrollWidth, room: document.getElementById("graph").clientWidth } };
}

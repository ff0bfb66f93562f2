// Folds groups, says what is pointed at, and scales. A folded group shrinks to its header where it stands; the bands of the
// drawing that nothing visible needs any more are then squeezed, so that all else keeps its place in relation to the rest.
"use strict";
const svg = document.getElementById("picture");
const said = document.getElementById("said");
const HEADER = 26, GAP = 30, MARGIN = 16;

const rectangle = (element) => {
  const [x, y, width, height] = element.dataset.box.split(" ").map(Number);
  return { x, y, width, height, right: x + width, bottom: y + height };
};
const groups = [...svg.querySelectorAll(".group")].map((element) => ({
  element, place: rectangle(element), around: element.dataset.in, folded: false,
  label: element.querySelector(".name").textContent, count: element.dataset.count,
  frame: element.querySelector("rect"), name: element.querySelector(".name"),
}));
const boxes = [...svg.querySelectorAll(".box")].map((element) => ({
  element, place: rectangle(element), around: element.dataset.in,
}));
const lines = [...svg.querySelectorAll(".edge, .tip")].map((element) => ({
  element, d: element.getAttribute("d"), from: boxes[element.dataset.from], to: boxes[element.dataset.to],
  tip: element.classList.contains("tip"),
  // The last point of every piece of the path: those that the edge goes through.
  points: element.getAttribute("d").split(/[MLC]/).slice(1).map((piece) => piece.trim().split(" ").pop().split(",").map(Number)),
}));
const size = svg.viewBox.baseVal;
const whole = { width: size.width, height: size.height };
let scale = 1;

// The outermost folded group that holds something, if any.
function folded(thing) {
  let found = null;
  for (let i = thing.around; i !== ""; i = groups[i].around) if (groups[i].folded) found = groups[i];
  return found;
}

const headerWidth = (group) => 7.3 * (group.label.length + 4 + String(group.count).length) + 34;

// A folded group's chip, in the coordinates of the full drawing.
function chip(group) {
  const width = headerWidth(group);
  const x = group.place.x + (group.place.width - width) / 2;
  return { x, y: group.place.y, width, height: HEADER, right: x + width, bottom: group.place.y + HEADER };
}

// A map that keeps the intervals, and between them no more than a gap: its last part as it was where `keepEnd` says so, since there
// the edges turn towards the next layer; else all of it in proportion.
function squeeze(intervals, length, keepEnd) {
  intervals.sort((a, b) => a[0] - b[0]);
  const knots = [[0, 0]];
  let end = 0, lost = 0;
  for (const [low, high] of [...intervals, [length, length]]) {
    if (low - end > GAP) {
      knots.push([end, end - lost]);
      lost += low - end - GAP;
      if (keepEnd) knots.push([low - GAP, low - GAP - lost]);
      knots.push([low, low - lost]);
    }
    end = Math.max(end, high);
  }
  knots.push([length, length - lost]);
  const map = (value) => {
    let i = 1, j = knots.length - 1;
    while (i < j) { const k = (i + j) >> 1; if (knots[k][0] < value) i = k + 1; else j = k; }
    const [a, b] = [knots[i - 1], knots[i]];
    return b[0] === a[0] ? b[1] : a[1] + (value - a[0]) * (b[1] - a[1]) / (b[0] - a[0]);
  };
  return { map, length: length - lost };
}

function draw() {
  const across = [], down = [], chips = new Map();
  const keep = (place) => { across.push([place.x, place.right]); down.push([place.y, place.bottom]); };
  let any = false;
  for (const group of groups) {
    const hidden = folded(group) !== null;
    group.element.classList.toggle("hidden", hidden);
    group.element.classList.toggle("folded", group.folded);
    group.element.setAttribute("aria-expanded", String(!group.folded));
    if (hidden) continue;
    // A chip covers the edges that pass; an open group lies below them.
    svg.insertBefore(group.element, group.folded ? boxes[0].element : lines.length ? lines[0].element : boxes[0].element);
    if (group.folded) {
      chips.set(group, chip(group));
      keep(chips.get(group));
      any = true;
    } else {
      down.push([group.place.y, group.place.y + HEADER], [group.place.bottom - 6, group.place.bottom]);
      across.push([group.place.x, group.place.x + headerWidth(group)]);
      across.push([group.place.right - 6, group.place.right]);
    }
  }
  for (const box of boxes) {
    const hidden = folded(box) !== null;
    box.element.classList.toggle("hidden", hidden);
    if (!hidden) keep(box.place);
  }
  const same = (value) => value;
  const x = any ? squeeze(across, whole.width, false) : { map: same, length: whole.width };
  const y = any ? squeeze(down, whole.height, true) : { map: same, length: whole.height };
  for (const group of groups) {
    const place = chips.get(group) || group.place;
    const [left, top] = [x.map(place.x), y.map(place.y)];
    group.element.setAttribute("transform", `translate(${left},${top})`);
    group.frame.setAttribute("width", x.map(place.right) - left);
    group.frame.setAttribute("height", y.map(place.bottom) - top);
    group.name.textContent = group.folded ? `▸ ${group.label} (${group.count})` : `▾ ${group.label}`;
  }
  for (const box of boxes)
    box.element.setAttribute("transform", `translate(${x.map(box.place.x)},${y.map(box.place.y)})`);
  const joined = new Set();
  for (const line of lines) {
    const [from, to] = [folded(line.from), folded(line.to)];
    // Of the edges between two chips, or a chip and a box, one is enough.
    const ends = `${from ? "g" + groups.indexOf(from) : line.element.dataset.from} ` +
      `${to ? "g" + groups.indexOf(to) : line.element.dataset.to} ${line.tip}`;
    const inside = (from !== null && from === to) || joined.has(ends);
    joined.add(ends);
    line.element.classList.toggle("hidden", inside || (line.tip && to !== null));
    if (!inside) line.element.setAttribute("d", line.tip ? tipAt(line, x, y) : any ? bend(line, chips, x.map, y.map) : line.d);
  }
  whole.shown = { width: x.length, height: y.length };
  size.width = x.length;
  size.height = y.length;
  resize();
}

// An edge's path with its points moved; what lies inside a folded group gives way to the middle of its chip's border.
function bend(line, chips, mapX, mapY) {
  const [from, to] = [chips.get(folded(line.from)), chips.get(folded(line.to))];
  const inside = (group, [x, y]) => group !== null && y > group.place.y - 1 && y < group.place.bottom + 1 &&
    x > group.place.x - 1 && x < group.place.right + 1;
  let points = line.points.filter((point) => !inside(folded(line.from), point) && !inside(folded(line.to), point));
  if (from) points = [[from.x + from.width / 2, from.bottom], ...points];
  if (to) points = [...points, [to.x + to.width / 2, to.y]];
  return curve(points.map(([x, y]) => [mapX(x), mapY(y)]));
}

// A smooth path that leaves and enters every point vertically.
function curve([[x, y], ...rest]) {
  let text = `M${x},${y}`;
  for (const [nextX, nextY] of rest) {
    const middle = (y + nextY) / 2;
    text += Math.abs(nextX - x) < 0.5 ? ` L${nextX},${nextY}` : ` C${x},${middle} ${nextX},${middle} ${nextX},${nextY}`;
    [x, y] = [nextX, nextY];
  }
  return text;
}

function tipAt(line, x, y) {
  const left = line.to.place.x, top = line.to.place.y;
  return line.d.replace(/(-?[\d.]+),(-?[\d.]+)/g, (_, px, py) =>
    `${(Number(px) - left + x.map(left)).toFixed(1)},${(Number(py) - top + y.map(top)).toFixed(1)}`);
}

function resize() {
  svg.setAttribute("width", whole.shown.width * scale);
  svg.setAttribute("height", whole.shown.height * scale);
}

function fold(group, wanted) { group.folded = wanted; draw(); group.element.focus({ preventScroll: true }); }
function foldAll(wanted) { for (const group of groups) group.folded = wanted; draw(); }

for (const group of groups) {
  group.element.setAttribute("tabindex", "0");
  group.element.setAttribute("role", "button");
  const toggle = () => fold(group, !group.folded);
  group.element.addEventListener("click", toggle);
  group.element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); toggle(); }
  });
}

boxes.forEach((box, i) => {
  const text = box.element.querySelector("title").textContent;
  const mine = lines.filter((line) => line.from === box || line.to === box);
  const show = (on) => {
    if (on) said.textContent = text;
    for (const line of mine) line.element.classList.toggle("near", on);
  };
  for (const name of ["mouseenter", "focus"]) box.element.addEventListener(name, () => show(true));
  for (const name of ["mouseleave", "blur"]) box.element.addEventListener(name, () => show(false));
});

const actions = {
  fold: () => foldAll(true),
  unfold: () => foldAll(false),
  in: () => { scale *= 1.25; resize(); },
  out: () => { scale /= 1.25; resize(); },
  fit: () => { scale = Math.min(1, (svg.parentElement.clientWidth - 20) / whole.shown.width); resize(); },
};
for (const button of document.querySelectorAll("[data-do]"))
  button.addEventListener("click", () => actions[button.dataset.do]());

foldAll(svg.dataset.fold === "1");
// A wide drawing opens at its first node, not at its left corner.
const firstShown = [...groups, ...boxes].filter((thing) => folded(thing) === null).sort((a, b) => a.place.y - b.place.y)[0];
if (firstShown) firstShown.element.scrollIntoView({ inline: "center", block: "nearest" });

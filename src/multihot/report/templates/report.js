"use strict";
const ROW = 34, SHOWN = 4, PRINTED = 300;
const KINDS = {f4: Float32Array, f8: Float64Array, u1: Uint8Array, u2: Uint16Array, u4: Uint32Array};
const byId = id => document.getElementById(id);
let labels, runs, pictures, lists, overlays, grouped, confusions;
const columns = [  // of the table: title, words, value of a label, text of a value
  ["label", "the label", c => c, null],
  ["images", "known images with the label", c => run().support[c], count],
  ["AP", "average precision", c => run().ap[c], v => v.toFixed(2)],
  ["P", "precision", c => decided(c).precision, v => v.toFixed(2)],
  ["R", "recall", c => decided(c).recall, v => v.toFixed(2)],
  ["F1", "F1", c => decided(c).f1, v => v.toFixed(2)],
];
const state = {run: 0, label: 0, cut: 0, column: 1, down: true, order: []};

async function start() {
  const packed = new Blob([bytesOf(byId("data").textContent)]);
  const data = await new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).json();
  ({labels, runs, pictures, lists, overlays, confusions} = unpack(data));
  grouped = new Set(data.grouped);
  if (runs.length > 1) {  // in the place of precision
    columns[3] = ["B − A", "difference of the average precisions", c => runs[1].ap[c] - runs[0].ap[c], v => (v > 0 ? "+" : "") + v.toFixed(2)];
    byId("grid").classList.add("two-runs");
  }
  drawGrid();
  choose(state.order[0]);
  drawLists();
  drawConfusions();
  document.body.dataset.ready = "true";
}
function bytesOf(base64) { return Uint8Array.from(atob(base64), c => c.charCodeAt(0)); }
function unpack(value) {  // base64 to typed arrays, wherever they are
  if (Array.isArray(value)) return value.map(unpack);
  if (value === null || typeof value !== "object") return value;
  if ("bytes" in value) return new KINDS[value.kind](bytesOf(value.bytes).buffer);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, unpack(inner)]));
}
function run() { return runs[state.run]; }
function count(number) { return number.toLocaleString("en"); }
function escape(text) { return String(text).replace(/[&<>"']/g, c => `&#${c.charCodeAt(0)};`); }
function shortest(number) {  // the fewest digits that are this float32
  for (let digits = 1; digits < 10; digits++) {
    const text = number.toPrecision(digits);
    if (Math.fround(text) === number) return String(Number(text));
  }
  return String(number);
}
function chance(p) { return p >= 0.9995 && p < 1 ? "0.9995+" : p === 0 || p >= 0.001 ? p.toFixed(3) : p.toExponential(1); }
function scores(hits, alarms, support) {  // as scikit-learn has them, 0 for 0/0
  const of = (part, whole) => whole ? part / whole : 0;
  return {precision: of(hits, hits + alarms), recall: of(hits, support), f1: of(2 * hits, hits + alarms + support)};
}
function decided(c, own = run()) {
  const none = {precision: NaN, recall: NaN, f1: NaN};
  return own.support[c] ? scores(own.true_positives[c], own.false_positives[c], own.support[c]) : none;
}
function cutsOf(c, own = run()) {
  const part = [own.cuts.start[c], own.cuts.start[c + 1]];
  const {cut, true_positives, false_positives, probability} = own.cuts;
  return {cut: cut.subarray(...part), hits: true_positives.subarray(...part), alarms: false_positives.subarray(...part),
    probability: probability?.subarray(...part)};
}
function nearest(cuts, value) {  // the place of a cut that is among them
  let best = 0;
  cuts.forEach((cut, k) => { if (Math.abs(cut - value) < Math.abs(cuts[best] - value)) best = k; });
  return best;
}
function bestCut(c) {
  const {hits, alarms} = cutsOf(c), f1 = k => scores(hits[k], alarms[k], run().support[c]).f1;
  let best = 0;
  hits.forEach((_, k) => { if (f1(k) >= f1(best)) best = k; });
  return best;
}

// The table: only the rows that are to be seen are in the page.
function drawGrid() {
  const heads = columns.map(([title, words], k) => `<span role="columnheader" ${k ? 'class="number"' : ""} title="${words}"
    ${k === state.column ? `aria-sort="${state.down ? "descending" : "ascending"}"` : ""}><button data-column="${k}">${title}</button></span>`);
  byId("grid").innerHTML = `<div class="row head" role="row" aria-rowindex="1">${heads.join("")}</div><div class="body" role="rowgroup"></div>`;
  order();
}
function order() {
  const query = byId("search").value.trim().toLowerCase(), value = columns[state.column][2];
  const names = state.column ? null : labels.map((label, c) => [label, c]).sort((a, b) => a[0].localeCompare(b[0], "en", {numeric: true}));
  const key = new Float64Array(labels.length);
  if (names) names.forEach(([, c], place) => { key[c] = place; });
  else labels.forEach((_, c) => { key[c] = value(c); });
  state.order = [...labels.keys()].filter(c => labels[c].toLowerCase().includes(query));
  state.order.sort((a, b) => isNaN(key[a]) || isNaN(key[b]) ? isNaN(key[a]) - isNaN(key[b]) || a - b
    : (state.down ? key[b] - key[a] : key[a] - key[b]) || a - b);  // what has no value comes last
  byId("found").textContent = query ? `${count(state.order.length)} of ${count(labels.length)}` : count(labels.length);
  const body = document.querySelector("#grid .body");
  body.style.height = `${ROW * state.order.length}px`;
  byId("grid").setAttribute("aria-rowcount", state.order.length + 1);
  drawRows();
}
function drawRows(every = 0) {
  const grid = byId("grid"), body = grid.querySelector(".body");
  const first = every ? 0 : Math.max(0, Math.floor(grid.scrollTop / ROW) - 5);
  const last = every || Math.ceil((grid.scrollTop + grid.clientHeight) / ROW) + 5;
  body.innerHTML = state.order.slice(first, last).map((c, k) => drawRow(c, first + k)).join("")
    + (state.order.length ? "" : '<p class="empty quiet">No label has this in its name.</p>')
    + (every && every < state.order.length ? `<p class="empty quiet">... and ${count(state.order.length - every)} more</p>` : "");
  if (state.order.includes(state.label)) grid.setAttribute("aria-activedescendant", `label-${state.label}`);
  else grid.removeAttribute("aria-activedescendant");
}
function drawRow(c, place) {
  const cells = columns.slice(1).map(([title, , value, text]) => {
    const v = value(c), shown = isNaN(v) ? "–" : text(v);
    const {ap_low: low, ap_high: high} = run(), bar = title !== "AP" ? "" : `<span class="bar">${isNaN(v) ? "" :
      `<i style="width: ${100 * v}%"></i><u style="left: ${100 * low[c]}%; width: ${100 * (high[c] - low[c])}%"></u>`}</span>`;
    return `<span role="gridcell" class="number${bar ? " ap" : ""}" title="${isNaN(v) ? "not measured" : v}">${bar}${shown}</span>`;
  });
  return `<div class="row" role="row" id="label-${c}" data-label="${c}" aria-rowindex="${place + 2}" aria-selected="${c === state.label}"
    style="transform: translateY(${place * ROW}px)"><span role="gridcell" class="name" title="${escape(labels[c])}">${escape(labels[c])}</span>${cells.join("")}</div>`;
}
function choose(c, isKeyboard) {
  state.label = c;
  const cuts = cutsOf(c), own = run().cut[c];
  state.cut = nearest(cuts.cut, isNaN(own) ? 0 : own);
  if (isKeyboard) showRow();
  drawRows();
  drawDetails();
}
function showRow() {
  const grid = byId("grid"), top = state.order.indexOf(state.label) * ROW;
  if (top < grid.scrollTop) grid.scrollTop = top;
  if (top + 2 * ROW > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + 2 * ROW - grid.clientHeight;
}

// The details of one label.
function drawDetails() {
  const c = state.label, own = run(), isGrouped = grouped.has(c);
  const train = own.num_train ? `, ${count(own.num_train[c])} in train` : "";
  const ap = isNaN(own.ap[c]) ? "AP is not measured" : `AP <b title="${own.ap[c]}">${own.ap[c].toFixed(4)}</b>
    (95%: ${own.ap_low[c].toFixed(3)} – ${own.ap_high[c].toFixed(3)})`;
  const choices = runs.length > 1 ? `<span class="switch">${runs.map((other, k) =>
    `<button data-run="${k}" aria-pressed="${k === state.run}">${escape(other.name)}</button>`).join("")}</span>` : "";
  byId("details").innerHTML = `
    <div class="title"><h3>${escape(labels[c])}</h3><span>${ap}</span>
    <span class="quiet">${count(own.support[c])} of ${count(own.num_known[c])} known images${train}</span>${choices}</div>
    ${isGrouped ? '<p class="quiet">The largest of its group is predicted. The slider shows a threshold on its own log-odds.</p>' : ""}
    <div class="slider"><div class="numbers" id="numbers"></div>
    <input type="range" id="cut" min="0" max="${cutsOf(c).cut.length - 1}" step="1" aria-label="Threshold of ${escape(labels[c])}">
    <div class="steps"><span class="where" id="where"></span>
    ${isGrouped || !own.cut[c] ? "" : `<button data-cut="own">${own.is_fitted ? "fitted" : "its threshold"}</button>`}<button data-cut="even" title="a logit of 0: the probability before calibration">${own.is_fitted ? "raw 0.5" : "0.5"}</button>
    <button data-cut="best" title="on these very images, so too good">highest F1</button></div></div>
    <div class="charts"><figure><h4>Precision and recall</h4><div id="curve"></div></figure>
    <figure><h4>Reliability</h4>${drawReliability(c)}</figure>
    <figure><h4>Scores by answer</h4><div id="histogram"></div></figure></div>
    <div class="rows" id="rows"></div>`;
  byId("cut").value = state.cut;
  drawCut();
}
function drawCut() {
  const c = state.label, own = run(), {cut, hits, alarms, probability} = cutsOf(c), k = state.cut;
  const support = own.support[c], at = scores(hits[k], alarms[k], support);
  const missed = support - hits[k], rest = own.num_known[c] - support - alarms[k];
  const parts = ["precision", "recall", "f1"].map(name => `<div title="${at[name]}"><b>${at[name].toFixed(4)}</b>${name === "f1" ? "F1" : name}</div>`);
  const counts = [["right", hits[k]], ["false alarms", alarms[k]], ["missed", missed], ["rightly absent", rest]];
  byId("numbers").innerHTML = `<div>${parts.join("")}</div><div class="small">${
    counts.map(([name, value]) => `<div><b>${count(value)}</b>${name}</div>`).join("")}</div>`;
  const where = `predicted above ${grouped.has(c) ? "log-odds" : "logit"} ${shortest(cut[k])}, probability ${chance(probability ? probability[k] : 1 / (1 + Math.exp(-cut[k])))}`;
  byId("where").textContent = where;
  byId("cut").setAttribute("aria-valuetext",
    `${where}: precision ${at.precision.toFixed(2)}, recall ${at.recall.toFixed(2)}, F1 ${at.f1.toFixed(2)}`);
  byId("curve").innerHTML = drawCurve(c, at);
  byId("histogram").innerHTML = drawHistogram(c, cut[k]);
  byId("rows").innerHTML = drawEdges(c, k);
}
const W = 220, H = 150, LEFT = 26, RIGHT = 16, BOTTOM = 18;  // RIGHT: half of the last tick
function frame(inside, xs, ys, words) {  // a chart from 0 to 1 in both directions, with ticks [place, text]
  const ticks = xs.map(([x, text]) => `<text x="${LEFT + x * W}" y="${H + 15}" text-anchor="middle">${text}</text>`).join("")
    + ys.map(([y, text]) => `<text x="${LEFT - 5}" y="${H - y * H + 4}" text-anchor="end">${text}</text>
      <line class="axis" x1="${LEFT}" x2="${LEFT + W}" y1="${H - y * H}" y2="${H - y * H}"/>`).join("");
  return `<svg viewBox="0 -8 ${LEFT + W + RIGHT} ${H + BOTTOM + 10}" role="img" aria-label="${escape(words)}">${ticks}${inside}</svg>`;
}
const px = x => (LEFT + x * W).toFixed(1), py = y => (H - y * H).toFixed(1);
const HALVES = [[0, "0"], [0.5, "0.5"], [1, "1"]];
function drawCurve(c, at) {
  const support = run().support[c];
  if (!support) return '<p>No known image has this label.</p>';
  const lines = runs.map((own, which) => {
    const {hits, alarms} = cutsOf(c, own), points = [];
    for (let k = hits.length - 1; k >= 0; k--) {
      if (hits[k] + alarms[k]) points.push(`${px(hits[k] / own.support[c])},${py(hits[k] / (hits[k] + alarms[k]))}`);
    }
    return `<polyline class="line ${which ? "second" : ""}" points="${points.join(" ")}"/>`;
  });
  const share = support / run().num_known[c];
  const chanceLine = `<line class="line faint" x1="${px(0)}" x2="${px(1)}" y1="${py(share)}" y2="${py(share)}"/>`;
  const now = `<circle class="now" cx="${px(at.recall)}" cy="${py(at.precision)}" r="4.5"/>`;
  return frame(chanceLine + lines.join("") + now, HALVES, HALVES, `Precision by recall of ${labels[c]}`)
    + "<p>precision by recall; dashed: every image predicted</p>";
}
function drawReliability(c) {
  const bins = run().bins, size = bins.num_images.length / labels.length, points = [];
  for (let b = c * size; b < (c + 1) * size; b++) {
    const n = bins.num_images[b], share = bins.num_positives[b] / n, z = 1.96;
    if (!n) continue;
    const middle = (share + z * z / 2 / n) / (1 + z * z / n);
    const half = z / (1 + z * z / n) * Math.sqrt(share * (1 - share) / n + z * z / 4 / n / n);
    points.push({n, share, hits: bins.num_positives[b], mean: bins.mean[b], before: bins.mean_before?.[b], low: middle - half, high: middle + half});
  }
  if (!points.length) return "<p>Nothing is known of this label.</p>";
  const top = Math.min(1, niceTop(Math.max(...points.flatMap(p => [p.mean, p.high])))), s = v => Math.min(1, v / top);
  const diagonal = `<line class="line faint" x1="${px(0)}" y1="${py(0)}" x2="${px(1)}" y2="${py(1)}"/>`;
  const marks = points.map(p => `<line class="whisker" x1="${px(s(p.mean))}" x2="${px(s(p.mean))}" y1="${py(s(p.low))}" y2="${py(s(p.high))}"/>
    <circle class="point" cx="${px(s(p.mean))}" cy="${py(s(p.share))}" r="3"><title>${count(p.n)} images of mean probability ${chance(p.mean)}: ${count(p.hits)} have the label</title></circle>`);
  const before = run().is_fitted ? `<polyline class="line faint" points="${points.map(p => `${px(s(p.before))},${py(s(p.share))}`).join(" ")}"/>` : "";
  const ticks = [[0, "0"], [0.5, String(+(top / 2).toPrecision(2))], [1, String(top)]];
  const expected = run().expected[c], support = run().support[c], [slope, ece, perfect] = ["slope", "ece", "ece_expected"].map(name => run()[name][c]);
  const measured = isNaN(ece) ? "" : `; slope ${isFinite(slope) ? slope.toFixed(2) : "–"}, ECE ${ece.toFixed(3)} (${perfect.toFixed(3)} if perfect)`;
  return frame(diagonal + before + marks.join(""), ticks, ticks, `Share of images with ${labels[c]} by probability`)
    + `<p>share with the label by probability, ${points.length} bins of ${sizes(points)} images; ${expected.toFixed(1)} expected, ${count(support)} there${measured}</p>`;
}
function sizes(points) {
  const all = points.map(p => p.n), low = Math.min(...all), high = Math.max(...all);
  return low === high ? count(low) : `${count(low)}–${count(high)}`;
}
function niceTop(value) {
  const ten = 10 ** Math.floor(Math.log10(value || 1));
  return [1, 2, 4, 5, 10].map(k => +(k * ten).toPrecision(1)).find(top => top >= value - 1e-9);
}
function drawHistogram(c, cut) {
  const own = run(), size = own.scores.length / labels.length / 2, start = 2 * c * size;
  const [low, high] = [own.range[2 * c], own.range[2 * c + 1]], x = v => Math.min(1, Math.max(0, (v - low) / (high - low)));
  const totals = [own.num_known[c] - own.support[c], own.support[c]], bars = [];
  const heights = totals.map((total, answer) => [...own.scores.subarray(start + answer * size, start + (answer + 1) * size)].map(n => n / (total || 1)));
  const top = Math.max(...heights.flat(), 1e-9);
  heights.forEach((side, answer) => side.forEach((share, b) => {
    const n = own.scores[start + answer * size + b], height = 0.48 * share / top;
    if (n) bars.push(`<rect class="${answer ? "present" : "absent"}" x="${px(b / size)}" width="${W / size - 1}" rx="1"
      y="${py(answer ? 0.5 + height : 0.5)}" height="${Math.max(1, height * H)}"><title>${count(n)} images</title></rect>`);
  }));
  const ticks = [low, (low + high) / 2, high].map((v, k) => [k / 2, v.toFixed(1)]);
  const line = `<line class="cut" x1="${px(x(cut))}" x2="${px(x(cut))}" y1="${py(0)}" y2="${py(1)}"/>`;
  return frame(bars.join("") + line, ticks, [[0.5, ""]], `Scores of images with and without ${labels[c]}`)
    + `<p>${grouped.has(c) ? "log-odds" : "logit"}; up: ${count(totals[1])} with the label, down: ${count(totals[0])} without; each scaled to its own total</p>`;
}

// Pictures. A place is 4 * (cuts below its score) + answer + 1.
function placesOf(c) {
  const places = run().places;
  return places ? pictures.map((picture, t) => {
    const value = places[t * labels.length + c];
    return {t, above: value >> 2, answer: (value & 3) - 1};
  }).filter(place => place.answer >= 0) : [];
}
function drawEdges(c, k) {
  const all = placesOf(c), predicted = place => place.above > k;
  const kinds = [
    ["Just above: predicted", all.filter(predicted), (a, b) => a.above - b.above, true],
    ["Just below: not predicted", all.filter(p => !predicted(p)), (a, b) => b.above - a.above, true],
    ["Missed, the surest first", all.filter(p => p.answer === 1 && !predicted(p)), (a, b) => a.above - b.above],
    ["False alarms, the surest first", all.filter(p => p.answer === 0 && predicted(p)), (a, b) => b.above - a.above],
    ["Right, the surest first", all.filter(p => p.answer === 1 && predicted(p)), (a, b) => b.above - a.above],
  ];
  return pictures.length ? kinds.map(([title, some, by, isMixed]) => `<div><h4>${title}</h4><div class="pictures">${
    some.sort(by).slice(0, SHOWN).map(({t, answer}) => drawPicture(t, captionOf(t, c, isMixed ? answer : -1))).join("")
    || '<span class="quiet">none of the pictures here</span>'}</div></div>`).join("") : "";
}
function captionOf(t, c, answer) {
  const found = run().answers[t].find(([label]) => label === c);
  return `<span>${found ? chance(found[1]) : ""} <span class="quiet">${["", "absent", "there"][answer + 1]}</span></span>`;
}
function image(t) {
  const {url, name} = pictures[t];
  return url ? `<img src="${url}" alt="${escape(name)}" class="${url.startsWith("data:image/png") ? "tiny" : ""}">` : '<div class="blank"></div>';
}
function drawPicture(t, caption) {
  return `<button class="picture" data-picture="${t}" aria-label="${escape(pictures[t].name)}: show all labels">${image(t)}${caption}</button>`;
}
const KIND = {11: "right", 10: "missed", "01": "wrong", "00": ""};
function chips(t) {
  return `<span class="chips">${run().answers[t].filter(([, , answer, said]) => answer === 1 || said).slice(0, 8).map(([c, p, answer, said]) => {
    const kind = answer < 0 ? "unknown" : KIND[`${answer}${said}`];
    return `<span class="chip ${kind}">${escape(labels[c])} ${p.toFixed(2)}${kind && kind !== "right" ? ` ${kind}` : ""}</span>`;
  }).join("")}</span>`;
}
function drawLists() {
  const byRow = new Map(pictures.map((picture, t) => [picture.row, t]));
  const fill = (id, parts) => {
    const place = document.querySelector(`#${id} .pictures`);
    if (place) place.innerHTML = parts.join("") || '<span class="quiet">none</span>';
  };
  const known = row => byRow.has(row);
  fill("worst", lists.worst.filter(known).map(row => drawPicture(byRow.get(row), chips(byRow.get(row)))));
  fill("surest", lists.surest.filter(known).map(row => drawPicture(byRow.get(row), chips(byRow.get(row)))));
  fill("doubts", lists.doubts.filter(([row]) => known(row)).map(([row, c]) => {
    const t = byRow.get(row), answer = (runs[0].places[t * labels.length + c] & 3) - 1;
    const found = runs[0].answers[t].find(([label]) => label === c);
    return drawPicture(t, `<span><b>${escape(labels[c])}</b> ${found ? chance(found[1]) : ""}</span><span class="quiet">answer: ${answer ? "there" : "absent"}</span>`);
  }));
}
function link(c) { return `<button class="label-link" data-label="${c}" data-go="true">${escape(labels[c])}</button>`; }
function drawConfusions() {
  const byRow = new Map(pictures.map((picture, t) => [picture.row, t]));
  const head = titles => `<thead><tr>${titles.map(([title, kind]) => `<th scope="col" class="${kind ?? ""}">${title}</th>`).join("")}</tr></thead>`;
  const table = (titles, rows) => rows.length ? `<table class="pairs">${head(titles)}<tbody>${rows.join("")}</tbody></table>` : '<p class="quiet">none</p>';
  const number = value => `<td class="number">${value}</td>`;
  byId("swaps").innerHTML = table([["missed"], ["said, though absent"], ["images", "number"], ["by chance", "number"], [""]],
    confusions.swaps.map(([missed, said, times, expected, , rows]) => `<tr><td>${link(missed)}</td><td>${link(said)}</td>${number(count(times))}${
      number(expected.toFixed(1))}<td><div class="pictures">${rows.filter(row => byRow.has(row)).map(row => drawPicture(byRow.get(row), "")).join("")}</div></td></tr>`));
  byId("together").innerHTML = table([["labels"], ["together", "number"], ["said", "number"], ["rightly", "number"]],
    confusions.together.map(([a, b, there, said, right, z]) => `<tr><td>${link(a)} and ${link(b)}</td>${number(count(there))}<td class="number ${
      z > 0 ? "up" : "down"}" title="z ${z.toFixed(1)}">${count(said)} ${z > 0 ? "↑" : "↓"}</td>${number(count(right))}</tr>`));
}
function view(t) {
  const rows = run().answers[t].map(([c, p, answer, said]) => {
    const kind = answer < 0 ? "" : KIND[`${answer}${said}`];
    return `<tr><td>${escape(labels[c])}</td><td class="number">${chance(p)}</td><td>${["unknown", "absent", "there"][answer + 1]}</td>
      <td>${said ? "predicted" : ""}</td><td>${kind ? `<span class="chip ${kind}">${kind}</span>` : ""}</td></tr>`;
  });
  const more = run().answers[t].length < labels.length ? `<p class="quiet">The labels that matter most of ${count(labels.length)}.</p>` : "";
  const seen = overlays.filter(({row}) => row === pictures[t].row).map(({label, url}) =>
    `<img src="${url}" alt="where ${escape(labels[label])} is seen"><p class="quiet">what speaks for ${escape(labels[label])}</p>`);
  byId("viewer").querySelector("div").innerHTML = `<div class="viewer"><div>${image(t)}<p class="quiet">${escape(pictures[t].name)}, row ${pictures[t].row}</p>${seen.join("")}</div>
    <div><table><thead><tr><th>label</th><th class="number">probability</th><th>answer</th><th></th><th></th></tr></thead><tbody>${rows.join("")}</tbody></table>${more}</div></div>`;
  byId("viewer").showModal();
}

// What a person does.
function move(step) {
  const place = state.order.indexOf(state.label), last = state.order.length - 1;
  if (last >= 0) choose(state.order[Math.min(last, Math.max(0, place < 0 ? 0 : place + step))], true);
}
document.addEventListener("click", event => {
  const of = name => event.target.closest(`[data-${name}]`)?.dataset[name];
  if (of("column") !== undefined) {
    const column = +of("column");
    [state.down, state.column] = [column === state.column ? !state.down : column > 0, column];
    drawGrid();
    document.querySelector(`[data-column="${column}"]`).focus();
  } else if (of("label") !== undefined) {
    choose(+of("label"), of("go"));
    if (of("go")) byId("details").scrollIntoView({block: "start"});
  }
  else if (of("picture") !== undefined) view(+of("picture"));
  else if (of("cut") !== undefined) {
    const c = state.label, own = run().cut[c], kind = of("cut");
    setCut(kind === "best" ? bestCut(c) : nearest(cutsOf(c).cut, kind === "even" || isNaN(own) ? 0 : own));
  } else if (of("run") !== undefined) {
    state.run = +of("run");
    order();
    choose(state.label);
    drawLists();
    document.querySelector(`[data-run="${state.run}"]`).focus();
  } else if (event.target === byId("viewer")) byId("viewer").close();
});
function setCut(k) {
  state.cut = k;
  byId("cut").value = k;
  drawCut();
}
document.addEventListener("input", event => {
  if (event.target.id === "cut") setCut(+event.target.value);
  if (event.target.id === "search") { byId("grid").scrollTop = 0; order(); }
});
byId("grid").addEventListener("keydown", event => {
  const page = Math.floor(byId("grid").clientHeight / ROW) - 1, all = labels.length;
  const step = {ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -all, End: all}[event.key];
  if (event.target !== byId("grid")) return;
  if (step) { event.preventDefault(); move(step); }
  if (event.key === "Enter") { event.preventDefault(); byId("cut").focus(); }
});
byId("search").addEventListener("keydown", event => {
  if (event.key !== "ArrowDown" && event.key !== "Enter") return;
  event.preventDefault();
  byId("grid").focus();
  if (!state.order.includes(state.label)) move(0);
});
document.addEventListener("keydown", event => {
  if (event.key === "/" && !/^(input|textarea)$/i.test(event.target.tagName)) { event.preventDefault(); byId("search").focus(); }
});
byId("grid").addEventListener("scroll", () => requestAnimationFrame(() => drawRows()), {passive: true});
addEventListener("resize", () => drawRows());
addEventListener("beforeprint", () => drawRows(Math.min(PRINTED, state.order.length)));
addEventListener("afterprint", () => drawRows());

start().catch(error => { byId("details").innerHTML = `<p>This browser cannot open the numbers: ${escape(error.message)}</p>`; });

"use strict";
const AT_ONCE = 4, ROWS = 50, HEADER = ["image", "label", "answer", "given", "probability"];
const byId = id => document.getElementById(id);
const state = {photos: [], chosen: null, rows: ROWS, running: 0};
const groupOf = new Map(), moved = new Map();  // label -> name of its group, label -> threshold that was moved

function make(tag, properties = {}, ...children) {
  const {dataset = {}, style = {}, ...rest} = properties, element = document.createElement(tag);
  for (const [name, value] of Object.entries(rest)) {
    if (name.startsWith("aria-")) element.setAttribute(name, value); else element[name] = value;
  }
  Object.assign(element.dataset, dataset);
  Object.assign(element.style, style);
  element.append(...children);
  return element;
}
function count(number, word) { return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`; }
function chance(p) { return p >= 0.9995 && p < 1 ? ">0.999" : p > 0 && p < 0.0005 ? "<0.001" : p.toFixed(3); }
function warn(text) { byId("warning").textContent = text; byId("warning").hidden = !text; }
function wait(seconds) { return new Promise(resolve => setTimeout(resolve, 1000 * seconds)); }

// Asking the server: a request a photo, a few at once; where its queue is full, later again.
async function ask(path, photo, fields = {}) {
  for (;;) {
    const form = new FormData();
    form.append("files", photo.file, photo.name);
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    const response = await fetch(path, {method: "POST", body: form}).catch(() => { throw new Error("the server does not answer: is it still there?"); });
    if (response.ok) return response;
    const {detail} = await response.json().catch(() => ({detail: response.statusText}));
    if (response.status !== 503) throw new Error(detail);
    await wait(Number(response.headers.get("Retry-After")) || 1);
  }
}
function add(files) {
  const own = [...files].filter(file => file.type.startsWith("image/") || !file.type);
  warn(own.length < files.length ? "What is no image was left out." : "");
  for (const file of own) {
    state.photos.push({file, name: file.webkitRelativePath || file.name, url: URL.createObjectURL(file), shown: null, seen: new Map(), marks: new Map()});
  }
  if (!own.length) return;
  state.chosen ??= state.photos[0];
  draw();
  while (state.running < AT_ONCE && state.photos.some(photo => !photo.asked)) work();
}
async function work() {
  state.running++;
  for (let photo; (photo = state.photos.find(one => !one.asked));) {
    photo.asked = true;
    try {
      const {images: [answer]} = await (await ask("predict", photo)).json();
      photo.answer = answer;
      photo.problem = answer.error;
    } catch (error) { photo.problem = error.message; }
    drawThumbs();
    if (photo === state.chosen) drawAnswer();
  }
  state.running--;
}
async function explain(label) {
  const photo = state.chosen;
  if (photo.shown === label) { photo.shown = null; return drawAnswer(); }
  photo.shown = label;
  if (!photo.seen.has(label)) {
    photo.seen.set(label, {});
    drawAnswer();
    try { photo.seen.set(label, {url: URL.createObjectURL(await (await ask("saliency", photo, {label})).blob())}); }
    catch (error) { photo.seen.delete(label); photo.shown = null; warn(error.message); }
  }
  if (photo === state.chosen) drawAnswer();
}

// Decisions: the server's own, or by a threshold that was moved here.
function thresholdOf(score) { return moved.get(score.label) ?? score.threshold; }
function isPredicted(score) { return moved.has(score.label) ? score.probability > moved.get(score.label) : score.predicted; }

function draw() { drawThumbs(); drawAnswer(); drawTray(); }
function drawThumbs() {
  byId("photos").hidden = byId("answer").hidden = !state.photos.length;
  byId("drop").classList.toggle("first", !state.photos.length);
  byId("thumbs").replaceChildren(...state.photos.map((photo, place) => {
    const said = photo.answer?.scores.filter(isPredicted).map(score => score.label).join(", ");
    const words = photo.problem ? make("span", {className: "bad"}, "cannot be answered")
      : make("span", {className: said ? "" : "quiet", title: said ?? ""}, photo.answer ? said || "no label" : "…");
    const picture = make("img", {src: photo.url, alt: "", onerror: event => event.target.replaceWith(make("div", {className: "blank"}))});
    return make("button", {className: "thumb", "aria-pressed": photo === state.chosen, "aria-label": `${photo.name}: ${said ?? photo.problem ?? "waiting"}`,
      dataset: {photo: place}}, picture, words, make("span", {className: "quiet"}, photo.name));
  }));
}
function drawAnswer() {
  const photo = state.chosen;
  if (!photo) return;
  const seen = photo.shown === null ? null : photo.seen.get(photo.shown), picture = byId("picture");
  if (picture.src !== (seen?.url ?? photo.url)) picture.src = seen?.url ?? photo.url;
  picture.alt = seen?.url ? `what speaks for ${photo.shown}` : photo.name;
  byId("name").textContent = photo.name;
  byId("caption").textContent = photo.shown === null ? "" : seen?.url ? `what the model sees; orange speaks for ${photo.shown}` : `looking for ${photo.shown} …`;
  byId("plain").hidden = photo.shown === null;
  byId("problem").hidden = !photo.problem;
  byId("problem").textContent = photo.problem ?? "";
  drawLabels();
}
function drawLabels() {
  const photo = state.chosen, query = byId("search").value.trim().toLowerCase(), all = photo.answer?.scores ?? [];
  const wanted = all.filter(score => score.label.toLowerCase().includes(query));
  byId("found").textContent = !all.length ? "" : query ? `${wanted.length.toLocaleString("en")} of ${count(all.length, "label")}` : count(all.length, "label");
  byId("labels").replaceChildren(...wanted.slice(0, state.rows).map(score => drawLabel(photo, score)));
  byId("more").hidden = wanted.length <= state.rows;
  byId("more").textContent = `show ${Math.min(ROWS * 4, wanted.length - state.rows)} more of ${(wanted.length - state.rows).toLocaleString("en")}`;
}
function drawLabel(photo, score) {
  const {label, probability} = score, group = groupOf.get(label), mark = photo.marks.get(label);
  const bar = make("i", {style: {width: `${100 * probability}%`}});
  const name = make("span", {className: "label"}, label, ...(group ? [make("small", {}, `the largest of ${group}`)] : []));
  const row = make("li", {dataset: {label}}, name,
    make("div", {className: "scale"}, bar, ...(score.threshold === null ? [] : [drawSlider(score)])),
    make("span", {className: "chance", title: `probability ${probability}, logit ${score.logit}`}, chance(probability)),
    make("span", {className: "acts"},
      ...(document.body.dataset.saliency === "true" ? [make("button", {className: "where", "aria-pressed": photo.shown === label, title: `what speaks for ${label}`}, "where")] : []),
      make("button", {className: "wrong", "aria-pressed": Boolean(mark), title: mark ? "take the mark back" : "mark this answer as wrong"},
        mark ? `→ ${mark.answer}` : "wrong")));
  setDecision(row, score);
  return row;
}
function drawSlider(score) {
  const slider = make("input", {type: "range", min: 0, max: 1, step: "any", value: thresholdOf(score), "aria-label": `Threshold of ${score.label}`});
  slider.oninput = () => {
    moved.set(score.label, Math.round(1000 * slider.value) / 1000);
    setDecision(slider.closest("li"), score);
    drawThumbs();
    drawTray();
  };
  return slider;
}
function setDecision(row, score) {
  const threshold = thresholdOf(score);
  row.classList.toggle("yes", isPredicted(score));
  row.classList.toggle("moved", moved.has(score.label));
  const slider = row.querySelector("input");
  if (slider) {
    slider.title = `predicted above ${threshold.toPrecision(3)}`;
    slider.setAttribute("aria-valuetext", `${threshold.toPrecision(3)}: ${isPredicted(score) ? "predicted" : "not predicted"}`);
  }
}

// Corrections: the contrary of what is said here, as data.corrections= reads it.
function mark(label) {
  const {marks, answer} = state.chosen, score = answer.scores.find(one => one.label === label);
  if (!marks.delete(label)) {
    const [given, contrary] = isPredicted(score) ? ["present", "absent"] : ["absent", "present"];
    marks.set(label, {answer: contrary, given, probability: score.probability});
  }
  drawLabels();
  drawTray();
}
function lines() {
  return state.photos.flatMap(photo => [...photo.marks].map(([label, {answer, given, probability}]) => [photo.name, label, answer, given, probability]));
}
function cell(value) {
  const text = String(value);
  return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
function save() {
  const text = [HEADER, ...lines()].map(line => line.map(cell).join(",") + "\n").join("");
  const link = make("a", {href: URL.createObjectURL(new Blob([text], {type: "text/csv"})), download: "corrections.csv"});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
function drawTray() {
  const number = lines().length;
  byId("tray").hidden = !number && !moved.size;
  byId("moved").hidden = byId("reset").hidden = !moved.size;
  byId("marked").hidden = byId("save").hidden = !number;
  byId("moved").textContent = `${count(moved.size, "threshold")} moved, on this page only`;
  byId("marked").textContent = `${count(number, "answer")} marked as wrong`;
}

byId("files").onchange = event => { add(event.target.files); event.target.value = ""; };
byId("thumbs").onclick = event => {
  const thumb = event.target.closest("[data-photo]");
  if (!thumb) return;
  state.chosen = state.photos[thumb.dataset.photo];
  state.rows = ROWS;
  draw();
  byId("thumbs").children[thumb.dataset.photo].focus();
};
byId("labels").onclick = event => {
  const button = event.target.closest("button"), label = event.target.closest("li")?.dataset.label;
  if (!button) return;
  const kind = button.className;
  if (kind === "where") explain(label); else mark(label);
  for (const row of byId("labels").children) if (row.dataset.label === label) row.querySelector(`.${kind}`).focus();
};
byId("plain").onclick = () => { state.chosen.shown = null; drawAnswer(); };
byId("search").oninput = () => { state.rows = ROWS; drawLabels(); };
byId("more").onclick = () => { state.rows += 4 * ROWS; drawLabels(); };
byId("reset").onclick = () => { moved.clear(); draw(); };
byId("save").onclick = save;
byId("picture").onload = event => event.target.classList.toggle("tiny", event.target.naturalWidth < 224);
addEventListener("dragover", event => { event.preventDefault(); byId("drop").classList.add("over"); });
addEventListener("dragleave", event => { if (!event.relatedTarget) byId("drop").classList.remove("over"); });
addEventListener("drop", event => { event.preventDefault(); byId("drop").classList.remove("over"); add(event.dataTransfer.files); });
addEventListener("paste", event => { if (event.clipboardData.files.length) { event.preventDefault(); add(event.clipboardData.files); } });
addEventListener("keydown", event => {
  if (event.key === "/" && !/^(input|textarea)$/i.test(event.target.tagName) && state.photos.length) { event.preventDefault(); byId("search").focus(); }
});

fetch("labels").then(response => response.json()).then(({groups}) => {
  for (const {name, labels} of groups) for (const label of labels) groupOf.set(label, name);
  document.body.dataset.ready = "true";
}).catch(() => warn("the server does not answer"));

// The image with its brush, the map, and the map without the removed pixels. Value: {id, name, width, height, src,
// photo: {src, part}, quantity, maps: [{title, alt, src, values, scale}, the same without the removed pixels or null]}.
// Event "act": {kind: "brush", id, removed}, with one character, 0 or 1, for every pixel.
//
// Gradio's own image editor smooths pixels and uploads its layers as files. This brush paints whole pixels of the image
// as the network sees it, and no file is uploaded.
const {show} = window.kerasCoda, find = (name) => element.querySelector(name);
const canvas = find('.kc-canvas'), context = canvas.getContext('2d');
const size = find('.kc-size'), output = find('.kc-output'), restores = find('.kc-back'), clear = find('.kc-clear');
const undo = find('.kc-undo'), paint = find('.kc-paint'), opacity = find('.kc-opacity'), opaque = find('.kc-opaque');
const readout = find('.kc-readout'), voice = find('.kc-voice');
const panels = Object.fromEntries([...element.querySelectorAll('[data-panel]')].map((each) => [each.dataset.panel, each]));
let shown = null, picture = null, removed = null, scale = 1, last = null, cursor = null, hatch = null, values = [];
let before = [];  // what was removed before each stroke

// === The image ===

function label() {
  const count = removed ? removed.reduce((sum, each) => sum + each, 0) : 0;
  canvas.setAttribute('role', 'application');
  canvas.setAttribute('aria-label', `Image ${shown.name}, ${shown.width} by ${shown.height} pixels, ${count} removed`);
  undo.disabled = !before.length;
  clear.disabled = !count;
}
function draw() {
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  context.fillStyle = hatch;
  for (let i = 0; i < removed.length; i++) {
    if (removed[i]) context.fillRect((i % shown.width) * scale, Math.floor(i / shown.width) * scale, scale, scale);
  }
  if (cursor) {
    const side = Number(size.value), left = cursor[0] - Math.floor((side - 1) / 2);
    context.lineWidth = Math.max(2, scale / 10);
    context.strokeStyle = '#d9480f';
    context.strokeRect(left * scale, (cursor[1] - Math.floor((side - 1) / 2)) * scale, side * scale, side * scale);
  }
}
function pattern() {  // stripes, since a plain color could be part of the image
  const tile = document.createElement('canvas'), side = 12;
  tile.width = tile.height = side;
  const brush = tile.getContext('2d');
  brush.fillStyle = '#c9dcef';
  brush.fillRect(0, 0, side, side);
  brush.strokeStyle = '#2166ac';
  brush.lineWidth = 2;
  for (const x of [-side, 0, side]) { brush.moveTo(x, side); brush.lineTo(x + side, 0); }
  brush.stroke();
  return context.createPattern(tile, 'repeat');
}
function load() {
  const value = props.value || null, isSame = shown && value && value.id === shown.id;
  shown = value;
  panels.image.querySelector('.kc-empty').hidden = Boolean(shown);
  canvas.hidden = !shown;
  drawMaps();
  if (isSame) return;
  removed = picture = last = cursor = null;
  before = [];
  if (!shown) return;
  for (const each of element.querySelectorAll('.kc-stage')) each.style.aspectRatio = `${shown.width} / ${shown.height}`;
  const wanted = shown, image = new Image();
  image.onload = () => {
    if (shown.id !== wanted.id) return;
    picture = image;
    removed = new Uint8Array(shown.width * shown.height);
    scale = Math.max(1, Math.floor(512 / Math.max(shown.width, shown.height)));
    canvas.width = shown.width * scale;
    canvas.height = shown.height * scale;
    hatch = pattern();
    size.max = Math.max(2, Math.round(Math.max(shown.width, shown.height) / 3));
    size.value = Math.max(1, Math.round(Math.max(shown.width, shown.height) / 10));
    output.textContent = `${size.value} px`;
    draw();
    label();
    canvas.dataset.id = shown.id;
  };
  image.src = shown.src;
}

// === The maps ===

function drawMaps() {
  const [map, after] = shown ? shown.maps : [null, null];
  values = [map, after].map((each) => each && floats(each.values));
  place(panels.map, map);
  place(panels.after, after);
  panels.after.classList.toggle('kc-waiting', !after);
  show(find('.kc-scale-place'), map ? map.scale : '');
  find('.kc-after-note').textContent = after ? after.note : '';
  const under = find('.kc-under');
  under.hidden = !shown;
  if (shown) {
    const [left, top, width, height] = shown.photo.part;
    under.src = shown.photo.src;
    Object.assign(under.style, {left: `${-100 * left / width}%`, top: `${-100 * top / height}%`,
                                width: `${100 / width}%`, height: `${100 / height}%`});
  }
  if (!shown) unpoint();
}
function unpoint() {
  for (const each of element.querySelectorAll('.kc-cross')) each.hidden = true;
}
function place(panel, map) {
  const image = panel.querySelector('.kc-map'), empty = panel.querySelector('.kc-empty');
  image.hidden = !map;
  if (empty) empty.hidden = Boolean(map);
  if (!map) return image.removeAttribute('src');
  panel.querySelector('.kc-heading').textContent = map.title;
  image.alt = map.alt;
  image.src = map.src;
  return undefined;
}
function floats(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}
function point(x, y, isSpoken) {
  for (const cross of element.querySelectorAll('.kc-cross')) {
    cross.hidden = false;
    Object.assign(cross.style, {left: `${100 * x / shown.width}%`, top: `${100 * y / shown.height}%`,
                                width: `${100 / shown.width}%`, height: `${100 / shown.height}%`});
  }
  const at = y * shown.width + x;
  const texts = values.filter(Boolean).map((each) => number(each[at]));
  readout.textContent = `Column ${x + 1}, row ${y + 1}: ${texts[0]}`
    + (texts.length > 1 ? `; after the removal ${texts[1]}` : '') + '.';
  if (isSpoken) voice.textContent = readout.textContent;
}
function number(value) {
  const side = value > 0 ? 'for' : value < 0 ? 'against' : 'nothing for';
  return `${value > 0 ? '+' : value < 0 ? '−' : ''}${Math.abs(value).toPrecision(2)} (${side} ${shown.quantity})`;
}
for (const panel of Object.values(panels)) panel.querySelector('.kc-stage').addEventListener('pointermove', (event) => {
  if (shown && removed) point(...at(event, panel.querySelector('.kc-stage')), false);
});
find('.kc-panels').addEventListener('pointerleave', () => { if (!cursor) unpoint(); });
opacity.addEventListener('input', () => {
  opaque.textContent = `${opacity.value}%`;
  panels.map.querySelector('.kc-map').style.opacity = opacity.value / 100;
});

// === The brush ===

function send() {
  label();
  trigger('act', {kind: 'brush', id: shown.id, removed: Array.from(removed).join('')});
}
function remember() {
  before.push(removed.slice());
  if (before.length > 100) before.shift();
}
function back() {
  if (!removed || !before.length) return;
  removed = before.pop();
  draw();
  send();
}
function at(event, target) {
  const box = target.getBoundingClientRect();
  const within = (share, count) => Math.min(Math.max(Math.floor(share * count), 0), count - 1);
  return [within((event.clientX - box.left) / box.width, shown.width),
          within((event.clientY - box.top) / box.height, shown.height)];
}
function put(x, y) {
  const side = Number(size.value), start = Math.floor((side - 1) / 2), middle = (side - 1) / 2;
  for (let dy = 0; dy < side; dy++) for (let dx = 0; dx < side; dx++) {
    if (side > 3 && (dx - middle) ** 2 + (dy - middle) ** 2 > side * side / 4) continue;
    const column = x - start + dx, row = y - start + dy;
    if (column >= 0 && row >= 0 && column < shown.width && row < shown.height) {
      removed[row * shown.width + column] = restores.checked ? 0 : 1;
    }
  }
}
function line(from, to) {
  const steps = Math.max(1, Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]));
  for (let i = 0; i <= steps; i++) {
    put(Math.round(from[0] + (to[0] - from[0]) * i / steps), Math.round(from[1] + (to[1] - from[1]) * i / steps));
  }
}
const paints = (event) => event.pointerType !== 'touch' || paint.getAttribute('aria-pressed') === 'true';
canvas.addEventListener('pointerdown', (event) => {
  if (!removed || event.button) return;
  point(...at(event, canvas), false);
  if (!paints(event)) return;
  canvas.setPointerCapture(event.pointerId);
  cursor = null;
  remember();
  last = at(event, canvas);
  line(last, last);
  draw();
});
canvas.addEventListener('pointermove', (event) => {
  if (!removed || !last) return;
  const next = at(event, canvas);
  line(last, next);
  last = next;
  draw();
});
for (const name of ['pointerup', 'pointercancel']) canvas.addEventListener(name, () => {
  if (!removed || !last) return;
  last = null;
  send();
});
canvas.addEventListener('keydown', (event) => {
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (!removed || (!step && event.key !== ' ')) return;
  event.preventDefault();
  cursor = cursor || [Math.floor(shown.width / 2), Math.floor(shown.height / 2)];
  if (step) {
    cursor = [Math.min(Math.max(cursor[0] + step[0], 0), shown.width - 1),
              Math.min(Math.max(cursor[1] + step[1], 0), shown.height - 1)];
    point(...cursor, true);
  } else {
    remember();
    put(...cursor);
    send();
  }
  draw();
});
canvas.addEventListener('blur', () => { cursor = null; unpoint(); if (removed) draw(); });
document.addEventListener('keydown', (event) => {
  const isText = event.target.closest?.('input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea');
  if (!(event.ctrlKey || event.metaKey) || event.shiftKey || event.key !== 'z' || isText || !canvas.offsetParent) return;
  event.preventDefault();
  back();
});
size.addEventListener('input', () => { output.textContent = `${size.value} px`; if (removed) draw(); });
undo.addEventListener('click', back);
paint.hidden = !navigator.maxTouchPoints;
paint.addEventListener('click', () => {
  const isOn = paint.getAttribute('aria-pressed') !== 'true';
  paint.setAttribute('aria-pressed', String(isOn));
  canvas.classList.toggle('kc-painting', isOn);
});
clear.addEventListener('click', () => {
  if (!removed) return;
  remember();
  removed.fill(0);
  draw();
  send();
});
watch('value', load);
load();

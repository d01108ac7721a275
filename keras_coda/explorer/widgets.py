"""The parts of the page that run in the browser: the image with its brush, buttons, downloads; and the style.

Gradio's own image editor smooths pixels and uploads its layers as files. This one paints whole pixels of the network's
input, and sends one character for each.
"""

# === Events in their order ===

# Gradio opens a stream for the outcome of an event, and both ends close it when no other event is under way. One that
# is sent at that moment finds it open, and its outcome is not shown before a later event opens another. Nor need
# outcomes be shown in their order: what arrives before the answer to the request that sent an event is set aside. So an
# event is sent when the stream of the one before has ended; the server takes one at a time anyway.
HEAD = """
<script>
(() => {
  const send = window.fetch;
  let last = Promise.resolve(), opened = () => {};
  window.fetch = (resource, options) => {
    const address = String(resource.url || resource);
    if (address.includes('/queue/data')) {
      const stream = send(resource, options);
      opened(stream.then((response) => response.clone().text()).catch(() => {}));  // aborted at its end
      return stream;
    }
    if (!address.includes('/queue/join')) return send(resource, options);
    const answer = last.then(() => send(resource, options));
    const ended = answer.then((response) => response.ok && new Promise((done) => {
      opened = done;
      setTimeout(done, 5000);  // if there is no stream, for whatever reason
    }));
    last = ended.catch(() => {}).then(() => new Promise((done) => setTimeout(done)));  // Gradio notes the end, too
    return answer;
  };
})();
</script>
"""

# === The image and its brush: value {id, src, width, height, name}, event "brush" {id, gone} ===

BRUSH_HTML = """
<div class="kc-heading">Image, as the network sees it</div>
<div class="kc-stage"><p class="kc-empty">Give an image, or choose an example.</p>
<canvas class="kc-canvas" tabindex="0" hidden></canvas></div>
<div class="kc-tools">
<label>Brush <input class="kc-size" type="range" min="1" value="1" aria-label="Brush size in pixels"></label>
<output class="kc-output">1 px</output>
<label><input class="kc-back" type="checkbox"> bring back</label>
<button class="kc-clear" type="button">All back</button>
</div>
<p class="kc-note">Paint with mouse or finger; or with arrow keys, and space to paint.</p>
"""

BRUSH_JS = """
const find = (name) => element.querySelector(name);
const canvas = find('.kc-canvas'), stage = find('.kc-stage'), context = canvas.getContext('2d');
const size = find('.kc-size'), output = find('.kc-output'), back = find('.kc-back'), clear = find('.kc-clear');
let shown = null, picture = null, gone = null, scale = 1, last = null, cursor = null, hatch = null;

function label() {
  const count = gone ? gone.reduce((sum, each) => sum + each, 0) : 0;
  canvas.setAttribute('role', 'application');
  canvas.setAttribute('aria-label', `Image ${shown.name}, ${shown.width} by ${shown.height} pixels, ${count} gone`);
}
function draw() {
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  context.fillStyle = hatch;
  for (let i = 0; i < gone.length; i++) {
    if (gone[i]) context.fillRect((i % shown.width) * scale, Math.floor(i / shown.width) * scale, scale, scale);
  }
  if (cursor) {
    const side = Number(size.value), left = cursor[0] - Math.floor((side - 1) / 2);
    context.lineWidth = Math.max(2, scale / 10);
    context.strokeStyle = '#d9480f';
    context.strokeRect(left * scale, (cursor[1] - Math.floor((side - 1) / 2)) * scale, side * scale, side * scale);
  }
}
function pattern() {  // what is gone is no color of an image: stripes
  const tile = document.createElement('canvas'), side = 12;
  tile.width = tile.height = side;
  const paint = tile.getContext('2d');
  paint.fillStyle = '#c9dcef';
  paint.fillRect(0, 0, side, side);
  paint.strokeStyle = '#2166ac';
  paint.lineWidth = 2;
  for (const x of [-side, 0, side]) { paint.moveTo(x, side); paint.lineTo(x + side, 0); }
  paint.stroke();
  return context.createPattern(tile, 'repeat');
}
function load() {
  const value = props.value;
  if (shown && value && value.id === shown.id) return;
  shown = value || null;
  find('.kc-empty').hidden = Boolean(shown);
  canvas.hidden = !shown;
  gone = picture = last = cursor = null;
  if (!shown) return;
  const wanted = shown, image = new Image();
  image.onload = () => {
    if (shown !== wanted) return;
    picture = image;
    gone = new Uint8Array(shown.width * shown.height);
    scale = Math.max(1, Math.floor(512 / Math.max(shown.width, shown.height)));
    canvas.width = shown.width * scale;
    canvas.height = shown.height * scale;
    stage.style.aspectRatio = `${shown.width} / ${shown.height}`;
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
function send() {
  label();
  trigger('brush', {id: shown.id, gone: Array.from(gone).join('')});
}
function at(event) {
  const box = canvas.getBoundingClientRect();
  return [Math.floor((event.clientX - box.left) / box.width * shown.width),
          Math.floor((event.clientY - box.top) / box.height * shown.height)];
}
function put(x, y) {
  const side = Number(size.value), start = Math.floor((side - 1) / 2), middle = (side - 1) / 2;
  for (let dy = 0; dy < side; dy++) for (let dx = 0; dx < side; dx++) {
    if (side > 3 && (dx - middle) ** 2 + (dy - middle) ** 2 > side * side / 4) continue;
    const column = x - start + dx, row = y - start + dy;
    if (column >= 0 && row >= 0 && column < shown.width && row < shown.height) {
      gone[row * shown.width + column] = back.checked ? 0 : 1;
    }
  }
}
function line(from, to) {
  const steps = Math.max(1, Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]));
  for (let i = 0; i <= steps; i++) {
    put(Math.round(from[0] + (to[0] - from[0]) * i / steps), Math.round(from[1] + (to[1] - from[1]) * i / steps));
  }
}
canvas.addEventListener('pointerdown', (event) => {
  if (!gone || event.button) return;
  canvas.setPointerCapture(event.pointerId);
  cursor = null;
  last = at(event);
  line(last, last);
  draw();
});
canvas.addEventListener('pointermove', (event) => {
  if (!gone || !last) return;
  const next = at(event);
  line(last, next);
  last = next;
  draw();
});
for (const name of ['pointerup', 'pointercancel']) canvas.addEventListener(name, () => {
  if (!gone || !last) return;
  last = null;
  send();
});
canvas.addEventListener('keydown', (event) => {
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (!gone || (!step && event.key !== ' ')) return;
  event.preventDefault();
  cursor = cursor || [Math.floor(shown.width / 2), Math.floor(shown.height / 2)];
  if (step) {
    cursor = [Math.min(Math.max(cursor[0] + step[0], 0), shown.width - 1),
              Math.min(Math.max(cursor[1] + step[1], 0), shown.height - 1)];
  } else {
    put(...cursor);
    send();
  }
  draw();
});
canvas.addEventListener('blur', () => { cursor = null; if (gone) draw(); });
size.addEventListener('input', () => { output.textContent = `${size.value} px`; if (gone) draw(); });
clear.addEventListener('click', () => {
  if (!gone) return;
  gone.fill(0);
  draw();
  send();
});
watch('value', load);
load();
"""

# === Buttons in HTML that Python wrote: event "pick" {index} ===

PICK_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-index]');
  if (button) trigger('pick', {index: Number(button.dataset.index)});
});
"""

# === Downloads: value {name, data, number}, a file that never lies on the server's disk ===

DOWNLOAD_JS = """
watch('value', () => {
  const file = props.value;
  if (!file || !file.data) return;
  const bytes = Uint8Array.from(atob(file.data), (letter) => letter.charCodeAt(0));
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([bytes], {type: file.kind}));
  link.download = file.name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
});
"""

CSS = """
.gradio-container { max-width: 1400px !important; }
.gradio-container .html-container { padding: 0; }
#message:not(:has(.kc-message)), #grid-message:not(:has(.kc-message)) { display: none; }
.kc-title h1 { margin: 0 0 .15em; }
.kc-heading { font-size: .95rem; line-height: 1.5rem; height: 1.5rem; margin-bottom: .35rem; white-space: nowrap;
  overflow: hidden; text-overflow: ellipsis; }
.kc-stage { position: relative; width: 100%; aspect-ratio: 1; background: var(--background-fill-secondary);
  border: 1px solid var(--border-color-primary); box-sizing: border-box; overflow: hidden; }
.kc-map, .kc-canvas { display: block; width: 100%; height: 100%; margin: 0; image-rendering: pixelated;
  border-radius: 0; }
.kc-canvas { touch-action: none; cursor: crosshair; }
.kc-canvas[hidden], .kc-empty[hidden] { display: none; }
.kc-canvas:focus-visible { outline: 3px solid #d9480f; outline-offset: -3px; }
.kc-empty { position: absolute; inset: 0; display: grid; place-items: center; margin: 0; padding: 1rem;
  text-align: center; color: var(--body-text-color); opacity: .8; }
.kc-tools { display: flex; flex-wrap: wrap; align-items: center; gap: .3rem .7rem; margin-top: .5rem;
  font-size: .85rem; min-height: 2rem; }
.kc-tools label { display: flex; align-items: center; gap: .35rem; }
.kc-tools input[type=range] { width: 6rem; accent-color: #2166ac; }
.kc-tools input[type=checkbox] { width: 1.1rem; height: 1.1rem; accent-color: #2166ac; }
.kc-clear { border: 1px solid var(--border-color-primary); border-radius: 4px; padding: .2rem .6rem;
  background: var(--button-secondary-background-fill); color: var(--body-text-color); font-weight: 400;
  font-size: .85rem; }
.kc-note { margin: .35rem 0; font-size: .8rem; line-height: 1.35; color: var(--body-text-color); opacity: .72; }
.kc-scale { display: flex; align-items: center; gap: .6rem; margin-top: .5rem; min-height: 2rem; font-size: .75rem;
  line-height: 1.15; }
.kc-scale span:last-child { text-align: right; }
.kc-gradient { flex: 1; height: .8rem; border: 1px solid var(--border-color-primary); background:
  linear-gradient(90deg, #053061, #2166ac, #4393c3, #92c5de, #d1e5f0, #f7f7f7, #fddbc7, #f4a582, #d6604d, #b2182b,
  #67001f); }
.gradio-container .kc-table { border: 0 !important; border-collapse: collapse; width: 100%; font-size: .85rem;
  margin: .4rem 0; }
.kc-table caption { text-align: left; font-weight: 600; padding: .2rem 0; }
.kc-table th { text-align: left; font-weight: 400; }
.kc-table thead th { font-size: .78rem; opacity: .8; }
.gradio-container .kc-table :is(thead, tbody, tr) { border: 0 !important; }
.gradio-container .kc-table :is(td, th) { padding: .18rem .3rem; border: 0 !important; color: var(--body-text-color);
  border-bottom: 1px solid var(--border-color-primary) !important; }
.kc-table td { font-variant-numeric: tabular-nums; }
.kc-share, .kc-real, .kc-predicted, .kc-difference { white-space: nowrap; }
.kc-table td:last-child, .kc-table thead th:last-child, .kc-table:not(.kc-evidence) td:nth-child(2) {
  text-align: right; }
.kc-file { max-width: 8rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.kc-bar { display: grid; grid-template-columns: minmax(4rem, 6.5rem) 1fr 4.2rem; align-items: center; gap: .5rem;
  width: 100%; min-height: 2.1rem; padding: .15rem .4rem; margin: 0 0 .15rem; border: 2px solid transparent;
  border-radius: 5px; background: none; color: var(--body-text-color); font-size: .9rem; font-weight: 400;
  cursor: pointer; }
.kc-bar:hover { background: var(--background-fill-secondary); }
.kc-bar[aria-pressed=true] { border-color: #2166ac; font-weight: 600; }
.kc-name { text-align: left; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.kc-track { height: .75rem; background: var(--border-color-primary); border-radius: 2px; overflow: hidden; }
.kc-fill { display: block; height: 100%; min-width: 1px; background: #2166ac; }
.kc-value { text-align: right; font-variant-numeric: tabular-nums; }
.kc-gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(3.2rem, 1fr)); gap: .3rem; }
.kc-example { padding: 0; border: 2px solid var(--border-color-primary); background: none; cursor: pointer;
  aspect-ratio: 1; overflow: hidden; border-radius: 4px; }
.kc-example:hover, .kc-example:focus-visible { border-color: #2166ac; }
.kc-example img { width: 100%; height: 100%; object-fit: cover; image-rendering: pixelated; margin: 0;
  border-radius: 0; }
.kc-cells { position: absolute; inset: 0; display: grid; }
.kc-cells span { border: .5px solid #555; padding: 2px; }
.kc-cells b { background: rgba(255, 255, 255, .88); color: #111; font-size: .75rem; padding: 0 .25rem;
  border-radius: 3px; }
.kc-message { padding: .6rem .8rem; border-radius: 5px; border-left: 5px solid; font-size: .9rem;
  overflow-wrap: anywhere; }
.kc-error { border-color: #b2182b; background: #fdecea; color: #5f0f17; }
.kc-hint { border-color: #2166ac; background: #e8f0f8; color: #12395f; }
.kc-message b { color: inherit; }
"""

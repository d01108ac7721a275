// The image with its brush. Value: {id, src, width, height, name}. Event "brush": {id, removed}, with one character,
// 0 or 1, for every pixel.
//
// Gradio's own image editor smooths pixels and uploads its layers as files. This brush paints whole pixels of the image
// as the network sees it, and no file is uploaded.
const find = (name) => element.querySelector(name);
const canvas = find('.kc-canvas'), stage = find('.kc-stage'), context = canvas.getContext('2d');
const size = find('.kc-size'), output = find('.kc-output'), restores = find('.kc-back'), clear = find('.kc-clear');
let shown = null, picture = null, removed = null, scale = 1, last = null, cursor = null, hatch = null;

function label() {
  const count = removed ? removed.reduce((sum, each) => sum + each, 0) : 0;
  canvas.setAttribute('role', 'application');
  canvas.setAttribute('aria-label', `Image ${shown.name}, ${shown.width} by ${shown.height} pixels, ${count} removed`);
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
  removed = picture = last = cursor = null;
  if (!shown) return;
  const wanted = shown, image = new Image();
  image.onload = () => {
    if (shown !== wanted) return;
    picture = image;
    removed = new Uint8Array(shown.width * shown.height);
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
  trigger('brush', {id: shown.id, removed: Array.from(removed).join('')});
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
canvas.addEventListener('pointerdown', (event) => {
  if (!removed || event.button) return;
  canvas.setPointerCapture(event.pointerId);
  cursor = null;
  last = at(event);
  line(last, last);
  draw();
});
canvas.addEventListener('pointermove', (event) => {
  if (!removed || !last) return;
  const next = at(event);
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
  } else {
    put(...cursor);
    send();
  }
  draw();
});
canvas.addEventListener('blur', () => { cursor = null; if (removed) draw(); });
size.addEventListener('input', () => { output.textContent = `${size.value} px`; if (removed) draw(); });
clear.addEventListener('click', () => {
  if (!removed) return;
  removed.fill(0);
  draw();
  send();
});
watch('value', load);
load();

// Where images come from: a file, a drop, the clipboard, the camera. Event "act": {kind, path, paths}.
const {give, say} = window.kerasCoda, find = (name) => element.querySelector(name), kind = props.kind;
const input = find('.kc-file'), lens = find('.kc-lens'), video = find('.kc-video'), box = find('.kc-source');
input.multiple = kind === 'cells';
function take(files) {
  const images = [...files].filter((file) => file instanceof File);
  if (images.length) give(kind === 'cells' ? images : images.slice(0, 1), kind, {}, upload, trigger);
}
input.addEventListener('change', () => { take(input.files); input.value = ''; });
for (const name of ['dragover', 'dragleave', 'drop']) box.addEventListener(name, (event) => {
  event.preventDefault();
  box.classList.toggle('kc-over', name === 'dragover');
  if (name === 'drop') take(event.dataTransfer.files);
});
document.addEventListener('paste', (event) => {
  if (element.offsetParent && event.clipboardData.files.length) take(event.clipboardData.files);  // of the open tab
});
function stop() {
  for (const track of video.srcObject?.getTracks() || []) track.stop();
  video.srcObject = null;
  lens.hidden = true;
}
find('.kc-camera').addEventListener('click', async () => {
  say('');
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({video: {facingMode: 'environment'}});
    lens.hidden = false;
    find('.kc-snap').focus();
  } catch (error) {
    say('The browser gives no camera to this page. Choose a file instead.');
  }
});
find('.kc-stop').addEventListener('click', stop);
find('.kc-snap').addEventListener('click', () => {
  if (!video.videoWidth) return;
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext('2d').drawImage(video, 0, 0);
  stop();
  canvas.toBlob((blob) => take([new File([blob], 'camera.png', {type: 'image/png'})]), 'image/png');
});

// In the head of the page: the order of events, and what the scripts of all parts share.
(() => {
  // Sends events one after the other, in the order in which they happened.
  //
  // Gradio opens a stream for the result of an event, and page and server both close it when no other event is running.
  // An event that is sent at this moment finds the stream still open, so its result is not shown before a later event
  // opens another stream. Results may also be shown in the wrong order: Gradio sets aside what arrives before the
  // answer to the request that sent the event. Therefore an event is sent only after the stream of the one before has
  // ended. This costs no time: the server runs one event at a time anyway.
  const send = window.fetch;
  let last = Promise.resolve(), opened = () => {}, waiting = 0;
  window.fetch = (resource, options) => {
    const address = String(resource.url || resource);
    if (address.includes('/queue/data')) {
      const stream = send(resource, options);
      opened(stream.then((response) => response.clone().text()).catch(() => {}));  // Gradio aborts it at its end
      return stream;
    }
    if (!address.includes('/queue/join')) return send(resource, options);
    waiting += 1;
    setTimeout(tell, 400);
    const answer = last.then(() => send(resource, options));
    const ended = answer.then((response) => response.ok && new Promise((done) => {
      opened = done;
      setTimeout(done, 5000);  // in case no stream is opened
    }));
    last = ended.catch(() => {}).then(() => new Promise((done) => setTimeout(done)));  // after Gradio has seen the end
    last.then(() => { waiting -= 1; tell(); });
    return answer;
  };
  function tell() {
    const place = document.querySelector('.kc-busy');
    if (place && !waiting) place.textContent = '';
    else if (place && !place.textContent) place.textContent = 'The network is computing …';
  }

  // Makes the children of `old` like those of `wanted`, and leaves alone what is the same: the focus, an open list, and
  // what is folded stay as they are.
  function morph(old, wanted) {
    const now = [...old.childNodes], then = [...wanted.childNodes];
    then.forEach((node, index) => {
      const place = now[index];
      if (!place) return old.append(node);
      if (place.nodeType !== node.nodeType || place.nodeName !== node.nodeName) return place.replaceWith(node);
      if (node.nodeType !== Node.ELEMENT_NODE) {
        if (place.nodeValue !== node.nodeValue) place.nodeValue = node.nodeValue;
        return undefined;
      }
      for (const {name} of [...place.attributes]) {
        if (!node.hasAttribute(name) && !(name === 'open' && place.nodeName === 'DETAILS')) place.removeAttribute(name);
      }
      for (const {name, value} of [...node.attributes]) {
        if (place.getAttribute(name) !== value && name !== 'open') place.setAttribute(name, value);
      }
      morph(place, node);
      restore(place);
      return undefined;
    });
    now.slice(then.length).forEach((node) => node.remove());
  }
  // Gives an input the value that the server knows, unless somebody is typing in it.
  function restore(input) {
    const types = document.activeElement === input && !input.kcSent;
    if (input.nodeName === 'SELECT') {
      const chosen = input.querySelector('option[selected]');
      if (chosen && !types) input.value = chosen.value;
    } else if (input.type === 'checkbox' || input.type === 'radio') {
      input.checked = input.hasAttribute('checked');
    } else if (input.nodeName === 'INPUT' && input.type !== 'file' && !types) {
      input.value = input.getAttribute('value');
    }
    input.kcSent = false;
  }
  // Shows HTML that the server wrote, and that has no text of others unescaped.
  function show(place, html) {
    const wanted = document.createElement('div');
    wanted.innerHTML = html || '';
    morph(place, wanted);
    if (place.kcShown || !html) return;
    place.kcShown = true;
    if (matchMedia('(max-width: 1000px)').matches) {
      for (const each of place.querySelectorAll('details[data-fold]')) each.open = false;
    }
  }
  function say(text) {
    const place = document.querySelector('.kc-local');
    if (!place) return;
    place.textContent = text;
    place.hidden = !text;
  }
  // Uploads files and tells the server about them.
  async function give(files, kind, data, upload, trigger) {
    const limit = Number(document.querySelector('[data-max-upload-mb]')?.dataset.maxUploadMb || 10);
    say('');
    const large = files.find((file) => file.size > limit * 2 ** 20);
    if (large) return say(`An image file may have up to ${limit} MiB. Received: '${large.name}'. Make it smaller.`);
    try {
      const paths = [];
      for (const file of files) paths.push((await upload(file)).path);
      if (paths.length) trigger('act', {kind, ...data, path: paths[0], paths});
    } catch (error) {
      say('The file did not reach the server. Try again in a minute.');
    }
    return undefined;
  }
  window.kerasCoda = {show, say, give};
})();

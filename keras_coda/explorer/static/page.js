// In the head of the page: sends events one after the other, in the order in which they happened.
//
// Gradio opens a stream for the result of an event, and page and server both close it when no other event is running.
// An event that is sent at this moment finds the stream still open, so its result is not shown before a later event
// opens another stream. Results may also be shown in the wrong order: Gradio sets aside what arrives before the answer
// to the request that sent the event. Therefore an event is sent only after the stream of the one before has ended.
// This costs no time: the server runs one event at a time anyway.
(() => {
  const send = window.fetch;
  let last = Promise.resolve(), opened = () => {};
  window.fetch = (resource, options) => {
    const address = String(resource.url || resource);
    if (address.includes('/queue/data')) {
      const stream = send(resource, options);
      opened(stream.then((response) => response.clone().text()).catch(() => {}));  // Gradio aborts it at its end
      return stream;
    }
    if (!address.includes('/queue/join')) return send(resource, options);
    const answer = last.then(() => send(resource, options));
    const ended = answer.then((response) => response.ok && new Promise((done) => {
      opened = done;
      setTimeout(done, 5000);  // in case no stream is opened
    }));
    last = ended.catch(() => {}).then(() => new Promise((done) => setTimeout(done)));  // after Gradio has seen the end
    return answer;
  };
})();

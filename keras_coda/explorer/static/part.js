// A part of the page in HTML that Python wrote. Value: the HTML. Event "act": {kind, ...}, of a button the data-*
// attributes, of an input or a list these and `value`.
const {show, say, give} = window.kerasCoda, place = element.querySelector('.kc-part');
function act(target, value) {
  say('');
  trigger('act', {...target.dataset, ...(value === undefined ? {} : {value})});
}
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-kind]');
  if (button) act(button);
});
element.addEventListener('change', (event) => {
  const input = event.target;
  if (!input.dataset.kind) return;
  if (input.type === 'file') {
    give([...input.files], input.dataset.kind, {...input.dataset}, upload, trigger);
    input.value = '';
    return;
  }
  input.kcSent = true;
  act(input, input.type === 'checkbox' ? (input.checked ? input.dataset.on : input.dataset.off) : input.value);
});
watch('value', () => show(place, props.value));
show(place, props.value);

// The address of the page has what it shows, except uploads. Value: the query, "?network=...".
watch('value', () => { if (props.value) history.replaceState(history.state, '', props.value); });

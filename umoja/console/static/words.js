// What the scripts say, in the language of the page: `say(sentence, fields)`. English where nothing else is known.
"use strict";
const said = JSON.parse(document.body.dataset.words || "{}");
// eslint-disable-next-line no-unused-vars -- the other scripts call it by this name
const _ = (sentence, fields = {}) => (said[sentence] ?? sentence).replace(/\{([a-z_]+)\}/g, (whole, name) => String(fields[name] ?? whole));

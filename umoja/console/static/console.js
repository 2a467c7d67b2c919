// The console's own script: live parts, keys, theme. No framework, nothing from another host.
"use strict";
(() => {
  const root = document.documentElement;
  const at = (id) => document.getElementById(id);

  // Light or dark
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const turn = () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("umoja-theme", root.dataset.theme); } catch { /* it holds for this page */ }
  };
  at("theme")?.addEventListener("click", turn);

  // The clock is the centre's, however wrong this machine's may be.
  const clock = at("utc");
  let ahead = clock ? Date.parse(clock.dateTime) - Date.now() : 0;
  const time = (ms) => new Date(ms).toISOString().slice(11, 19) + " UTC";
  const tick = () => { clock.textContent = time(Date.now() + ahead); };
  if (clock) setInterval(tick, 1000);

  // Keys
  // Single keys can be switched off: who speaks to the machine would press them without meaning to.
  const help = at("help");
  const keys = at("keys");
  const keep = (name, value) => { try { localStorage.setItem(name, value); } catch { /* it holds for this page */ } };
  let areKeysOn = true;
  try { areKeysOn = localStorage.getItem("umoja-keys") !== "off"; } catch { /* as they are */ }
  const tellKeys = () => { keys.textContent = areKeysOn ? _("Switch single keys off") : _("Switch single keys on"); };
  if (keys) tellKeys();
  keys?.addEventListener("click", () => { areKeysOn = !areKeysOn; keep("umoja-keys", areKeysOn ? "on" : "off"); tellKeys(); });
  at("help-open")?.addEventListener("click", () => help.showModal());
  const places = { w: "/", i: "/incidents", l: "/alarms", h: document.querySelector('nav a[href="/handset"]') ? "/handset" : "" };
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (!areKeysOn || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.closest?.("input, textarea, select, [data-keys]") || help?.open) return;
    if (key === "?") { event.preventDefault(); help?.showModal(); return; }
    if (key === "t") { turn(); return; }
    // What a page offers by a key of its own: a button is pressed, a field is gone to.
    const own = /^[a-z]$/.test(key) && document.querySelector(`[data-key="${key}"]`);
    if (own) {
      event.preventDefault();
      if (own.nodeName === "BUTTON") own.click(); else own.focus();
      return;
    }
    const market = /^[1-9]$/.test(key) ? help?.querySelectorAll('a[href^="/markets/"]')[key - 1] : null;
    const to = market?.getAttribute("href") || places[key];
    if (to) location.href = to;
  });

  // What is shown becomes what is new, node by node: focus, selection and scrolling stay.
  const morph = (old, fresh) => {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeName !== fresh.nodeName || (old.id || "") !== (fresh.id || "")) { old.replaceWith(fresh); return; }
    if (old.nodeType !== Node.ELEMENT_NODE) { old.nodeValue = fresh.nodeValue; return; }
    // What a reader has folded out stays so.
    const isHers = (name) => name === "open" && old.nodeName === "DETAILS";
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !isHers(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const [have, want] = [[...old.childNodes], [...fresh.childNodes]];
    want.forEach((node, place) => (have[place] ? morph(have[place], node) : old.append(node)));
    have.slice(want.length).forEach((node) => node.remove());
  };

  const live = at("live");
  const states = { good: _("good"), attention: _("attention"), bad: _("bad"), blind: _("blind") };
  if (!live) return;
  let heard = Date.now();
  const paint = () => {
    for (const card of live.querySelectorAll("[data-market]")) {
      const land = document.querySelector(`[data-place="${CSS.escape(card.dataset.market)}"]`);
      if (!land) continue;
      land.dataset.state = card.dataset.state;
      const name = land.querySelector("title");
      name.textContent = name.textContent.replace(/: [^:]+$/, ": " + states[card.dataset.state]);
    }
  };
  const news = (text) => {
    heard = Date.now();
    const fresh = live.cloneNode(false);
    fresh.innerHTML = text;
    morph(live, fresh);
    const told = live.querySelector("[data-at]");
    if (told) ahead = Date.parse(told.dataset.at) - Date.now();
    document.body.classList.remove("is-stale");
    at("stale").hidden = true;
    paint();
  };
  // What is not heard of is blind: it keeps neither its colour nor its word.
  const watch = (after) => setInterval(() => {
    if (Date.now() - heard < after || document.body.classList.contains("is-stale")) return;
    document.body.classList.add("is-stale");
    at("stale").textContent = _("No news from the centre since {time}. Nothing below may be taken as good.", { time: time(heard + ahead) });
    at("stale").hidden = false;
    for (const each of live.querySelectorAll("[data-state]:not([data-state=''])")) each.dataset.state = "blind";
    for (const each of live.querySelectorAll(".light")) each.textContent = states.blind;
    for (const each of live.querySelectorAll(".verdict")) each.lastChild.nodeValue = _("Nothing is heard");
    paint();
  }, 500);

  if (live.dataset.stream) {
    let stream;
    const listen = () => {
      stream = new EventSource(live.dataset.stream);
      stream.addEventListener("wall", (event) => news(JSON.parse(event.data)));
      stream.addEventListener("error", () => {
        // Refused, not lost: signed out, or too many look. Loading anew says which.
        if (stream.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 15000);
      });
    };
    addEventListener("pagehide", () => stream.close());
    addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
    listen();
    watch(7000);
  }
  if (live.dataset.refresh) {
    const renew = async () => {
      if (document.hidden) heard = Date.now();
      else {
        try {
          const answer = await fetch(live.dataset.refresh, { signal: AbortSignal.timeout(5000) });
          if (answer.status === 401) { location.reload(); return; }
          if (answer.ok) news(await answer.text());
        } catch { /* the banner says since when there is no news */ }
      }
      setTimeout(renew, 3000);
    };
    setTimeout(renew, 3000);
    watch(10000);
  }
})();

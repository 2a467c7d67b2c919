// The handset: phones that dial the real USSD callback, as a gateway would.
"use strict";
(() => {
  const INBOX_EVERY_MS = 2000;
  const ANSWER_WITHIN_MS = 30000;
  const market = document.getElementById("market");
  const trouble = document.getElementById("trouble");
  const phones = {};
  const roles = { customer: _("customers"), agent: _("agents") };
  let about = null;
  let active = null;

  const tell = (text) => { trouble.textContent = text; trouble.hidden = !text; };
  const ask = async (path) => {
    const answer = await fetch(path, { headers: { accept: "application/json" } });
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.json();
  };
  const local = (number) => "+" + number;
  const hour = (date) => new Intl.DateTimeFormat("en-GB", { timeZone: about.zone, hour: "2-digit", minute: "2-digit" }).format(date);
  const random = () => [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

  // A screen that begins with a brand in Latin letters is Arabic all the same.
  const isArabic = (text) => /[\u0600-\u06ff]/.test(text);
  const turn = (element, text) => {
    element.dir = isArabic(text) ? "rtl" : "ltr";
    if (text) element.lang = isArabic(text) ? "ar" : ""; // whatever it is, it is not the page's
    else element.removeAttribute("lang");
  };

  class Phone {
    constructor(side) {
      this.side = side;
      this.part = Object.fromEntries([...side.querySelectorAll("[data-part]")].map((each) => [each.dataset.part, each]));
      this.body = side.querySelector(".phone");
      this.part.person.addEventListener("change", () => this.take());
      side.addEventListener("focusin", () => this.wake());
      side.addEventListener("pointerdown", () => this.wake());
      side.querySelectorAll("[data-press]").forEach((key) => key.addEventListener("click", () => { this.press(key.dataset.press); }));
      this.body.addEventListener("keydown", (event) => this.key(event));
      this.part.eye.addEventListener("click", () => { this.hide(this.part.typed.type === "text"); this.part.typed.focus(); });
      this.part.drop.addEventListener("click", () => { this.drop(); this.part.typed.focus({ preventScroll: true }); });
    }

    // What is typed is hidden where a PIN is asked for; the eye shows it.
    hide(isHidden) {
      this.part.typed.type = isHidden ? "password" : "text";
      this.part.eye.setAttribute("aria-pressed", String(!isHidden));
    }

    wake() {
      active = this;
      for (const phone of Object.values(phones)) phone.body.classList.toggle("is-active", phone === this);
    }

    offer(people, chosen) {
      const groups = new Map();
      people.forEach((person, place) => {
        if (!groups.has(person.role)) groups.set(person.role, Object.assign(document.createElement("optgroup"), { label: roles[person.role] ?? person.role + "s" }));
        groups.get(person.role).append(new Option(`${person.name} · ${local(person.phone)}`, String(place)));
      });
      this.part.person.replaceChildren(...groups.values());
      if (people.length) this.part.person.value = String(chosen);
      this.take();
    }

    take() {
      this.person = about.phones[Number(this.part.person.value)] ?? null;
      this.known = "";
      this.part.brand.textContent = about.brand;
      this.show([], true);
      this.hangUp();
      this.hint();
      Object.values(phones).forEach((phone) => phone.hint());
    }

    hint() {
      if (!this.person) { this.part.hint.textContent = _("Nobody to play in this market."); return; }
      const other = Object.values(phones).find((phone) => phone !== this)?.person;
      const chips = [[_("Dial"), about.ussd], [_("PIN"), this.person.pin], [_("Other phone"), other ? local(other.phone) : ""], [_("Agent"), other?.code ?? ""]];
      this.part.hint.replaceChildren(...chips.filter(([, value]) => value).map(([name, value]) => {
        const chip = Object.assign(document.createElement("button"), { type: "button", className: "chip", title: _("Type {value}", { value }) });
        chip.append(name + " ", Object.assign(document.createElement("b"), { textContent: value }));
        chip.addEventListener("click", () => { this.wake(); this.part.typed.value = value === about.ussd && !this.session ? value : this.part.typed.value + value; this.part.typed.focus(); });
        return chip;
      }));
    }

    idle() {
      this.session = "";
      this.path = [];
      this.part.typed.value = "";
      this.hide(false);
      this.part.eye.hidden = true;
      this.part.drop.disabled = true;
      this.part.call.textContent = _("Call");
      this.part.mode.textContent = "";
      this.body.classList.remove("in-session");
    }

    // The callback is not told, as no gateway would tell it: who dials again soon is asked to go on.
    drop() {
      this.hangUp();
      this.part.text.textContent = _("The line dropped. Dial {code} again to go on.", { code: about.ussd });
    }

    hangUp() {
      this.asking?.abort();
      this.idle();
      turn(this.part.screen, "");
      this.part.text.textContent = about ? _("Dial {code} and press Call.", { code: about.ussd }) : "";
      this.body.classList.add("is-idle");
    }

    press(key) {
      const { typed } = this.part;
      if (key === "call") this.call();
      else if (key === "end") this.hangUp();
      else if (key === "back") typed.value = typed.value.slice(0, -1);
      else if (typed.value.length < 160) typed.value += key;
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const inField = event.target === this.part.typed;
      const key = event.key;
      if (key === "Enter" && !event.target.closest("button")) { event.preventDefault(); this.call(); }
      else if (key === "Escape") { event.preventDefault(); this.hangUp(); }
      else if (!inField && /^[0-9*#+]$/.test(key)) { event.preventDefault(); this.press(key); }
      else if (!inField && key === "Backspace") { event.preventDefault(); this.press("back"); }
    }

    async call() {
      if (!this.person || this.isBusy) return;
      const typed = this.part.typed.value.trim();
      if (this.session) {
        if (!typed) return;
        this.path.push(typed);
        return this.send();
      }
      const stem = about.ussd.replace(/#$/, "");
      if (typed && typed !== about.ussd && !(typed.startsWith(stem + "*") && typed.endsWith("#"))) {
        this.idle();
        this.body.classList.remove("is-idle");
        turn(this.part.screen, "");
        this.part.text.textContent = _("Only {code} answers here.", { code: about.ussd });
        return;
      }
      const rest = typed.length > about.ussd.length ? typed.slice(stem.length + 1, -1) : "";
      this.session = random();
      this.path = rest ? rest.split("*") : [];
      return this.send();
    }

    async send() {
      const session = this.session;
      this.isBusy = true;
      this.body.classList.add("is-waiting");
      this.part.typed.value = "";
      this.part.mode.textContent = "…";
      this.part.drop.disabled = false;
      const asking = new AbortController();
      this.asking = asking;
      const late = setTimeout(() => asking.abort(), ANSWER_WITHIN_MS);
      let text = "";
      try {
        const form = new URLSearchParams({ sessionId: session, serviceCode: about.ussd, phoneNumber: "+" + this.person.phone, text: this.path.join("*") });
        const answer = await fetch(`/ussd/${about.code}`, { method: "POST", body: form, signal: asking.signal });
        text = await answer.text();
        if (!answer.ok) text = "END " + _("Connection problem or invalid code.");
      } catch { text = "END " + _("No network. Nothing more is known: dial again."); }
      clearTimeout(late);
      this.isBusy = false;
      this.body.classList.remove("is-waiting");
      if (session !== this.session) return; // hung up meanwhile
      const goesOn = text.startsWith("CON ");
      if (!goesOn) this.idle();
      this.body.classList.remove("is-idle");
      this.body.classList.toggle("in-session", goesOn);
      this.part.text.textContent = text.slice(4);
      turn(this.part.screen, text);
      this.part.text.scrollTop = 0;
      this.part.call.textContent = goesOn ? _("Send") : _("Call");
      this.part.mode.textContent = goesOn ? _("reply") : _("ended");
      const isSecret = goesOn && about.prompts.some((prompt) => text.includes(prompt));
      this.hide(isSecret);
      this.part.eye.hidden = !isSecret;
      if (goesOn && active === this) this.part.typed.focus({ preventScroll: true });
    }

    async look() {
      const person = this.person;
      if (!person) return;
      const texts = await ask(`/handset/${about.code}/inbox?phone=${encodeURIComponent(person.phone)}`);
      if (person === this.person) this.show(texts, false);
    }

    show(texts, isFirst) {
      const known = JSON.stringify(texts.map((each) => [each.at, each.text]));
      if (known === this.known) return;
      const before = this.texts ?? new Set();
      this.texts = new Set(texts.map((each) => each.at + each.text));
      const isNew = (each) => this.known && !before.has(each.at + each.text);
      this.part.inbox.replaceChildren(...texts.toReversed().map((each) => {
        const item = document.createElement("li");
        const text = Object.assign(document.createElement("p"), { textContent: each.text });
        turn(item, each.text);
        const when = Object.assign(document.createElement("time"), { dateTime: each.at, textContent: hour(new Date(each.at)) });
        item.append(when, text);
        item.classList.toggle("is-new", isNew(each));
        return item;
      }));
      if (!isFirst) this.known = known;
      this.part.count.textContent = String(texts.length);
      this.part.empty.textContent = isFirst ? _("Looking for messages…") : _("No message yet. Receipts arrive within seconds of a payment.");
      this.part.empty.hidden = texts.length > 0;
    }

    tick() { if (about) this.part.time.textContent = hour(new Date()); }
  }

  document.querySelectorAll("[data-side]").forEach((side) => { phones[side.dataset.side] = new Phone(side); });

  const choose = async () => {
    tell("");
    try { about = await ask(`/handset/${encodeURIComponent(market.value)}`); } catch { tell(_("This market does not answer now. Choose another one, or load the page again.")); return; }
    const first = Math.max(about.phones.findIndex((each) => each.role === "customer"), 0);
    phones.left.offer(about.phones, first);
    phones.right.offer(about.phones, Math.min(first + 1, about.phones.length - 1));
    Object.values(phones).forEach((phone) => phone.tick());
    history.replaceState(null, "", `/handset?market=${encodeURIComponent(about.code)}`);
  };
  market.addEventListener("change", choose);

  // Keys typed anywhere on the page go to the phone that was used last.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest?.("input, textarea, select, button, summary, a, dialog, [data-keys]") || !active) return;
    if (/^[0-9*#]$/.test(event.key) || event.key === "Enter" || event.key === "Backspace" || event.key === "Escape") active.key(event);
  }, true);

  const look = async () => {
    if (about && !document.hidden) {
      const found = await Promise.allSettled(Object.values(phones).map((phone) => phone.look()));
      tell(found.some((each) => each.status === "rejected") ? _("No news from the phones: what is below may be old.") : "");
    }
    setTimeout(look, INBOX_EVERY_MS);
  };
  setInterval(() => Object.values(phones).forEach((phone) => phone.tick()), 5000);
  phones.left.wake();
  choose().then(look);
})();

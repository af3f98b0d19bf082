// Tells the server the viewer's timezone, and lets pages follow what happens: not in hidden tabs.
"use strict";
(() => {
  const EVERY = 3000;
  const body = document.body;
  const base = body.dataset.base;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const cookie = `pyncette_zone=${encodeURIComponent(zone)}`;
  const told = document.cookie.split("; ").includes(cookie);
  if (!told) document.cookie = `${cookie}; path=${base}; max-age=31536000; SameSite=Strict`;

  const shown = document.getElementById("live-state");
  let busy = false;
  let hurried = 0;

  function say(text, bad) {
    if (!shown) return;
    shown.hidden = false;
    if (shown.textContent !== text) shown.textContent = text;
    shown.classList.toggle("bad", bad);
  }

  function refresh() {
    const live = document.getElementById("live");
    if (!live || !live.hasAttribute("hx-get") || busy || document.hidden) return;
    htmx.trigger(live, "refresh");
  }

  function complete() {  // what the server did not know in time, it knows soon
    const live = document.getElementById("live");
    if (live && "partial" in live.dataset && hurried++ < 5) setTimeout(refresh, 250);
  }

  document.addEventListener("htmx:before:request", () => { busy = true; });
  document.addEventListener("htmx:finally:request", () => { busy = false; complete(); });
  document.addEventListener("htmx:after:request", () => say("Live", false));
  document.addEventListener("htmx:error", () => { busy = false; say("The dashboard is not responding", true); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset && event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });

  document.addEventListener("DOMContentLoaded", () => {
    if (body.dataset.follows.trim()) say("Live", false);
    const named = document.getElementById("zone");
    if (named) named.textContent = zone;
    if (!told) setTimeout(refresh, 100);  // htmx is ready then
    complete();
    setInterval(refresh, EVERY);
  });
})();

"use strict";
// Everything that comes from the node is put into text nodes; nothing here makes markup of a text.

const byId = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// How things are said

const count = new Intl.NumberFormat("en");
const number = (value) => (value === null || value === undefined ? "" : count.format(value));

function time(us) {
  if (us === null || us === undefined) return "";
  if (us < 1000) return `${us} µs`;
  if (us < 1e6) return `${(us / 1e3).toFixed(us < 1e4 ? 1 : 0)} ms`;
  return `${(us / 1e6).toFixed(us < 1e7 ? 1 : 0)} s`;
}

function bytes(value) {
  if (!value) return "";
  if (value < 1e9) return `${(value / 1e6).toFixed(1)} MB`;
  return `${(value / 1e9).toFixed(2)} GB`;
}

let skew = 0; // what this machine's clock is ahead of the node's, which may be another machine's

function age(ms) {
  if (!ms) return "";
  const seconds = Math.max(0, Math.floor((Date.now() - skew - ms) / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

const at = (ms) => new Date(ms).toLocaleString("sv");

const KINDS = {
  serving: "good", starting: "waiting", recycling: "busy", restarting: "warn", degraded: "bad", draining: "busy", silent: "warn",
  CREATED: "waiting", PENDING: "waiting", BUILDING: "busy", READY: "waiting", RUNNING: "busy", COMPLETED: "good", ERROR: "bad", STOPPED: "warn",
  idle: "waiting", busy: "busy", ready: "good", unready: "warn", failed: "bad", building: "busy",
};

function state(word) {
  return { state: KINDS[word] || "waiting", text: word };
}

// Tables. A column says what a row's cell holds: a text, or {state, text}, or {open, text} for what opens a run.

const rows = {};
const TABLES = {
  pools: {
    title: "Pools", none: "No pool runs.",
    columns: [
      ["Pool", (r) => r.name, "first"],
      ["Workers", (r) => (r.serving === r.workers ? number(r.workers) : `${r.serving} of ${r.workers} serve`), "number"],
      ["Running", (r) => number(r.running), "number"],
      ["Queue", (r) => number(r.queue), "number"],
      ["Calls/s", (r) => number(r.rate), "number"],
      ["Wait p50", (r) => time(r.wait.p50_us), "number"],
      ["Wait p99", (r) => time(r.wait.p99_us), "number"],
      ["Run p50", (r) => time(r.run.p50_us), "number"],
      ["Run p99", (r) => time(r.run.p99_us), "number"],
      ["Memory", (r) => bytes(r.memory_bytes), "number"],
      ["Restarts", (r) => number(r.restarts), "number"],
      ["Recycled", (r) => number(r.recycles), "number"],
      ["Errors", (r) => Object.entries(r.errors).map(([kind, n]) => `${kind} ${number(n)}`).join(", "), "text"],
    ],
    order: ([a], [b]) => (a < b ? -1 : 1),
    about: "Latencies are those of the last minute.",
  },
  workers: {
    title: "Workers", none: "No worker runs.", tall: true,
    columns: [
      ["Worker", (r) => `${r.pool} ${r.slot}`, "first"],
      ["State", (r) => state(r.state)],
      ["Runs now", (r) => {
        const text = r.running.map((call) => call.name).join(", ") + (r.more ? `, and ${number(r.more)} more` : "");
        return r.running.length === 1 && r.running[0].run ? { open: r.running[0].run, text } : text;
      }, "text code"],
      ["For", (r) => (r.running.length ? age(r.running[0].since_ms) : ""), "number"],
      ["In hand", (r) => number(r.in_flight), "number"],
      ["Calls/s", (r) => number(r.rate), "number"],
      ["Memory", (r) => bytes(r.memory_bytes), "number"],
      ["Restarts", (r) => number(r.restarts), "number"],
      ["Up", (r) => age(r.began_ms), "number"],
      ["OS pid", (r) => (r.os_pid ? String(r.os_pid) : ""), "number"],
    ],
    order: ([, a], [, b]) => (a.pool === b.pool ? a.slot - b.slot : a.pool < b.pool ? -1 : 1),
    action: (id, row) => twice("Restart", `Restart worker ${row().slot} of pool ${row().pool}`, () =>
      act("/workers/restart", { worker: id }, `Worker ${row().slot} of pool ${row().pool} gets a new interpreter when its calls have ended.`)),
  },
  runs: {
    title: "Runs", none: "There are no such runs.", tall: true,
    columns: [
      ["Function", (r, id) => ({ open: id, text: r.function }), "first text"],
      ["Project", (r) => r.project, "text"],
      ["Pool", (r) => r.pool, "text"],
      ["State", (r) => state(r.state)],
      ["Attempt", (r) => (r.most > 1 || r.attempt > 1 ? `${r.attempt} of ${r.most}` : r.attempt ? String(r.attempt) : ""), "number"],
      ["Age", (r) => age(r.created_ms), "number"],
      ["Message", (r) => (r.stopping ? "is being stopped" : r.message), "wide"],
    ],
    order: ([a], [b]) => (a < b ? 1 : -1),
  },
  services: {
    title: "Services", none: "No service runs.",
    columns: [
      ["Service", (r) => r.name, "first"],
      ["State", (r) => state(r.state)],
      ["Handler", (r) => r.handler, "text code"],
      ["Replicas", (r) => number(r.replicas), "number"],
      ["Requests/s", (r) => number(r.rate), "number"],
      ["Open", (r) => number(r.open), "number"],
      ["p50", (r) => time(r.p50_us), "number"],
      ["p99", (r) => time(r.p99_us), "number"],
      ["5xx", (r) => number(r.failed), "number"],
      ["URL", (r) => r.url, "text code"],
    ],
    order: ([a], [b]) => (a < b ? -1 : 1),
    about: "Latencies are those of the last minute.",
  },
  sessions: {
    title: "Sessions", none: "No session is open.", tall: true,
    columns: [
      ["Session", (r, id) => id, "first code"],
      ["State", (r) => state(r.state)],
      ["Owner", (r) => r.owner, "text code"],
      ["Sandbox", (r) => r.sandbox],
      ["Turns", (r) => number(r.calls), "number"],
      ["Waiting", (r) => number(r.waiting), "number"],
      ["Restarts", (r) => number(r.restarts), "number"],
      ["Open for", (r) => age(r.opened_ms), "number"],
      ["OS pid", (r) => (r.os_pid ? String(r.os_pid) : ""), "number"],
    ],
    order: ([, a], [, b]) => a.opened_ms - b.opened_ms,
  },
  environments: {
    title: "Environments", none: "No environment was built.",
    columns: [
      ["Environment", (r, id) => id, "first code text"],
      ["Python", (r) => r.python],
      ["Made by", (r) => r.tool],
      ["Requirements", (r) => r.requirements, "wide"],
      ["Packages", (r) => number(r.packages), "number"],
      ["Size", (r) => bytes(r.bytes), "number"],
      ["Last used", (r) => (r.used_ms ? `${age(r.used_ms)} ago` : ""), "number"],
      ["Warnings", (r) => r.message, "wide"],
    ],
    order: ([a], [b]) => (a < b ? -1 : 1),
  },
};

const counts = {};
const drawn = {};
let head = null;

function button(text, label, pressed) {
  return element("button", { type: "button", "aria-label": label, onclick: pressed }, text);
}

// What can't be undone is asked for twice.
function twice(text, label, pressed) {
  let timer = 0;
  const back = () => {
    clearTimeout(timer);
    made.textContent = text;
    made.classList.remove("sure");
    made.setAttribute("aria-label", label);
  };
  const made = button(text, label, () => {
    if (made.classList.contains("sure")) {
      back();
      pressed();
    } else {
      made.textContent = "Sure?";
      made.classList.add("sure");
      made.setAttribute("aria-label", `Sure? ${label}`);
      timer = setTimeout(back, 4000);
    }
  });
  return made;
}

function build() {
  for (const [name, table] of Object.entries(TABLES)) {
    rows[name] = new Map();
    const labels = [...table.columns.map(([label]) => label)];
    const top = element("tr", {}, ...table.columns.map(([label, , kind = ""]) =>
      element("th", { scope: "col", class: kind.includes("number") ? "number" : "" }, label)));
    if (table.action) top.append(element("th", { scope: "col" }, element("span", { class: "soft" }, "")));
    const body = element("tbody");
    const made = element("table", {}, element("caption", {}, table.title), element("thead", {}, top), body);
    const scroll = element("div", { class: table.tall ? "scroll tall" : "scroll", role: "region", "aria-labelledby": `${name}-title`, tabindex: "0" }, made);
    const empty = element("p", { class: "empty" }, table.none);
    const about = element("span", { class: "about" }, table.about || "");
    const heading = element("div", { class: "head" }, element("h2", { id: `${name}-title` }, table.title), about);
    const section = element("section", { id: name, "aria-labelledby": `${name}-title` }, heading, scroll);
    scroll.append(empty);
    byId("main").append(section);
    const counted = element("span", { class: "count" });
    byId("sections").append(element("a", { href: `#${name}` }, `${table.title} `, counted));
    drawn[name] = { body, empty, about, counted, heading, scroll, labels, made: new Map(), order: "" };
  }
  const filters = element("div", { class: "filters", role: "group", "aria-label": "Which runs" });
  drawn.runs.heading.append(filters);
  drawn.runs.filters = filters;
  drawn.runs.older = button("Older", "Show older runs", () => page(true));
  drawn.runs.newest = button("Newest", "Show the newest runs", () => page(false));
  drawn.runs.scroll.append(element("div", { class: "more" }, drawn.runs.older, " ", drawn.runs.newest));
  byId("run-close").addEventListener("click", () => byId("run").close());
  byId("run").addEventListener("close", () => { shown = null; });
}

// Rows

function put(cell, value) {
  if (value !== null && typeof value === "object") {
    const [child] = cell.children;
    const text = value.text;
    if (child && cell.said === (value.state || value.open) && child.textContent === text) return;
    cell.said = value.state || value.open;
    if (value.open) {
      const open = button(text, `Run of ${text}`, () => look(value.open));
      open.className = "open";
      cell.replaceChildren(open);
    } else {
      cell.replaceChildren(element("span", { class: "state", "data-state": value.state }, text));
    }
  } else if (cell.textContent !== String(value) || cell.said) {
    cell.said = undefined;
    cell.textContent = value;
    cell.classList.toggle("blank", value === "");
  }
}

function draw(name) {
  const table = TABLES[name];
  const at = drawn[name];
  const now = name === "runs" && older ? older : rows[name];
  const entries = [...now.entries()].sort(table.order);
  for (const [id, tr] of at.made) {
    if (!now.has(id)) {
      tr.remove();
      at.made.delete(id);
    }
  }
  for (const [id, row] of entries) {
    let tr = at.made.get(id);
    if (!tr) {
      tr = element("tr", {}, ...table.columns.map(([label, , kind = ""]) => element("td", { class: `${kind} blank`, "data-label": label })));
      if (table.action) tr.append(element("td", { class: "act" }, table.action(id, () => rows[name].get(id) || row)));
      at.made.set(id, tr);
    }
    fill(name, id, row, tr);
  }
  const order = entries.map(([id]) => id).join(" ");
  if (order !== at.order) {
    at.order = order;
    entries.forEach(([id], place) => {
      const tr = at.made.get(id);
      if (at.body.children[place] !== tr) at.body.insertBefore(tr, at.body.children[place] || null);
    });
  }
  at.empty.hidden = entries.length > 0;
  const all = counts[name] || 0;
  at.counted.textContent = number(all);
  if (name === "runs") drawRuns(entries.length, all);
  else at.about.textContent = entries.length < all ? `${number(entries.length)} of ${number(all)} are shown.` : table.about || "";
}

function fill(name, id, row, tr) {
  TABLES[name].columns.forEach(([, said], place) => {
    const value = said(row, id);
    put(tr.cells[place], value === null || value === undefined ? "" : value);
    if (value !== null && typeof value === "object") tr.cells[place].classList.remove("blank");
  });
}

// Which runs: the newest live, or a page of those that a state has, as they are now.

let older = null;
let wanted = null;

function drawRuns(shown, all) {
  const { filters, about, older: back, newest } = drawn.runs;
  const states = counts.states || {};
  const words = ["", ...Object.keys(KINDS).filter((word) => states[word])];
  const key = words.map((word) => `${word} ${states[word]} ${word === (wanted || "")}`).join();
  if (filters.dataset.key !== key) {
    filters.dataset.key = key;
    const had = filters.contains(document.activeElement) ? document.activeElement.dataset.word : null;
    filters.replaceChildren(...words.map((word) => {
      const made = element("button", { type: "button", "aria-pressed": String(word === (wanted || "")), "data-word": word,
        onclick: () => { wanted = word || null; page(false); } }, word ? `${word} ${number(states[word])}` : `All ${number(all)}`);
      return made;
    }));
    if (had !== null) [...filters.children].find((each) => each.dataset.word === had)?.focus();
  }
  about.textContent = older ? "As they were when you asked." : shown < all ? `The newest ${number(shown)}, live.` : "";
  back.hidden = shown === 0 || shown < 200;
  newest.hidden = !older;
}

async function page(isOlder) {
  if (!isOlder && !wanted) {
    older = null;
    draw("runs");
    return;
  }
  const asked = new URLSearchParams();
  if (wanted) asked.set("state", wanted);
  if (isOlder) asked.set("before", [...(older || rows.runs).keys()].sort()[0]);
  const answer = await get(`/runs?${asked}`);
  if (answer) {
    older = new Map(Object.entries(await answer.json()));
    drawn.runs.scroll.scrollTop = 0;
    draw("runs");
  }
}

// One run

let shown = null;

async function look(id) {
  shown = id;
  byId("run-title").textContent = "";
  byId("run-body").replaceChildren();
  byId("run").showModal();
  await refresh();
}

async function refresh() {
  const id = shown;
  if (!id) return;
  const [answer, log] = await Promise.all([get(`/runs/${id}`), get(`/runs/${id}/log`)]);
  if (shown !== id || !answer || !log) return;
  const run = await answer.json();
  const { text, bytes: size } = await log.json();
  byId("run-title").textContent = run.function;
  const facts = [
    ["Id", run.id], ["Project", run.project], ["Pool", run.pool], ["State", state(run.state)], ["Attempt", `${run.attempt} of ${run.most}`],
    ["Begun", `${at(run.created_ms)}, ${age(run.created_ms)} ago`], ["OS pid", run.os_pid ? String(run.os_pid) : ""], ["Message", run.message],
  ].filter(([, value]) => value !== "" && value !== null);
  const list = element("dl");
  for (const [term, value] of facts) {
    const dd = element("dd");
    put(dd, value);
    list.append(element("dt", {}, term), dd);
  }
  const history = element("tbody", {}, ...run.transitions.map((each) => {
    const word = element("td", { "data-label": "State" });
    put(word, state(each.state));
    return element("tr", {}, word, element("td", { "data-label": "At" }, at(each.at_ms)), element("td", { class: "wide", "data-label": "Message" }, each.message));
  }));
  const parts = [list];
  if (!["COMPLETED", "ERROR", "STOPPED"].includes(run.state)) {
    const stop = byId("run-stop") || twice("Stop this run", "Stop this run", () => act(`/runs/${shown}/stop`, {}, "The run is being stopped.").then(refresh));
    stop.id = "run-stop";
    stop.disabled = run.stopping;
    parts.push(stop);
  }
  const log_ = element("pre", { tabindex: "0", "aria-label": "Log" }, text || "It has printed and logged nothing.");
  const before = byId("run-log");
  const isAtEnd = !before || before.scrollTop + before.clientHeight >= before.scrollHeight - 4;
  log_.id = "run-log";
  const more = size > 65536 ? `The last 65,536 of ${number(size)} bytes.` : "";
  parts.push(element("h3", {}, "States"), element("table", {}, element("caption", {}, "States"), history), element("h3", {}, "Log"), log_, element("p", { class: "soft" }, more));
  const focused = document.activeElement?.id;
  byId("run-body").replaceChildren(...parts);
  if (focused === "run-stop" || focused === "run-log") byId(focused)?.focus();
  if (isAtEnd) log_.scrollTop = log_.scrollHeight;
  else log_.scrollTop = before.scrollTop;
}

// Asking

function note(text) {
  byId("note").textContent = text;
}

async function get(path) {
  try {
    const answer = await fetch(path, { credentials: "same-origin" });
    if (answer.ok) return answer;
    note(answer.status === 401 ? "This browser may not look any more: open the page's URL again." : (await answer.text()).slice(0, 300));
  } catch {
    note("The page does not answer.");
  }
  return null;
}

async function act(path, body, done) {
  try {
    const answer = await fetch(path, {
      method: "POST", credentials: "same-origin", body: JSON.stringify(body),
      headers: { "content-type": "application/json", "x-py-page": "1" },
    });
    note(answer.ok ? done : (await answer.text()).slice(0, 300));
  } catch {
    note("The page does not answer.");
  }
}

// Being told

let pending = 0;
const dirty = new Set();

function told(event) {
  const news = JSON.parse(event.data);
  for (const name of Object.keys(TABLES)) {
    if (news.full) rows[name].clear();
    for (const id of news.gone?.[name] || []) rows[name].delete(id);
    for (const [id, row] of Object.entries(news.rows[name] || {})) rows[name].set(id, row);
    if (news.full || news.rows[name] || news.gone?.[name]) dirty.add(name);
  }
  if (news.head) {
    head = news.head.node;
    for (const [name, value] of Object.entries(news.head.counts)) {
      if (counts[name] !== value) dirty.add(name === "states" ? "runs" : name);
      counts[name] = value;
    }
  }
  const ahead = Date.now() - news.now;
  if (Math.abs(ahead - skew) > 2000) skew = ahead;
  live("live", "good");
  // Several that come while the browser is busy are drawn once.
  if (!pending) pending = requestAnimationFrame(() => { pending = 0; drawAll(); });
}

function drawAll() {
  for (const name of dirty) draw(name);
  dirty.clear();
  facts();
}

function facts() {
  if (!head) return;
  byId("node").textContent = head.name === "nonode@nohost" ? `os pid ${head.os_pid}` : head.name;
  byId("facts").textContent = `version ${head.version}, OTP ${head.otp}, up ${age(head.began_ms)}, BEAM ${bytes(head.memory_bytes)}, ${head.schedulers} schedulers`;
  document.title = `py ${head.name === "nonode@nohost" ? head.os_pid : head.name}`;
}

function live(text, kind) {
  const link = byId("link");
  if (link.textContent !== text) link.textContent = text;
  link.dataset.state = kind;
  document.body.classList.toggle("stale", kind === "bad");
}

build();
for (const name of Object.keys(TABLES)) draw(name);
const source = new EventSource("/events");
source.addEventListener("view", told);
source.addEventListener("error", () => {
  if (source.readyState === EventSource.CLOSED) {
    live("ended: load the page again", "bad");
    get("/runs");
  } else {
    live("no connection, trying again", "bad");
  }
});
// Ages grow without news.
setInterval(() => {
  if (document.hidden) return;
  for (const name of ["workers", "runs", "sessions", "environments"]) {
    const now = name === "runs" && older ? older : rows[name];
    for (const [id, tr] of drawn[name].made) if (now.has(id)) fill(name, id, now.get(id), tr);
  }
  facts();
}, 1000);
setInterval(() => { if (shown && !document.hidden) refresh(); }, 2000);

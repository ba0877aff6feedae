// Asks URLs at a steady rate: every request on a new connection (`new`), or all on one kept connection per URL (`kept`).
// Tells what was asked and what failed; ends when its standard input does.
//   node load.mjs new|kept RATE LOCAL_IPV4 LOCAL_IPV6 URL…     addresses may be `-`: as the kernel chooses
import { Agent, get } from 'node:http';

const [mode, rate, local4, local6, ...urls] = process.argv.slice(2);
const TICK_MS = 10;
const PENDING_MAX = 256;
const perTick = Number(rate) / (1000 / TICK_MS);
const fresh = new Agent({ keepAlive: false });
const kept = new Agent({ keepAlive: true, maxSockets: 1 });
const tally = { asked: 0, failed: 0, failures: [], slowestMs: 0, answers: {} };
let pending = 0;
let due = 0;
let turn = 0;

function ask(url) {
  pending++;
  const began = performance.now();
  let over = false;
  const done = (error) => {
    if (over) return;
    over = true;
    pending--;
    if (!error) {
      tally.asked++;
      tally.slowestMs = Math.max(tally.slowestMs, Math.round(performance.now() - began));
      return;
    }
    tally.failed++;
    if (tally.failures.length < 20) tally.failures.push(`${new Date().toISOString()} ${url}: ${error.message}`);
  };
  const own = url.includes('[') ? local6 : local4;
  const options = { agent: mode === 'kept' ? kept : fresh, timeout: 3000, ...(own !== '-' && { localAddress: own }) };
  const call = get(url, options, (response) => {
    let text = '';
    response.on('data', (chunk) => {
      text += chunk;
    });
    response.on('end', () => {
      tally.answers[text.trim()] = (tally.answers[text.trim()] ?? 0) + 1;
      done(response.statusCode === 200 ? undefined : new Error(`status ${response.statusCode}`));
    });
    response.on('error', done);
  });
  call.on('timeout', () => call.destroy(new Error('timed out after 3 s')));
  call.on('error', done);
}

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
setInterval(() => process.stdout.write(`${JSON.stringify(tally)}\n`), 200);
let last = performance.now();
setInterval(() => {
  const now = performance.now();
  due = Math.min(PENDING_MAX, due + (perTick * (now - last)) / TICK_MS);
  last = now;
  for (; due >= 1 && pending < PENDING_MAX; due--) ask(urls[turn++ % urls.length]);
}, TICK_MS);

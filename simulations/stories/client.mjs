// Runs inside a pod: asks URLs in turn, each time over a new connection and over a kept one, and reports what failed.
// Ends when its standard input does.
import { Agent, get } from 'node:http';

const [reportEveryMs, ...urls] = process.argv.slice(2);
const kept = new Agent({ keepAlive: true, maxSockets: 1 });
const tally = { asked: 0, failed: 0, failures: [], slowestMs: 0 };

function ask(url, agent) {
  return new Promise((resolve) => {
    const began = Date.now();
    const fail = (error) => {
      tally.failed++;
      if (tally.failures.length < 20)
        tally.failures.push(`${new Date().toISOString()} ${url} ${agent ? 'kept' : 'new'}: ${error.message}`);
      resolve();
    };
    const call = get(url, { agent: agent ?? new Agent({ keepAlive: false }), timeout: 3000 }, (response) => {
      response.resume();
      response.on('end', () => {
        tally.asked++;
        tally.slowestMs = Math.max(tally.slowestMs, Date.now() - began);
        resolve();
      });
      response.on('error', fail);
    });
    call.on('timeout', () => call.destroy(new Error('timed out after 3 s')));
    call.on('error', fail);
  });
}

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
setInterval(() => process.stdout.write(`${JSON.stringify(tally)}\n`), Number(reportEveryMs));
for (;;) {
  for (const url of urls) {
    await ask(url, undefined);
    await ask(url, kept);
  }
  await new Promise((resolve) => setTimeout(resolve, 5));
}

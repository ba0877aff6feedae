// Runs in a pod or on a node: echoes over TCP and UDP with its name first, asks others when told to, and holds connections open.
// Usage: peer.mjs CONTROL-SOCKET NAME PORT. Lines of JSON in, lines of JSON out, each with the id of its question; see peer.ts.
import { execFile } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';
import { networkInterfaces } from 'node:os';

const [control, name, port] = process.argv.slice(2);
const ignore = () => {};
const isSix = (address) => address.includes(':');
/** So many questions at once: more would measure this process. */
const TOGETHER = 48;

// Bound to each address of its own, since a datagram's answer may come from another one otherwise.
const own = Object.entries(networkInterfaces())
  .filter(([device]) => device === 'eth0' || device === 'lo')
  .flatMap(([, list]) => list.map(({ address }) => address))
  .filter((address) => !address.startsWith('fe80:'));

for (const host of own) {
  const server = createServer((socket) => {
    socket.on('error', ignore);
    socket.write(`${name}\n`);
    socket.pipe(socket);
  });
  server.listen({ port: Number(port), host, backlog: 1024 });
  const echo = createSocket({ type: isSix(host) ? 'udp6' : 'udp4', recvBufferSize: 1 << 20 }, (message, from) =>
    echo.send(Buffer.concat([Buffer.from(`${name}\n`), message]), from.port, from.address, ignore),
  );
  echo.on('error', ignore);
  echo.bind({ port: Number(port), address: host });
}

const payloadOf = (bytes) => Buffer.from(Array.from({ length: bytes }, (_, i) => 33 + (i % 89)));

/** `{by}`: who answered with all of the payload; or `{error}`. */
function judged(received, payload) {
  const end = received.indexOf(10);
  if (end < 0 || received.length < end + 1 + payload.length) return undefined;
  const by = received.subarray(0, end).toString();
  return received.subarray(end + 1).equals(payload) ? { by } : { error: `${by} echoed something else` };
}

function askTcp({ address, port: to, bytes }, timeoutMs) {
  const payload = payloadOf(bytes);
  return new Promise((resolve) => {
    let received = Buffer.alloc(0);
    const socket = connect({ host: address, port: to }, () => socket.write(payload));
    const end = (answer) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(
      () => end({ error: received.length > 0 ? `silent after ${received.length} bytes` : 'silence' }),
      timeoutMs,
    );
    socket.on('error', ({ code }) => end({ error: code }));
    socket.on('end', () => end({ error: `closed after ${received.length} bytes` }));
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      const answer = judged(received, payload);
      if (answer) end(answer);
    });
  });
}

function askUdp({ address, port: to, bytes }, timeoutMs) {
  const payload = payloadOf(bytes);
  return new Promise((resolve) => {
    const socket = createSocket({ type: isSix(address) ? 'udp6' : 'udp4', recvBufferSize: 1 << 20 });
    let error = 'silence';
    const end = (answer) => {
      clearTimeout(timer);
      clearInterval(again);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => end({ error }), timeoutMs);
    const send = () => socket.send(payload, ignore);
    const again = setInterval(send, Math.max(200, timeoutMs / 4));
    socket.on('error', ({ code }) => {
      error = code;
    });
    socket.on('message', (message) => end(judged(message, payload) ?? { error: `cut to ${message.length} bytes` }));
    socket.connect(to, address, (failure) => (failure ? end({ error: failure.code }) : send()));
  });
}

/** In several tries, so that one lost packet is no silence. */
function askIcmp({ address, bytes }, timeoutMs) {
  const seconds = Math.max(1, Math.round(timeoutMs / 1000));
  return new Promise((resolve) =>
    execFile('ping', ['-q', '-c', '1', '-w', String(seconds), '-s', String(bytes), address], (error, _out, stderr) =>
      resolve(error ? { error: stderr.trim() || 'silence' } : { by: 'ping' }),
    ),
  );
}

const asks = { TCP: askTcp, UDP: askUdp, ICMP: askIcmp };

async function ask({ probes, timeoutMs }) {
  const answers = [];
  let next = 0;
  const worker = async () => {
    while (next < probes.length) {
      const at = next++;
      answers[at] = await asks[probes[at].protocol](probes[at], timeoutMs);
    }
  };
  await Promise.all(Array.from({ length: Math.min(TOGETHER, probes.length) }, worker));
  return { answers };
}

const BEAT_MS = 50;
let held = [];

/** A TCP connection over which something is echoed all the time. */
function hold({ address, port: to }) {
  const one = { address, beats: 0, longestMs: 0, error: '', last: performance.now() };
  const socket = connect({ host: address, port: to });
  socket.setNoDelay(true);
  socket.on('error', ({ code }) => {
    one.error ||= code;
  });
  socket.on('close', () => {
    one.error ||= 'closed';
    clearInterval(one.timer);
  });
  socket.on('data', () => {
    const now = performance.now();
    if (one.beats++ > 0) one.longestMs = Math.max(one.longestMs, now - one.last);
    one.last = now;
  });
  one.timer = setInterval(() => socket.write('.'), BEAT_MS);
  one.end = () => {
    socket.removeAllListeners('close');
    clearInterval(one.timer);
    socket.destroy();
  };
  held.push(one);
}

let flowing = [];

/** Numbered datagrams, one every so often, all of which are to be echoed. */
function flow({ address, port: to }, everyMs) {
  const answered = new Set();
  const one = { address, sent: 0, answered };
  const socket = createSocket({ type: isSix(address) ? 'udp6' : 'udp4', recvBufferSize: 1 << 20 });
  socket.on('error', ignore);
  socket.on('message', (message) => answered.add(message.toString().split('\n')[1]));
  socket.connect(to, address, () => {
    one.timer = setInterval(() => socket.send(String(++one.sent), ignore), everyMs);
  });
  one.end = () => clearInterval(one.timer);
  one.close = () => socket.close();
  flowing.push(one);
}

async function flowed({ timeoutMs }) {
  for (const one of flowing) one.end();
  const end = performance.now() + timeoutMs;
  while (performance.now() < end && flowing.some(({ sent, answered }) => answered.size < sent)) {
    await new Promise((done) => setTimeout(done, 50));
  }
  const flows = flowing.map(({ address, sent, answered }) => ({ address, sent, answered: answered.size }));
  for (const one of flowing) one.close();
  flowing = [];
  return { flows };
}

const view = ({ address, beats, longestMs, error, last }) => ({
  ...{ address, beats, error },
  longestMs: Math.max(longestMs, performance.now() - last),
});

const actions = {
  ask,
  hold: async ({ probes }) => {
    for (const probe of probes) hold(probe);
    return {};
  },
  flow: async ({ probes, everyMs }) => {
    for (const probe of probes) flow(probe, everyMs);
    return {};
  },
  flowing: async () => ({
    flows: flowing.map(({ address, sent, answered }) => ({ address, sent, answered: answered.size })),
  }),
  flowed,
  held: async () => ({ held: held.map(view) }),
  release: async () => {
    const answer = { held: held.map(view) };
    for (const one of held) one.end();
    held = [];
    return answer;
  },
};

createServer((socket) => {
  let pending = '';
  socket.setEncoding('utf8');
  socket.on('error', ignore);
  socket.on('data', (text) => {
    const lines = (pending + text).split('\n');
    pending = lines.pop();
    for (const line of lines) {
      const { id, action, ...rest } = JSON.parse(line);
      actions[action](rest).then((answer) => socket.write(`${JSON.stringify({ id, ...answer })}\n`));
    }
  });
}).listen(control);

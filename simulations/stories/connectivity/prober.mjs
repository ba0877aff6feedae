// Runs inside a pod, on the node or outside: answers on its ports over TCP and UDP, and tries others when told to.
// Usage: prober.mjs CONTROL-SOCKET ADDRESSES PORT…; ADDRESSES are its own, with commas between, or :: for whatever there is. A line of JSON {probes: [[protocol, address, port]…], timeoutMs} is answered with a line of 1 and 0.
import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';

const [control, addressList, ...ports] = process.argv.slice(2);
const addresses = addressList.split(',');
const ignore = () => {};

const isSix = (address) => address.includes(':');
/** Of its own addresses the one of this family; undefined: the kernel chooses. */
const ownOf = (family) => addresses.find((one) => one !== '::' && isSix(one) === family);

function serve(port, address) {
  const server = createServer((socket) => {
    socket.on('error', ignore);
    socket.end('.');
    socket.resume();
  });
  server.listen({ port, host: address, backlog: 1024 });
  const echo = createSocket(isSix(address) ? 'udp6' : 'udp4', (message, from) =>
    echo.send(message, from.port, from.address, ignore),
  );
  echo.on('error', ignore);
  echo.bind({ port, address });
}
for (const address of addresses) for (const port of ports) serve(Number(port), address);

/** Resolves with whether the connection came to be; a refusal is an answer too, but not a connection. */
function tryTcp([, host, port], timeoutMs) {
  return new Promise((resolve) => {
    const socket = connect({ host, port, localAddress: ownOf(isSix(host)) });
    const end = (answer) => {
      clearTimeout(timer);
      socket.resetAndDestroy();
      resolve(answer);
    };
    const timer = setTimeout(end, timeoutMs, false);
    socket.on('error', () => end(false));
    socket.on('connect', () => end(true));
  });
}

/** All of them from a socket of their own, so that no connection tracked before is met again. */
async function tryUdp(probes, timeoutMs) {
  const ofFamily = (family) => probes.filter(([, address]) => isSix(address) === family);
  const [four, six] = await Promise.all([false, true].map((family) => tryFamily(ofFamily(family), family, timeoutMs)));
  const next = { false: four.values(), true: six.values() };
  return probes.map(([, address]) => next[isSix(address)].next().value);
}

function tryFamily(probes, family, timeoutMs) {
  const answers = probes.map(() => false);
  if (probes.length === 0) return answers;
  return new Promise((resolve) => {
    let waiting = probes.length;
    const socket = createSocket(family ? 'udp6' : 'udp4', (message) => {
      const index = Number(message.toString());
      if (answers[index] === false) waiting--;
      answers[index] = true;
      if (waiting === 0) end();
    });
    const end = () => {
      clearTimeout(timer);
      clearTimeout(again);
      socket.close();
      resolve(answers);
    };
    const timer = setTimeout(end, timeoutMs);
    const send = () =>
      probes.forEach(([, address, port], index) => {
        if (!answers[index]) socket.send(String(index), port, address, ignore);
      });
    const again = setTimeout(send, timeoutMs / 2);
    socket.on('error', ignore);
    socket.bind({ port: 0, address: ownOf(family) }, send);
  });
}

async function probe({ probes, timeoutMs }) {
  const isUdp = ([protocol]) => protocol === 'UDP';
  const udp = probes.filter(isUdp);
  const [udpAnswers, tcpAnswers] = await Promise.all([
    tryUdp(udp, timeoutMs),
    Promise.all(probes.filter((one) => !isUdp(one)).map((one) => tryTcp(one, timeoutMs))),
  ]);
  const [nextUdp, nextTcp] = [udpAnswers.values(), tcpAnswers.values()];
  return probes.map((one) => ((isUdp(one) ? nextUdp : nextTcp).next().value ? 1 : 0)).join('');
}

createServer((socket) => {
  let pending = '';
  socket.setEncoding('utf8');
  socket.on('error', ignore);
  socket.on('data', (text) => {
    const lines = (pending + text).split('\n');
    pending = lines.pop();
    for (const line of lines) probe(JSON.parse(line)).then((answer) => socket.write(`${answer}\n`));
  });
}).listen(control);

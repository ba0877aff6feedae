// Runs inside a pod: asks a UDP service over a connected socket, again and again; says who answers when that changes, and the
// errno when the socket ends, after which it connects a new one. Ends when its standard input does.
import { createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';

const [address, port] = process.argv.slice(2);
let said = '';
const say = (text) => {
  if (text !== said) process.stdout.write(`${text}\n`);
  said = text;
};

function connect() {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  let timer;
  const end = (error) => {
    // Somebody's ICMP: such a client sends on, and would to the end of its days.
    if (['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH'].includes(error.code) && timer !== undefined) return;
    clearInterval(timer);
    if (timer === undefined) return;
    timer = undefined;
    say(error.code);
    socket.close();
    setTimeout(connect, 100);
  };
  socket.on('message', (text) => say(String(text).trim()));
  socket.on('error', end);
  socket.connect(Number(port), address, (error) => {
    timer = setInterval(() => socket.send('who', (failed) => failed && end(failed)), 50);
    if (error) end(error);
  });
}

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
connect();

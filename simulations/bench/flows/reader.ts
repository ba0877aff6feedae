/**
 * Readers of flows over the agent's socket: `reader.ts SOCKET last|follow COUNT SECONDS`, as JSON.
 *
 * - last: a gRPC client (grpc-js) asks COUNT times for the last 4095 flows; milliseconds of the fastest, and of the median.
 * - follow: COUNT followers, each a stream of one HTTP/2 session, whose messages are told apart and counted, not decoded.
 */
import { connect } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials, loadPackageDefinition, type ServiceClientConstructor } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { PROTO_FILES, PROTO_OPTIONS } from '../../../observe/hubble/proto-files.ts';

const [socket = '', mode = 'last', countText = '1', secondsText = '1'] = process.argv.slice(2);
const [count, seconds] = [Number(countText), Number(secondsText)];
const LAST = 4095;
const PREFIX_BYTES = 5;
/** First byte of GetFlowsResponse with a flow is its time or its name: what tells is the field of what was lost. */
const LOST_TAG = 0x1a;

process.stdout.write(`${JSON.stringify(mode === 'last' ? await last() : await follow())}\n`);
process.exit();

async function last(): Promise<object> {
  const root = loadPackageDefinition(loadSync(PROTO_FILES, PROTO_OPTIONS)) as unknown as {
    observer: { Observer: ServiceClientConstructor };
  };
  const client = new root.observer.Observer(`unix://${socket}`, credentials.createInsecure());
  const durations: number[] = [];
  let flows = 0;
  for (let i = 0; i < count; i++) {
    const begin = performance.now();
    flows = 0;
    await new Promise((resolve, reject) => {
      const call = client['GetFlows']?.({ number: LAST }) as NodeJS.EventEmitter;
      call.on('data', () => flows++);
      call.on('error', reject);
      call.on('end', resolve);
    });
    durations.push(performance.now() - begin);
  }
  durations.sort((a, b) => a - b);
  return { flows, best: durations[0], median: durations[durations.length >> 1] };
}

async function follow(): Promise<object> {
  const counts = await Promise.all(Array.from({ length: count }, follower));
  return { counts };
}

async function follower(): Promise<{ messages: number; losses: number; bytes: number }> {
  const session = connect('http://localhost', {
    createConnection: () => connectSocket(socket),
    settings: { initialWindowSize: 4 << 20 },
  });
  session.once('connect', () => session.setLocalWindowSize(8 << 20));
  const stream = session.request({
    ':method': 'POST',
    ':path': '/observer.Observer/GetFlows',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  // GetFlowsRequest { follow: true }
  stream.end(Buffer.from([0, 0, 0, 0, 2, 3 << 3, 1]));
  let [messages, losses, bytes] = [0, 0, 0];
  let rest: Buffer = Buffer.alloc(0);
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    const block = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
    let at = 0;
    while (at + PREFIX_BYTES <= block.length) {
      const end = at + PREFIX_BYTES + block.readUInt32BE(at + 1);
      if (end > block.length) break;
      messages++;
      // Written from the end: what it is about comes last of all only if it is alone.
      if (block.subarray(at + PREFIX_BYTES, end).includes(LOST_TAG) && end - at < 100) losses++;
      at = end;
    }
    rest = block.subarray(at);
  });
  await sleep(seconds * 1000);
  session.destroy();
  return { messages, losses, bytes };
}

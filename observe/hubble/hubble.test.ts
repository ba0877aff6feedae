/** The Hubble API over its three ways in, spoken to by a gRPC client made from the protocol files. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChannelCredentials, credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { Subject } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Codecs, encode } from '../../datapath/codec.ts';
import { eventLayout } from '../../datapath/event-layout.ts';
import { type DatapathEvent, type EventBlock, EventDecoder } from '../../datapath/events.ts';
import { objectPath } from '../../datapath/loader.ts';
import { kinds } from '../../machines/kinds.ts';
import { btfOfObject, monotonicNs } from '../../native/index.ts';
import { Engine } from '../../reconcilers/engine.ts';
import { Names } from '../names.ts';
import { type Hubble, type HubbleConfig, startHubble } from './hubble.ts';
import { Origins } from './origins.ts';
import { PROTO_FILES, PROTO_OPTIONS } from './proto-files.ts';

// biome-ignore lint/suspicious/noExplicitAny: messages of a client made at run time
type Message = any;

const root = loadPackageDefinition(loadSync(PROTO_FILES, PROTO_OPTIONS)) as Message;
const directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-hubble-`));
const CAPACITY = 15;
const blocks$ = new Subject<EventBlock>();
const btf = btfOfObject(objectPath('datapath'));
const decoder = new EventDecoder(eventLayout(btf, btfOfObject(objectPath('sock'))));
const eventCodec = new Codecs(btf).struct('event');
/** As the ring buffer hands over one event. */
const events$ = {
  next: (event: DatapathEvent): void => {
    const bytes = encode(eventCodec, { ...event, origAddr: event.origAddr === '::' ? '' : event.origAddr });
    blocks$.next({ bytes, offsets: Uint32Array.of(0, bytes.length) });
  },
};
const engine = new Engine(kinds, { rows: () => [], write: () => {} });
const names = new Names(engine);

let hubble: Hubble;
let config: HubbleConfig;

/** Ethernet, IPv4 and TCP without options. */
function frame(source: number[], destination: number[], ports: [number, number], flags: number): Buffer {
  const bytes = Buffer.alloc(54);
  bytes.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45], 0);
  bytes.writeUInt8(6, 23);
  bytes.set(source, 26);
  bytes.set(destination, 30);
  bytes.writeUInt16BE(ports[0], 34);
  bytes.writeUInt16BE(ports[1], 36);
  bytes.writeUInt8(flags, 47);
  return bytes;
}

/** Of the events: from when the ring began, which takes none of before. */
let clock = 0n;
const tick = (): bigint => {
  clock += 1000n;
  return clock;
};
const event = (change: Partial<DatapathEvent>): DatapathEvent => ({
  timestamp: tick(),
  type: 2,
  subtype: 0,
  direction: 0,
  ctState: 0,
  proto: 6,
  tcpFlags: 2,
  policyMatch: 0,
  reason: 0,
  endpointId: 0,
  ifindex: 0,
  srcIdentity: 2,
  dstIdentity: 1234,
  flowHash: 7,
  policyCookie: 0,
  lenOrig: 54,
  lenCap: 54,
  sourceFile: 0,
  sourceLine: 0,
  origEnd: 0,
  origPort: 0,
  origAddr: '::',
  data: frame([192, 0, 2, 9], [10, 0, 1, 5], [40_000, 8080], 0x02),
  ...change,
});

function client(address: string, how: ChannelCredentials, options = {}): Message {
  return new root.observer.Observer(address, how, options);
}

function flows(from: Message, request: object): Promise<Message[]> {
  return new Promise((resolve, reject) => {
    const got: Message[] = [];
    const call = from.GetFlows(request);
    call.on('data', (message: Message) => got.push(message));
    call.on('error', reject);
    call.on('end', () => resolve(got));
  });
}

const ask = (from: Message, method: string, request: object = {}): Promise<Message> =>
  new Promise((resolve, reject) => {
    from[method](request, (error: Error | null, answer: Message) => (error ? reject(error) : resolve(answer)));
  });

function certificates(): void {
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { cwd: directory, stdio: ['ignore', 'ignore', 'ignore'] });
  };
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '2', '-subj', '/CN=axt hubble CA');
  for (const name of ['server', 'client']) {
    openssl(
      'req',
      ...key,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
      '-subj',
      `/CN=${name}`,
      '-addext',
      'subjectAltName=DNS:localhost',
    );
    openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      'ca.crt',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-days',
      '2',
      '-copy_extensions',
      'copy',
      '-out',
      `${name}.crt`,
    );
  }
}

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
const pem = (name: string): Buffer => readFileSync(join(directory, name));

beforeAll(async () => {
  certificates();
  config = {
    socket: join(directory, 'hubble.sock'),
    listen: `127.0.0.1:${await freePort()}`,
    tlsCert: join(directory, 'server.crt'),
    tlsKey: join(directory, 'server.key'),
    tlsClientCa: join(directory, 'ca.crt'),
    capacity: CAPACITY,
  };
  hubble = await startHubble(
    config,
    { blocks$, decoder },
    {
      names,
      origins: new Origins(engine),
      clusterName: 'axt',
      nodeName: 'axt/node-1',
      version: '1.2.3',
      linkName: () => 'lxc1',
      bootedAtNs: BigInt(Date.now()) * 1_000_000n,
    },
  );
  clock = monotonicNs();
});
afterAll(async () => {
  await hubble?.close();
  names.close();
  rmSync(directory, { recursive: true, force: true });
});

describe('over the unix socket', () => {
  let observer: Message;
  beforeAll(() => {
    observer = client(`unix://${config.socket}`, credentials.createInsecure());
  });
  afterAll(() => observer.close());

  it('is open to root alone', () => {
    expect(statSync(config.socket).mode & 0o777).toBe(0o600);
  });

  it('shows a drop with its reason and place, a verdict with its direction, a trace with its point', async () => {
    events$.next(event({ type: 1, subtype: 133, sourceFile: 5, sourceLine: 77, endpointId: 9 }));
    events$.next(event({ type: 3, subtype: 1, reason: 181, direction: 1, policyMatch: 2 }));
    events$.next(event({ type: 2, subtype: 0, ctState: 2, ifindex: 3 }));
    events$.next(event({ type: 3, subtype: 2 }));
    const [drop, verdict, trace, audit] = (await flows(observer, { number: 4 })).map(({ flow }) => flow);
    expect(drop).toMatchObject({
      verdict: 'DROPPED',
      drop_reason: 133,
      drop_reason_desc: 'POLICY_DENIED',
      event_type: { type: 1, sub_type: 133 },
      traffic_direction: 'INGRESS',
      file: { name: 'policy.h', line: 77 },
      IP: { source: '192.0.2.9', destination: '10.0.1.5', ipVersion: 'IPv4' },
      l4: { TCP: { source_port: 40_000, destination_port: 8080, flags: { SYN: true } } },
      ethernet: { source: '02:00:00:00:00:02', destination: '02:00:00:00:00:01' },
      source: { identity: 2, labels: ['reserved:world'] },
      destination: { identity: 1234 },
      node_name: 'axt/node-1',
      Type: 'L3_L4',
      Summary: 'TCP Flags: SYN',
    });
    expect(drop.is_reply).toBeUndefined();
    expect(verdict).toMatchObject({
      verdict: 'DROPPED',
      drop_reason_desc: 'POLICY_DENY',
      event_type: { type: 5 },
      traffic_direction: 'EGRESS',
      policy_match_type: 2,
    });
    expect(verdict.is_reply).toBeUndefined();
    expect(audit).toMatchObject({ verdict: 'AUDIT', is_reply: { value: false } });
    expect(trace).toMatchObject({
      verdict: 'FORWARDED',
      trace_observation_point: 'TO_ENDPOINT',
      trace_reason: 'REPLY',
      is_reply: { value: true },
      interface: { index: 3, name: 'lxc1' },
    });
  });

  it('knows what is encrypted between nodes by where it was seen', async () => {
    for (const subtype of [13, 11, 12]) events$.next(event({ subtype }));
    const seen = async (whitelist: object[], number: number) =>
      (await flows(observer, { number, whitelist })).map(({ flow }) => flow.trace_observation_point);
    expect(await seen([{ encrypted: [true] }], 2)).toEqual(['TO_CRYPTO', 'FROM_CRYPTO']);
    expect(await seen([{ encrypted: [false] }], 1)).toEqual(['TO_NETWORK']);
  });

  it('keeps only what a mask names, and passes over what a flow has not', async () => {
    const field_mask = { paths: ['verdict', 'source.identity', 'l7', 'IP'] };
    const [{ flow }] = await flows(observer, { number: 1, field_mask });
    expect(Object.keys(flow).sort()).toEqual(['IP', 'source', 'verdict']);
    expect(flow.source).toEqual({ identity: 2 });
  });

  it('gives the newest that match, oldest first; the first ones when asked; and refuses what makes no sense', async () => {
    for (const port of [1, 2, 3])
      events$.next(event({ data: frame([192, 0, 2, 9], [10, 0, 1, 6], [40_000 + port, 53], 0x10) }));
    const whitelist = [{ destination_ip: ['10.0.1.6'] }];
    const ports = (got: Message[]): number[] => got.map(({ flow }) => flow.l4.TCP.source_port);
    expect(ports(await flows(observer, { number: 2, whitelist }))).toEqual([40_002, 40_003]);
    expect(ports(await flows(observer, { number: 2, first: true, whitelist }))).toEqual([40_001, 40_002]);
    expect(ports(await flows(observer, { whitelist, blacklist: [{ source_port: ['40002'] }] }))).toEqual([
      40_001, 40_003,
    ]);
    await expect(flows(observer, { first: true, follow: true })).rejects.toMatchObject({ code: 3 });
    await expect(flows(observer, { whitelist: [{ source_port: ['http'] }] })).rejects.toMatchObject({
      code: 3,
      details: expect.stringContaining('source_port'),
    });
    await expect(flows(observer, { whitelist: [{ http_url: ['('] }] })).rejects.toMatchObject({ code: 3 });
  });

  it('follows, and says how many a slow reader missed', async () => {
    const call = observer.GetFlows({ follow: true });
    const got: Message[] = [];
    call.on('data', (message: Message) => got.push(message));
    call.on('error', () => {});
    await new Promise((resolve) => call.once('metadata', resolve));
    events$.next(event({ srcIdentity: 77 }));
    await expect.poll(() => got.length).toBe(1);
    for (let number = 0; number < 3 * CAPACITY; number++) events$.next(event({ srcIdentity: 1000 + number }));
    await expect.poll(() => got.at(-1)?.flow?.source.identity).toBe(1000 + 3 * CAPACITY - 1);
    expect(got.find(({ lost_events }) => lost_events)?.lost_events).toMatchObject({
      source: 'HUBBLE_RING_BUFFER',
      num_events_lost: 2 * CAPACITY,
    });
    call.cancel();
  });

  it('tells its state, is healthy under the name that clients ask for, and knows itself as a peer', async () => {
    expect(await ask(observer, 'ServerStatus')).toMatchObject({ num_flows: CAPACITY, max_flows: CAPACITY });
    await expect(ask(observer, 'GetNodes')).rejects.toMatchObject({ code: 12 });
    const where = `unix://${config.socket}`;
    const health = new root.grpc.health.v1.Health(where, credentials.createInsecure());
    expect(await ask(health, 'Check', { service: 'hubble.server.Observer' })).toEqual({ status: 'SERVING' });
    await expect(ask(health, 'Check', { service: 'else' })).rejects.toMatchObject({ code: 5 });
    health.close();
    const peer = new root.peer.Peer(where, credentials.createInsecure());
    const call = peer.Notify({});
    call.on('error', () => {});
    const change = await new Promise<Message>((resolve) => call.once('data', resolve));
    expect(change).toMatchObject({ name: 'axt/node-1', address: config.listen, type: 'PEER_ADDED' });
    call.cancel();
    peer.close();
  });
});

describe('over TCP', () => {
  const named = { 'grpc.ssl_target_name_override': 'localhost' };

  it('serves clients with a certificate of its CA', async () => {
    const how = credentials.createSsl(pem('ca.crt'), pem('client.key'), pem('client.crt'));
    const observer = client(config.listen, how, named);
    expect(await ask(observer, 'ServerStatus')).toMatchObject({ max_flows: CAPACITY });
    observer.close();
  });

  it('refuses clients without one, and those that speak no TLS', async () => {
    for (const how of [credentials.createSsl(pem('ca.crt')), credentials.createInsecure()]) {
      const observer = client(config.listen, how, named);
      await expect(ask(observer, 'ServerStatus')).rejects.toMatchObject({ code: 14 });
      observer.close();
    }
  });
});

/** The ring of flows under whatever a ring buffer may hold: it never throws, and counts what is none of ours. Replay: AXT_SEED. */
import { Subject } from 'rxjs';
import { expect, it } from 'vitest';
import { Codecs, encode } from '../../datapath/codec.ts';
import { eventLayout } from '../../datapath/event-layout.ts';
import { datapathEvents, type EventBlock, EventDecoder } from '../../datapath/events.ts';
import { objectPath } from '../../datapath/loader.ts';
import { kinds } from '../../machines/kinds.ts';
import { btfOfObject } from '../../native/index.ts';
import { Engine } from '../../reconcilers/engine.ts';
import { Names } from '../names.ts';
import { FlowRing } from './flow-ring.ts';
import { Origins } from './origins.ts';
import type { Flow } from './types.ts';

const seed = Number(process.env['AXT_SEED'] ?? Date.now() % 2 ** 31);
const RECORDS = 20_000;
const sockBtf = btfOfObject(objectPath('sock'));
const layout = eventLayout(btfOfObject(objectPath('datapath')), sockBtf);
const engine = new Engine(kinds, { rows: () => [], write: () => {} });

/** mulberry32. */
function random(from: number): () => number {
  let state = from;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function ringOf(decoder: EventDecoder, capacity = 64): FlowRing {
  return new FlowRing(
    capacity,
    {
      names: new Names(engine),
      origins: new Origins(engine),
      clusterName: 'axt',
      nodeName: 'axt/node-1',
      version: '1',
      linkName: () => undefined,
      bootedAtNs: 0n,
      podOfNetns: (cookie) => (cookie === 5n ? { ipv4: '10.0.0.5', ipv6: '' } : undefined),
    },
    decoder,
  );
}

it(`records of any bytes and any length are flows, or are counted (seed ${seed})`, () => {
  const decoder = new EventDecoder(layout);
  const ring = ringOf(decoder);
  const next = random(seed);
  const below = (max: number) => Math.floor(next() * max);
  const blocks$ = new Subject<EventBlock>();
  let told = 0;
  datapathEvents(blocks$, new EventDecoder(layout)).subscribe(() => told++);
  for (let made = 0; made < RECORDS; ) {
    const records = Array.from({ length: 1 + below(40) }, () => {
      const whole = next() < 0.7;
      const bytes = Buffer.alloc(whole ? layout.eventSize : below(layout.eventSize + 40));
      for (let i = 0; i < bytes.length; i++) bytes[i] = below(256);
      if (whole) {
        bytes[layout.event.type] = below(6);
        bytes.writeUInt16BE(next() < 0.5 ? 0x0800 : 0x86dd, layout.event.data + 12);
        if (next() < 0.5) bytes.writeUInt16LE(below(140), layout.event.lenCap);
      }
      return bytes;
    });
    made += records.length;
    const offsets = new Uint32Array(records.length + 1);
    records.forEach((record, i) => {
      offsets[i + 1] = (offsets[i] ?? 0) + record.length;
    });
    const block = { bytes: Buffer.concat(records), offsets };
    ring.add(block);
    blocks$.next(block);
    for (let at = ring.oldest; at < ring.next; at++) expect(ring.get(at)?.uuid).toMatch(/^[0-9a-f-]{36}$/);
  }
  let counted = 0;
  ring.counts.take((_, times) => {
    counted += times;
  });
  expect(counted).toBe(ring.next);
  expect(decoder.malformed).toBeGreaterThan(0);
  expect(told).toBeGreaterThan(0);
});

it('a socket that is translated is two flows: to the service, and to the backend', () => {
  const ring = ringOf(new EventDecoder(layout));
  const bytes = encode(new Codecs(sockBtf).struct('sock_event'), {
    timestamp: 1_000_000_007n,
    type: 4,
    subtype: 2,
    proto: 6,
    frontendId: 1,
    cookie: 77n,
    netnsCookie: 5n,
    cgroupId: 99n,
    frontendAddr: '10.96.0.10',
    backendAddr: '10.0.0.7',
    frontendPort: 80,
    backendPort: 8080,
    backendId: 2,
  });
  ring.add({ bytes, offsets: Uint32Array.of(0, bytes.length) });
  const flows: (Flow | undefined)[] = [ring.get(0), ring.get(1), ring.get(2)];
  const common = { Type: 'SOCK', socket_cookie: 77, cgroup_id: 99, traffic_direction: 'EGRESS' };
  expect(flows).toMatchObject([
    {
      ...common,
      verdict: 'TRACED',
      event_type: { type: 7, sub_type: 1 },
      IP: { source: '10.0.0.5', destination: '10.96.0.10' },
      l4: { TCP: { destination_port: 80 } },
      time: { seconds: 1, nanos: 7 },
    },
    {
      ...common,
      verdict: 'TRANSLATED',
      event_type: { type: 7, sub_type: 2 },
      IP: { source: '10.0.0.5', destination: '10.0.0.7' },
      l4: { TCP: { destination_port: 8080 } },
    },
    undefined,
  ] as object[]);
});
